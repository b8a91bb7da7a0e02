"""The sandbox's decisions, without booting one: tests/e2e/test_sandbox_machines.py does that."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import sandbox
from deploy.errors import SandboxError
from deploy.sandbox import authority, disk, image, lent, local, making, network
from deploy.sandbox.disk import Disk, Record
from deploy.sandbox.lent import AptSource

HOST_SOURCES = """\
# how this machine gets its packages
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://download.example/debian
Suites: bookworm
Components: stable
Signed-By: /etc/apt/keyrings/example.asc

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no
"""


def test_deb822_sources_are_read_without_the_disabled_ones():
    assert lent.deb822_sources(HOST_SOURCES) == [
        AptSource(
            ("http://mirror.example/debian",),
            ("bookworm", "bookworm-updates", "bookworm-backports"),
            ("main", "contrib"),
            "/usr/share/keyrings/debian-archive-keyring.gpg",
        ),
        AptSource(("https://download.example/debian",), ("bookworm",), ("stable",), "/etc/apt/keyrings/example.asc"),
    ]


def test_a_signing_key_written_into_a_stanza_does_not_hide_the_other_fields():
    text = "Types: deb\nSigned-By:\n -----BEGIN PGP-----\n .\n aGVsbG8=\nURIs: http://m/\nSuites: s\nComponents: c\n"
    assert lent.deb822_sources(text)[0].uris == ("http://m/",)


def test_one_line_sources_are_read_with_and_without_options():
    text = "deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib # ours\n#deb http://x y z\n"
    text += "deb http://m/debian-security bookworm-security main\ndeb-src http://m/debian bookworm main\n"
    assert lent.one_line_sources(text) == [
        AptSource(("http://m/debian",), ("bookworm",), ("main", "contrib"), "/k.gpg"),
        AptSource(("http://m/debian-security",), ("bookworm-security",), ("main",)),
    ]


def test_the_sandbox_uses_debians_own_entries_only_renamed_for_its_release():
    foreign = [AptSource(("http://cloud.example",), ("cloud-sdk-bookworm",), ("main",))]
    found = lent.deb822_sources(HOST_SOURCES) + foreign
    assert lent.debian_sources(found, "bookworm", "trixie") == [
        AptSource(("http://mirror.example/debian",), ("trixie", "trixie-updates"), ("main", "contrib"))
    ]


def test_a_host_without_debian_sources_is_told_to_name_a_mirror(tmp_path, monkeypatch):
    monkeypatch.delenv(lent.MIRROR_VARIABLE, raising=False)
    with pytest.raises(SandboxError) as caught:
        lent.sources_for("bookworm", apt=tmp_path)
    assert lent.MIRROR_VARIABLE in caught.value.hint


def test_a_named_mirror_replaces_the_hosts_sources(tmp_path, monkeypatch):
    monkeypatch.setenv(lent.MIRROR_VARIABLE, "http://mirror.example/debian")
    (source,) = lent.sources_for("trixie", apt=tmp_path)
    assert source == AptSource(("http://mirror.example/debian",), ("trixie", "trixie-updates"), ("main",))


def test_apt_takes_along_what_decides_how_a_mirror_is_reached_and_nothing_else():
    dump = """\
APT::Architecture "amd64";
Acquire::http::Proxy "http://proxy.example:3142";
Acquire::https::Proxy::mirror.example "DIRECT";
Acquire::ftp::Proxy "";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
"""
    assert lent.apt_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3142";\n'
        'Acquire::https::Proxy::mirror.example "DIRECT";\n'
        'Acquire::Check-Valid-Until "false";\n'
    )


def test_pips_indexes_are_taken_along_unless_they_are_files_of_this_machine():
    system = "[global]\nindex-url = https://a.example/simple\nfind-links = /opt/wheels\ntimeout = 9\n"
    user = "[global]\nextra-index-url = file:///opt/index\n    https://b.example/simple\n"
    assert lent.pip_indexes([system, user]) == {
        "index-url": "https://a.example/simple",
        "extra-index-url": "https://b.example/simple",
    }


def test_pip_and_uv_in_the_sandbox_use_the_same_index_and_trust_a_private_ca():
    indexes = {"index-url": "https://a.example/simple", "extra-index-url": "https://b.example https://c.example"}
    assert lent.index_files(indexes, private_ca=True) == {
        "etc/pip.conf": (
            "[global]\nindex-url = https://a.example/simple\nextra-index-url = https://b.example https://c.example\n"
            "cert = /etc/ssl/certs/ca-certificates.crt\n"
        ),
        "etc/uv/uv.toml": (
            'index-url = "https://a.example/simple"\nextra-index-url = ["https://b.example", "https://c.example"]\n'
            "system-certs = true\n"
        ),
    }


def test_without_indexes_and_private_cas_the_sandbox_has_no_index_files():
    assert lent.index_files({}, private_ca=False) == {}


def test_name_servers_that_only_the_host_can_ask_are_left_out():
    assert lent.nameservers("nameserver 127.0.0.53\nnameserver 192.0.2.53\n# nameserver 192.0.2.54\n") == ["192.0.2.53"]


def test_the_subnet_overlaps_no_route_of_the_host():
    assert network.free_subnet(["default", "192.0.2.0/24", "10.76.0.0/23", "10.76.2.7"]) == "10.76.3.0/24"


def test_the_subnet_stays_the_same_while_it_is_free():
    assert network.free_subnet(["default"], preferred="10.76.9.0/24") == "10.76.9.0/24"


def test_a_host_that_routes_all_candidates_elsewhere_is_told_so():
    with pytest.raises(SandboxError, match="no free subnet"):
        network.free_subnet(["10.0.0.0/8"])


def test_a_machine_is_told_its_address_and_the_packet_size_of_the_hosts_uplink():
    unit = network.link_unit(network.Network("10.76.3.0/24", "0"), number=10, mtu=1400)
    assert [line for line in unit.splitlines() if not line.startswith("#")] == [
        *("[Match]", "Name=host0", ""),
        *("[Link]", "MTUBytes=1400", "MACAddress=02:61:73:68:00:0a", ""),
        *("[Network]", "Address=10.76.3.10/24", "Gateway=10.76.3.1", "IPv6AcceptRA=no"),
    ]


def test_others_chains_that_drop_what_is_forwarded_are_found():
    def chain(**values: str) -> dict[str, object]:
        return {"chain": {"family": "ip", "handle": 1, **values}}

    listing = [
        {"metainfo": {}},
        chain(table="filter", name="FORWARD", hook="forward", policy="drop"),
        chain(table="filter", name="INPUT", hook="input", policy="drop"),
        chain(table="mine", name="forward", hook="forward", policy="accept"),
        chain(table="filter", name="DOCKER"),
    ]
    assert network.closed_chains(json.dumps({"nftables": listing})) == [("ip", "filter", "FORWARD")]


def test_os_release_is_read_unquoted():
    assert local.os_release('ID=debian\nPRETTY_NAME="Debian 12"\n#X=y\n') == {
        "ID": "debian",
        "PRETTY_NAME": "Debian 12",
    }


def test_missing_programs_are_named_by_their_debian_packages():
    present = {"ip", "ssh", "nft"}
    assert local.missing_packages(lambda name: name if name in present else None) == [
        "systemd-container",
        "mmdebstrap",
        "e2fsprogs",
    ]


def test_missing_programs_on_another_distribution_are_an_error_that_names_them(monkeypatch):
    monkeypatch.setattr(local, "missing_packages", lambda: ["mmdebstrap", "nftables"])
    monkeypatch.setattr(local, "this_system", lambda: {"ID": "fedora", "PRETTY_NAME": "Fedora Linux 40"})
    with pytest.raises(SandboxError, match="mmdebstrap, nftables") as caught:
        local.require_packages(print)
    assert "Fedora Linux 40" in caught.value.where


def test_on_another_system_the_error_says_what_to_use_instead(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="needs Linux") as caught:
        sandbox.up(say=print)
    assert "fab -H root@ADDRESS provision" in caught.value.hint


def test_without_root_the_error_says_so_and_what_to_use_instead(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("os.geteuid", lambda: 1000, raising=False)
    for call in (lambda: sandbox.up(say=print), sandbox.down, sandbox.machines, sandbox.shell):
        with pytest.raises(SandboxError, match="needs root") as caught:
            call()
        assert "fab -H root@ADDRESS provision" in caught.value.hint


def test_the_sandbox_imports_where_unix_modules_are_missing():
    code = "import sys; sys.modules.update(dict.fromkeys(['fcntl', 'pwd', 'grp', 'termios'])); import deploy.sandbox"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(sandbox.__file__).parents[2])


@pytest.mark.parametrize("name", ["", "-x", "x-", "Shop", "a/b", "a" * 21, "..", "x\n"])
def test_a_name_that_could_be_no_host_name_is_refused(name, monkeypatch):
    monkeypatch.setattr(local, "require_linux_root", lambda: None)
    with pytest.raises(SandboxError, match="not a valid sandbox name"):
        sandbox.down(name)


def test_an_unknown_sandbox_is_an_error_that_lists_those_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "require_linux_root", lambda: None)
    monkeypatch.setattr(disk, "STATE", tmp_path)
    disk.write_machine(Record("shop", 2, Disk("bookworm", "bookworm-1")))
    with pytest.raises(SandboxError, match="no sandbox 'shpo'") as caught:
        sandbox.down("shpo")
    assert caught.value.hint == "existing ones: shop"


def test_an_unknown_release_is_an_error_that_lists_those_there_are():
    with pytest.raises(SandboxError, match="'woody'") as caught:
        image.ensure("woody", print)
    assert caught.value.hint == "releases: bookworm, trixie"


def test_a_full_disk_is_noticed_before_anything_is_built(tmp_path):
    with pytest.raises(SandboxError, match="too full"):
        local.require_space(tmp_path, megabytes=10**12)


def test_a_failed_command_is_told_with_its_arguments_status_and_last_words():
    with pytest.raises(SandboxError, match="no such thing") as caught:
        local.run(["sh", "-c", "echo because >&2; exit 3"], failed="no such thing")
    assert caught.value.detail.splitlines()[-2:] == ["exit status 3", "because"]


def test_json_gives_what_other_tools_rely_on():
    machine = sandbox.Machine("a", "10.76.0.2", "admin", "/key", "SHA256:x", "running", "bookworm", Path("/root"))
    assert sandbox.as_json(machine) == {
        "name": "a",
        "address": "10.76.0.2",
        "user": "admin",
        "key_file": "/key",
        "host_key": "SHA256:x",
        "state": "running",
    }


def test_the_fingerprint_is_what_ssh_keygen_prints(tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    printed = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True).stdout
    assert making.fingerprint(key.with_suffix(".pub").read_text()) == printed.split()[1]


def test_a_record_reads_back_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "STATE", tmp_path)
    record = Record("shop", 7, Disk("trixie", "trixie-1", ("b", "a"), "c"), snapshot="ready")
    disk.write_machine(record)
    assert disk.machine_records() == [record]


def test_a_snapshot_keeps_its_layers_and_the_rest_is_collected(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "STATE", tmp_path)
    before = Record("shop", 2, Disk("bookworm", "bookworm-1", (), "before"))
    after = disk.frozen(before)
    for layer in ("rubbish", "before", after.disk.upper):
        (tmp_path / "layers" / layer / "upper").mkdir(parents=True)
        (tmp_path / "volumes").mkdir(exist_ok=True)
        (tmp_path / "volumes" / f"{layer}.img").touch()
    disk.write_machine(after)
    disk.write_snapshot("ready", Disk("bookworm", "bookworm-1", after.disk.layers))
    disk.collect()
    assert after.disk.layers == (before.disk.upper,)
    left = {path.name for path in (tmp_path / "layers").iterdir()}
    assert left == {before.disk.upper, after.disk.upper}
    assert {path.stem for path in (tmp_path / "volumes").iterdir()} == left


def test_an_image_under_construction_is_not_taken_for_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "STATE", tmp_path)
    (tmp_path / "images" / f".{image.image_name('bookworm')}" / "root").mkdir(parents=True)
    assert not disk.image_path(image.image_name("bookworm")).exists()


def test_a_new_image_replaces_older_ones_that_no_machine_is_made_of(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "STATE", tmp_path)
    for name in ("bookworm-new", "bookworm-used", "bookworm-old", "trixie-old"):
        (tmp_path / "images" / name).mkdir(parents=True)
    disk.write_machine(Record("shop", 2, Disk("bookworm", "bookworm-used")))
    image._forget_older("bookworm", disk.image_path("bookworm-new"))
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"bookworm-new", "bookworm-used", "trixie-old"}


@pytest.mark.parametrize("address, taken", [("10.76.3.4", True), ("192.0.2.7", False)])
def test_who_trusts_the_sandboxes_ca_trusts_it_for_sandboxes_only(tmp_path, monkeypatch, address, taken):
    monkeypatch.setattr(disk, "STATE", tmp_path)
    chain, key = authority.certificate(tmp_path, address)
    argv = ["openssl", "verify", "-CAfile", authority.ca_file(), "-verify_ip", address, chain]
    ran = subprocess.run(argv, capture_output=True, text=True)
    assert (ran.returncode == 0) is taken, ran.stderr
    assert authority.certificate(tmp_path, address) == (chain, key) and key.stat().st_mode & 0o77 == 0


def test_a_certificate_of_another_address_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "STATE", tmp_path)
    before = authority.certificate(tmp_path, "10.76.3.4")[0].read_text()
    assert authority.certificate(tmp_path, "10.76.3.4")[0].read_text() == before
    assert authority.certificate(tmp_path, "10.76.3.5")[0].read_text() != before
