"""The second login, by which a server proves that it lets its operator in: which host keys it takes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from paramiko import ECDSAKey, PKey, RSAKey

from deploy.config.reader import Stage
from deploy.connection.channel import ChildLink
from deploy.connection.host_keys import KeyLookup, Told, fingerprint
from deploy.errors import ConnectionFailed
from deploy.session import second_login as proof

HOST = "shop.example.com"
STAGE = Stage("production", (HOST,))
NEW, OTHER = RSAKey.generate(1024), ECDSAKey.generate()


def line(key: PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def take(known_hosts: Path, key: PKey, own: tuple[str, ...], stage: Stage = STAGE) -> None:
    lookup = KeyLookup(stage, HOST, HOST, ([known_hosts], []), stage.host_keys)
    Told(lookup, own).missing_host_key(None, HOST, key)


def test_a_key_that_the_server_told_is_taken_and_written_down_beside_the_one_that_was_known(tmp_path: Path):
    file = tmp_path / "known_hosts"
    file.write_text(f"{HOST} {line(OTHER)}\n")
    take(file, NEW, (line(NEW), line(OTHER)))
    assert file.read_text() == f"{HOST} {line(OTHER)}\n{HOST} {line(NEW)}\n"
    take(file, NEW, (line(NEW), line(OTHER)))
    assert len(file.read_text().splitlines()) == 2


def test_a_key_that_it_did_not_tell_is_refused(tmp_path: Path):
    with pytest.raises(ConnectionFailed, match="is not known"):
        take(tmp_path / "known_hosts", NEW, (line(OTHER),))
    assert not (tmp_path / "known_hosts").exists()


def test_host_keys_of_the_config_are_the_only_ones_where_nothing_else_is_known(tmp_path: Path):
    stage = Stage("production", (HOST,), host_keys=(fingerprint(OTHER),))
    with pytest.raises(ConnectionFailed, match="another host key"):
        take(tmp_path / "known_hosts", NEW, (line(NEW),), stage)
    take(tmp_path / "known_hosts", OTHER, (line(OTHER),), stage)


def test_a_login_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch):
    """As where sudo asks a DNS that does not answer: it goes on until it is taken away."""
    hangs = ChildLink((sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(255)"), f"admin@{HOST}")
    agent = SimpleNamespace(link=hangs, password=None)
    monkeypatch.setattr(proof, "PROOF_SECONDS", 0.1)
    told = proof.prove(SimpleNamespace(agent=agent), {"step": "SSH", "keys": []})
    assert told["ok"] is False and "`sudo -n true` exited with 255" in told["why"]
