"""The second login: which host keys it takes, and whose login could not be repeated."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from paramiko import ECDSAKey, PKey, RSAKey

from deploy.config import Stage
from deploy.errors import ConnectionFailed, HostError
from deploy.proof import require_key
from deploy.transport import Told, fingerprint

HOST = "shop.example.com"
NEW, OTHER = RSAKey.generate(1024), ECDSAKey.generate()


def line(key: PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def take(known_hosts: Path, key: PKey, own: tuple[str, ...], stage: Stage = Stage("production", (HOST,))) -> None:
    Told(stage, [known_hosts], own).missing_host_key(None, HOST, key)


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
    with pytest.raises(ConnectionFailed, match="another host key than deploy.toml expects"):
        take(tmp_path / "known_hosts", NEW, (line(NEW),), stage)
    take(tmp_path / "known_hosts", OTHER, (line(OTHER),), stage)


@pytest.mark.parametrize(
    ("method", "refused"), [("password", True), ("keyboard-interactive", True), ("publickey", False)]
)
def test_who_got_in_with_a_password_is_told_to_bring_a_key_first(method: str, refused: bool):
    made = SimpleNamespace(
        host=HOST, user="root", port=22, transport=SimpleNamespace(auth_handler=SimpleNamespace(auth_method=method))
    )
    host = SimpleNamespace(made=made)
    if refused:
        with pytest.raises(HostError, match="logged in .* with a password") as raised:
            require_key(host)
        assert f"ssh-copy-id root@{HOST}" in raised.value.hint and raised.value.state == "nothing was changed"
    else:
        require_key(host)
