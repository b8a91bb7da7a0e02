"""CI keys as the operator's side makes and writes them."""

import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from deploy.agent import layout
from deploy.agent.dataclass import replace
from deploy.agent.resources.access.keys import Disconnected, Keyring, Tree, keys_in
from deploy.agent.resources.serving.services import Service
from deploy.agent.system import System
from deploy.agent.wire import Refused
from deploy.ci import keys, kit
from deploy.config.reader import App
from deploy.config.site import Site
from deploy.errors import ConfigError
from deploy.verbs.ci_key import put_aside

SHOP = App("shop", "shop:app")


def generated(directory: Path, *options: str) -> Path:
    file = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "me@here now", *options, "-f", file], check=True)
    return file


@pytest.fixture
def key(tmp_path: Path) -> keys.Key:
    return keys.given(f"{generated(tmp_path, '-t', 'ed25519')}.pub")


@pytest.mark.parametrize("options", [("-t", "ed25519"), ("-t", "ecdsa"), ("-t", "rsa", "-b", "3072")])
def test_a_public_key_is_taken_with_the_fingerprint_that_ssh_keygen_shows(tmp_path: Path, options: tuple[str, ...]):
    file = generated(tmp_path, *options)
    found = keys.given(f"{file}.pub")
    assert found.fingerprint in subprocess.check_output(["ssh-keygen", "-lf", file], text=True)
    assert found.name == "me@here_now"


def test_a_key_that_is_made_is_one_for_ssh_and_only_its_owner_s_to_read(tmp_path: Path):
    file = tmp_path / "sub" / "key"
    made = keys.made(file, "ci", keep=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert made.base64 in subprocess.check_output(["ssh-keygen", "-yf", file], text=True)
    assert keys.made(file, "ci", keep=True) == made


def test_looking_makes_no_key(tmp_path: Path):
    keys.made(tmp_path / "key", "ci", keep=False)
    assert not list(tmp_path.iterdir())


def test_a_key_with_a_passphrase_is_not_written_over(tmp_path: Path):
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "secret", "-t", "ed25519", "-f", file], check=True)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.made(file, "ci", keep=True)
    assert file.read_bytes() == before


def test_a_private_key_that_cannot_be_read_does_not_make_a_failure_of_revoking(key: keys.Key, tmp_path: Path):
    (tmp_path / "private").write_text("no key\n")
    put_aside(tmp_path / "private", (key,))
    assert (tmp_path / "private").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: "",
        lambda line: f"{line}\n{line}",
        lambda line: f'command="sh" {line}',
        lambda line: line.replace("AAAA", "AAAB", 1),
        lambda line: " ".join([line.split()[0], line.split()[1][:20]]),
        lambda line: line.replace("ssh-ed25519 ", "ssh-dss "),
        lambda line: line.replace("ssh-ed25519 ", "ecdsa-sha2-nistp256 "),
        lambda line: f"# {line}",
        lambda line: "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
    ],
)
def test_what_is_not_one_sound_public_key_is_refused(tmp_path: Path, spoil):
    line = Path(f"{generated(tmp_path, '-t', 'ed25519')}.pub").read_text().strip()
    with pytest.raises(ConfigError):
        keys.public_key(spoil(line), "here")


def test_a_weak_rsa_key_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="2048 bits"):
        keys.given(f"{generated(tmp_path, '-t', 'rsa', '-b', '2048')}.pub")


def test_a_line_lets_a_key_do_one_thing_only(key: keys.Key, tmp_path: Path):
    keyring(tmp_path, key).apply(System())
    words = (tmp_path / "keys").read_text().splitlines()[1].split('"')
    assert words[0] == "restrict,command="
    assert words[1] == f"exec /usr/bin/python3 -ISB /kit/deploy/ci/relay.py shop {key.id}"


def test_what_a_comment_says_cannot_break_its_line(key: keys.Key):
    evil = keys.public_key(f'{key.type} {key.base64} x" \t\x1b[2J', "here")
    assert evil.name == "x_____2J"


def keyring(directory: Path, *added: keys.Key, revoke: tuple[str, ...] = (), kit: str = "/kit") -> Keyring:
    return Keyring(str(directory / "keys"), "shop", kit, tuple(key.fields for key in added), revoke)


def another(key: keys.Key) -> keys.Key:
    return replace(key, base64=key.base64[:-4] + "AAAA", name="other")


def test_the_keys_of_a_server_are_read_back(key: keys.Key, tmp_path: Path):
    keyring(tmp_path, key).apply(System())
    with (tmp_path / "keys").open("a") as file:
        file.write("ssh-ed25519 AAAA somebody else's\n")
    assert keys.found(keys_in(str(tmp_path / "keys"))) == (key,)
    assert keys_in(str(tmp_path / "none")) == []


def test_a_key_is_added_to_those_that_are_there_in_the_moment_of_writing(key: keys.Key, tmp_path: Path):
    mine, hers = keyring(tmp_path, key), keyring(tmp_path, another(key))
    mine.apply(System())
    hers.apply(System())
    assert keys.found(keys_in(str(tmp_path / "keys"))) == (key, another(key))
    assert mine.check(System()) == [] == hers.check(System())


def test_a_key_that_was_revoked_meanwhile_is_not_given_back_by_another_operator_s_addition(
    key: keys.Key, tmp_path: Path
):
    keyring(tmp_path, key).apply(System())
    addition = keyring(tmp_path, another(key))  # planned while the first was there
    revoking = keyring(tmp_path, revoke=(key.id,), kit="")
    assert revoking.check(System())
    revoking.apply(System())
    assert revoking.check(System()) == []
    addition.apply(System())
    assert keys.found(keys_in(str(tmp_path / "keys"))) == (another(key),)


def test_a_key_is_revoked_also_in_a_file_that_somebody_has_edited(key: keys.Key, tmp_path: Path):
    keyring(tmp_path, key, another(key)).apply(System())
    with (tmp_path / "keys").open("a") as file:
        file.write("# a remark\n")
    with pytest.raises(Refused, match="edited by hand"):
        keyring(tmp_path, key).check(System())
    revoking = keyring(tmp_path, revoke=("all",), kit="")
    revoking.apply(System())
    assert keys_in(str(tmp_path / "keys")) == [] == revoking.check(System())


def test_a_new_version_of_the_kit_serves_the_keys_that_are_there(key: keys.Key, tmp_path: Path):
    keyring(tmp_path, key).apply(System())
    newer = keyring(tmp_path, kit="/newer")
    assert newer.check(System())
    newer.apply(System())
    assert "/newer/deploy/ci/relay.py" in (tmp_path / "keys").read_text()
    assert keys.found(keys_in(str(tmp_path / "keys"))) == (key,)


def test_the_last_thing_that_is_done_is_to_let_the_key_in(key: keys.Key):
    assert keys.plan(SHOP, Site(("a",)), (key,)).steps[-1].title.endswith("authorized_keys")


def test_the_first_thing_that_revoking_does_is_to_let_the_key_in_no_more(key: keys.Key):
    first, second, third, *_ = keys.revoking(SHOP, (key,), ()).steps
    assert first == Keyring(layout.ci_keys("shop"), "shop", "", (), ("all",))
    assert second == Disconnected("shop", layout.ci_keys("shop"))
    assert third == Service("ashore-ci-shop.socket", active=False, enabled=False)


def test_revoking_one_key_of_several_touches_nothing_else(key: keys.Key):
    path = layout.ci_keys("shop")
    plan = keys.revoking(SHOP, (key,), (another(key),))
    assert plan.steps == (Keyring(path, "shop", "", (), (key.id,)), Disconnected("shop", path))
    assert not plan.finish


def test_a_key_is_revoked_by_its_fingerprint(key: keys.Key):
    assert keys.without((key,), key.fingerprint, "here") == ()
    assert keys.without((key,), key.fingerprint[:15], "here") == ()
    assert keys.without((key,), "all", "here") == ()
    assert keys.without((), "all", "here") == ()
    for wrong in ("SHA256:", "SHA256:AAAAAAAAAAAA", "ALL"):
        with pytest.raises(ConfigError, match="there is no such key") as raised:
            keys.without((key,), wrong, "here")
        assert key.fingerprint in raised.value.detail


def test_the_copy_of_the_kit_is_whole_and_needs_jinja_only(tmp_path: Path):
    tree = Tree(str(tmp_path / "copy"), kit.files(), "copy")
    tree.apply(System())
    assert tree.check(System()) == []
    packages = str(Path(jinja2.__file__).parents[1])
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path / 'copy')!r}]\n"
        "from deploy.ci import server\n"
        "import deploy.agent.questions.oneoff, deploy.agent.resources as r\n"
        "[r.KINDS[name] for name in r.KINDS]\n"
        f"sys.path += [{packages!r}]\n"
        "from deploy.plan import record\nfrom deploy.config.reader import App\n"
        "assert 'ExecStart' in record.unit_text(App('shop', 'shop:app'))\n"
    )
    subprocess.run([sys.executable, "-ISBc", program], check=True, cwd="/")
    (tmp_path / "copy" / "deploy" / "errors.py").write_text("")
    (tmp_path / "copy" / "deploy" / "more.py").write_text("")
    assert {drift.what for drift in tree.check(System())} == {"deploy/errors.py", "deploy/more.py"}
