"""known_hosts as OpenSSH reads it: judged by what `ssh-keygen -F` finds in the same files."""

import re
import subprocess
from pathlib import Path

import pytest
from paramiko import ECDSAKey, Ed25519Key, PKey, RSAKey, Transport

from deploy.config.reader import Stage
from deploy.connection import known_hosts
from deploy.connection.host_keys import KeyLookup, Pinned, preferred
from deploy.connection.known_hosts import CHANGED, KNOWN, REVOKED, UNKNOWN, KnownHost
from deploy.errors import ConnectionFailed

OWN, OTHER, ECDSA = RSAKey.generate(1024), RSAKey.generate(1024), ECDSAKey.generate()
HOST = "shop.example.com"
HOSTS = ("shop.example.com", "[shop.example.com]:2222", "SHOP.example.com", "www.example.com", "10.0.0.7", "other")
LINES = (
    "shop.example.com {own}", "shop.example.com,10.0.0.7 {own} a comment", "*.example.com {own}", "10.0.0.? {own}",
    "*.example.com,!shop.example.com {own}", "!shop.example.com,*.example.com {own}", "[*.example.com]:2222 {own}",
    "Shop.Example.com {own}", "  shop.example.com\t{own}", "@revoked * {own}", "@cert-authority *.example.com {own}",
    "@cert-authority,* {own}", "@what * {own}", "# shop.example.com {own}", "",
    "   ", "shop.example.com", "shop.example.com ssh-rsa", "* {own}\r",
    "|1|broken {own}", "|1|c2FsdA==|c2FsdA== {own}", "|2|c2FsdA==|c2FsdA== {own}",
)  # fmt: skip


def line(key: PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def written(directory: Path, *lines: str, name: str = "known_hosts") -> Path:
    file = directory / name
    text = "\n".join(one.format(own=line(OWN), base64=OWN.get_base64()) for one in lines)
    file.write_bytes(f"{text}\n".encode())
    return file


def found_by_ssh(file: Path, host: str) -> list[int]:
    said = subprocess.run(["ssh-keygen", "-F", host, "-f", file], capture_output=True, text=True).stdout
    return [int(number) for number in re.findall(r"^# Host .* found: line (\d+)", said, re.M)]


def found_by_us(file: Path, host: str) -> list[int]:
    return [int(entry.where.rpartition(" ")[2]) for entry in KnownHost.of(host, known_hosts.read([file])).entries]


@pytest.mark.parametrize("host", HOSTS)
def test_the_lines_of_a_host_are_those_that_ssh_finds(tmp_path: Path, host: str):
    file = written(tmp_path, *LINES)
    assert found_by_us(file, host) == found_by_ssh(file, host.lower())


@pytest.mark.parametrize("host", HOSTS)
def test_hashed_names_are_found_as_ssh_finds_them(tmp_path: Path, host: str):
    file = written(tmp_path, *(f"{name.lower()} {{own}}" for name in HOSTS))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "|1|" in file.read_text() and "shop" not in file.read_text()
    assert found_by_us(file, host) == found_by_ssh(file, host.lower()) != []


@pytest.mark.parametrize(
    "broken", ["ssh-rsa AAAA", "ssh-ed25519 {base64}", "ssh-rsa *", "ssh-rsa {base64}=", "ssh-rsa"]
)
def test_a_line_with_a_broken_key_is_skipped_and_the_others_count(tmp_path: Path, broken: str):
    assert judged(tmp_path, f"shop.example.com {broken}", "shop.example.com {own}") == KNOWN
    assert judged(tmp_path, f"shop.example.com {broken}") == UNKNOWN


def judged(directory: Path, *lines: str, host: str = "shop.example.com") -> str:
    entries = known_hosts.read([written(directory, *lines)])
    return known_hosts.verdict(host, entries, OWN.get_name(), OWN.get_base64())[0]


def test_what_known_hosts_says_of_a_key(tmp_path: Path):
    own, other, ecdsa = (f"shop.example.com {line(key)}" for key in (OWN, OTHER, ECDSA))
    assert judged(tmp_path) == UNKNOWN
    assert judged(tmp_path, own) == KNOWN
    assert judged(tmp_path, other) == judged(tmp_path, ecdsa) == CHANGED
    assert judged(tmp_path, other, own) == judged(tmp_path, own, other) == KNOWN  # two of one type
    assert judged(tmp_path, own, f"@revoked * {line(OWN)}") == REVOKED
    assert judged(tmp_path, own, f"@revoked * {line(OTHER)}") == KNOWN
    assert judged(tmp_path, own, f"@revoked another {line(OWN)}") == KNOWN
    assert judged(tmp_path, f"@cert-authority * {line(OTHER)}") == UNKNOWN
    assert judged(tmp_path, f"@cert-authority * {line(OWN)}") == UNKNOWN  # it signs keys, it is none


def test_a_host_on_another_port_may_be_known_without_it(tmp_path: Path):
    port = "[shop.example.com]:2222"
    assert judged(tmp_path, f"shop.example.com {line(OWN)}", host=port) == KNOWN
    assert judged(tmp_path, f"shop.example.com {line(OTHER)}", host=port) == UNKNOWN
    assert judged(tmp_path, f"{port} {line(OTHER)}", f"shop.example.com {line(OWN)}", host=port) == CHANGED


def test_all_files_count_and_one_that_cannot_be_read_has_none(tmp_path: Path):
    files = [tmp_path / "absent", written(tmp_path, "a {own}"), tmp_path, written(tmp_path, "b {own}", name="second")]
    assert [entry.names for entry in known_hosts.read(files)] == ["a", "b"]


def test_the_types_of_key_that_are_known_are_asked_for_first():
    offered = Transport._preferred_keys
    assert preferred((), offered) == list(offered)
    assert preferred(("ssh-rsa",), offered)[:2] == ["rsa-sha2-512", "rsa-sha2-256"]
    some = preferred(("ecdsa-sha2-nistp256", "ssh-ed25519"), offered)
    assert set(some[:2]) == {"ssh-ed25519", "ecdsa-sha2-nistp256"} and sorted(some) == sorted(offered)


def take(file: Path, key: PKey, *expected: str, ask: str = "") -> None:
    stage = Stage("production", ("root@shop.example.com",))
    asked = (lambda question: ask) if ask else None
    lookup = KeyLookup(stage, HOST, HOST, ([file], []), expected)
    Pinned(lookup, asked).missing_host_key(None, HOST, key)


def test_a_revoked_key_is_refused_even_where_the_config_names_it(tmp_path: Path):
    file = written(tmp_path, "@revoked * {own}")
    fingerprint = OWN.fingerprint
    with pytest.raises(ConnectionFailed, match="is REVOKED") as raised:
        take(file, OWN, fingerprint, ask="yes")
    assert f"revoked in {file}, line 1" in raised.value.detail


def test_a_changed_key_names_the_line_that_knows_another(tmp_path: Path):
    with pytest.raises(ConnectionFailed, match="has CHANGED") as raised:
        take(written(tmp_path, "# first", "*.example.com {own}"), ECDSA, ask="yes")
    assert "known_hosts, line 2" in raised.value.detail and "ssh-keygen -R 'shop.example.com'" in raised.value.hint


def test_an_authority_is_mentioned_where_the_key_itself_is_not_known(tmp_path: Path):
    with pytest.raises(ConnectionFailed, match="is not known") as raised:
        take(written(tmp_path, "@cert-authority * {own}"), ECDSA)
    assert "does not check host certificates" in raised.value.detail


def test_a_key_that_was_agreed_to_gets_a_line_of_its_own(tmp_path: Path):
    file = tmp_path / "known_hosts"
    file.write_bytes(f"other {line(OTHER)}".encode())
    take(file, OWN, ask="yes")
    assert file.read_text() == f"other {line(OTHER)}\nshop.example.com {line(OWN)}\n"
    take(file, OWN)
    assert found_by_ssh(file, "shop.example.com") == [2]


def test_keys_of_all_types_are_read(tmp_path: Path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    keys = [OWN, ECDSA, Ed25519Key(filename=str(tmp_path / "key"))]
    file = written(tmp_path, *(f"a {line(key)}" for key in keys), f"a sk-ssh-ed25519@openssh.com {OWN.get_base64()}")
    assert KnownHost.of("a", known_hosts.read([file])).types == ("ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519")
