"""Which entries of host_keys are for which host."""

import socket

import pytest
from fabric import Config, Connection
from paramiko.config import SSHConfig

from deploy.config.reader import Stage
from deploy.connection.host_keys import as_written, entry_name, expected, files_of, lookup_name
from deploy.connection.ssh import trust

A, B, C = (f"SHA256:{letter * 43}" for letter in "ABC")
HOSTS = ("root@web1.example.com", "root@Web2", "root@10.0.0.3:2222", "alias")
STAGE = Stage("production", HOSTS, host_keys=(f"web1.example.com {A}", f"web2 {B}=", f"[10.0.0.3]:2222 {C}"))
SSH_CONFIG = """
Host alias
  HostName 10.9.9.9
  Port 2200
  UserKnownHostsFile none
Host known
  HostKeyAlias web1.example.com
"""


def to(host: str) -> Connection:
    return Connection(host, config=Config(ssh_config=SSHConfig.from_text(SSH_CONFIG)))


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("root@web1.example.com", (A,)), ("admin@WEB1.example.com", (A,)), ("root@Web2", (B,)), ("web2:22", (B,)),
        ("root@10.0.0.3:2222", (C,)), ("root@10.0.0.3", ()), ("web1.example.com:2222", ()), ("elsewhere", ()),
    ],
)  # fmt: skip
def test_an_entry_that_names_a_host_fits_that_one_only(host: str, fits: tuple[str, ...]):
    assert expected(STAGE, to(host)) == fits


def test_an_entry_without_a_host_fits_any_of_them():
    stage = Stage("production", HOSTS, host_keys=(A, f"web2 {B}"))
    assert expected(stage, to("root@web2")) == (A, B)
    assert expected(stage, to("root@web1.example.com")) == expected(stage, to("gateway")) == (A,)


def test_a_name_of_ssh_s_configuration_is_named_as_deploy_toml_has_it():
    stage = Stage("production", HOSTS, host_keys=(f"alias {A}", f"10.9.9.9 {B}"))
    assert expected(stage, to("alias")) == (A,)
    assert [entry_name(STAGE, to(host)) for host in ("alias", "10.0.0.3:2222", "web2", "other")] == [
        "alias", "10.0.0.3:2222", "Web2", "other",
    ]  # fmt: skip


def test_the_host_is_named_where_the_stage_has_several():
    assert as_written(STAGE, "web2", A) == f"web2 {A}"
    assert as_written(Stage("production", ("root@web2",)), "web2", A) == A


def test_files_and_names_are_those_of_ssh():
    assert files_of(to("alias"))[0] == []
    assert [file.name for file in files_of(to("web2"))[0]] == ["known_hosts", "known_hosts2"]
    names = [lookup_name(to(host)) for host in ("root@web2", "web2:2222", "alias", "known")]
    assert names == ["web2", "[web2]:2222", "[10.9.9.9]:2200", "web1.example.com"]


def test_no_cipher_and_no_digest_is_offered_that_openssh_would_not_offer():
    made = to("web2")
    trust(made, STAGE, None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = made.connect_kwargs["transport_factory"](ours)
        security = transport.get_security_options()
        transport.close()
    offered = {*security.ciphers, *security.digests}
    assert {"aes256-ctr", "hmac-sha2-256"} <= offered
    assert not {name for name in offered if "cbc" in name or "md5" in name or name.endswith("-96")}
