"""Operators come before CI keys: revoking and an operator's own work wait for nothing that a key has under way."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
from breaking import on_small_disk
from keyholder import Holder
from standing import Project, Server, change_app
from visiting import wait_for

from deploy.agent.wire import frame

HASH = "a" * 64


@pytest.fixture
def second(operator: Project, ci: Holder, tmp_path: Path) -> Holder:
    """Somebody with a key of their own for the same app."""
    key = tmp_path / "second"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-C", "second", "-N", "", "-f", key], check=True)
    operator.fab("ci.key", "--public", f"{key}.pub")
    return Holder(ci.project, key)


def revoke(operator: Project, holder: Holder) -> str:
    fingerprint = subprocess.check_output(["ssh-keygen", "-lf", holder.key], text=True).split()[1]
    return operator.fab("ci.key", "--revoke", fingerprint).text


def dripping(server: Server, holder: Holder) -> subprocess.Popen:
    """A deploy of the key's that holds the lock, and whose upload does not go on."""
    text = (holder.project.directory / "webapp/requirements.txt").read_text()
    real = hashlib.sha256(text.encode()).hexdigest()
    source = [["webapp/requirements.txt", "f", len(text), real], ["webapp/x", "f", 5000, HASH]]
    talk = holder.opened()
    talk.stdin.write(frame(holder.survey(source)) + frame(holder.deploy({"webapp/requirements.txt": text})))
    talk.stdin.write(b"b 4000000\n" + bytes(800_000))  # fast at first, so it may take its time for minutes
    talk.stdin.flush()
    wait_for(lambda: not server.idle(), "the deploy of the key to hold the lock")
    return talk


def ended(talk: subprocess.Popen) -> str:
    """What a connection was told last; its server's side is the one that ends it."""
    said = talk.stdout.read().decode()
    talk.kill()
    talk.wait(30)
    return said.splitlines()[-1]


def test_a_key_is_revoked_at_once_and_what_it_uploads_has_an_end(server: Server, operator: Project, second: Holder):
    before = server.current
    talk = dripping(server, second)
    said = revoke(operator, second)
    assert "1 revoked" in said
    assert "this key was revoked" in ended(talk)
    assert server.idle() and server.current == server.release() == before
    assert "accepts none of the offered keys for ci-visitors" in second.fab("releases", status=1).err
    assert "`deploy` by ci-visitors" in operator.fab("deploy").out  # an operator is told how that ended
    assert server.leftovers() == []


def test_other_keys_go_on_while_one_is_revoked(server: Server, operator: Project, ci: Holder, second: Holder):
    talk = dripping(server, ci)
    idle = second.opened()
    revoke(operator, second)
    assert "this key was revoked" in ended(idle)
    assert not server.idle()
    talk.kill()
    talk.wait(30)
    wait_for(server.idle, "the end of the deploy")
    operator.fab("deploy")
    assert server.leftovers() == []


def test_an_operator_does_not_wait_for_a_key(server: Server, operator: Project, ci: Holder):
    talk = dripping(server, ci)
    said = operator.fab("maintenance", "on").out
    assert "it is being stopped: operators come first" in said and "ci-visitors" in said
    assert "an operator is working on the app now" in ended(talk)
    assert "the site is open" in operator.fab("maintenance", "off").out
    ci.project.write_config('release_command = "sleep 250"')
    change_app(ci.project, "SLOW = 1")
    process = ci.start("deploy", "--json")
    wait_for(lambda: "sleep 250" in server.script("ps -eo args"), "the release command")
    served = operator.fab("restart").out
    assert "restarted" in served
    assert "operators come first" in served
    assert "an operator is working on the app now" in process.ended()[0]
    assert server.release() == server.current
    assert server.leftovers() == []


SLEEPS = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.execvp("sleep", ["sleep", "4713"])
DO
"""


def build(holder: Holder, code: str) -> None:
    """The requirements of the source ask for a package of its own, whose build runs this."""
    package = holder.project.directory / "hostile"
    package.mkdir()
    (package / "setup.py").write_text(SLEEPS.replace("DO", code))
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'
    )
    holder.project.append("webapp/requirements.txt", "./hostile\n")
    holder.project.commit()


def building(server: Server, holder: Holder) -> subprocess.Popen:
    build(holder, "time.sleep(4000)")
    process = holder.start("deploy")
    wait_for(lambda: "sleep 4713" in server.script("ps -eo args"), "the build")
    return process


def built(server: Server) -> bool:
    return "4713" not in server.script("ps -eo args | grep '[s]leep' || true")


def test_a_build_that_hangs_ends_when_its_key_is_revoked(server: Server, operator: Project, second: Holder):
    process = building(server, second)
    revoke(operator, second)
    err = process.ended()[1]
    assert process.returncode == 1 and "this key was revoked" in err
    assert built(server) and server.idle()
    operator.fab("deploy")
    assert server.leftovers() == []


def test_a_build_that_hangs_ends_when_its_client_goes(server: Server, operator: Project, ci: Holder):
    process = building(server, ci)
    process.kill()
    process.ended()
    wait_for(server.idle, "the end of the deploy")
    assert built(server)
    assert "nothing new" in operator.fab("deploy").out
    assert server.leftovers() == []


def test_a_build_that_leaves_a_process_on_its_outputs_is_not_waited_for(server: Server, ci: Holder):
    build(ci, "sys.exit('AS EVER')")
    assert "AS EVER" in ci.fab("deploy", status=1).err
    assert built(server) and server.idle()
    assert server.leftovers() == []


def test_a_build_that_fills_the_disk_is_stopped_and_leaves_nothing(server: Server, ci: Holder):
    on_small_disk(server, 300)
    try:
        build(ci, "file = open(os.environ['HOME'] + '/large', 'wb')\nwhile True:\n    file.write(bytes(1 << 20))")
        assert "would fill the server's disk" in ci.fab("deploy", status=1).err
        assert built(server)
        assert int(server.script("df -m --output=avail /srv/visitors | tail -1")) > 200
    finally:
        server.script("umount -l /srv/visitors /mnt/small; rmdir /mnt/small")


def wheel(directory: Path, text: str) -> None:
    directory.mkdir(exist_ok=True)
    with zipfile.ZipFile(directory / "harmless-1-py3-none-any.whl", "w") as archive:
        archive.writestr("harmless.py", text)
        archive.writestr("harmless-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1\n")
        archive.writestr("harmless-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("harmless-1.dist-info/RECORD", "")


def test_no_virtualenv_outlives_a_key_that_leaked(server: Server, operator: Project, ci: Holder):
    for project in (operator, ci.project):
        project.append("webapp/requirements.txt", "--find-links ../wheels\nharmless==1\n")
    wheel(operator.directory / "wheels", "WHOSE = 'the operator'\n")
    wheel(ci.project.directory / "wheels", "WHOSE = 'a thief'\n")
    operator.commit()
    ci.project.commit()
    asked = "python -c 'import harmless; print(harmless.WHOSE)'"
    ci.fab("deploy")
    assert operator.fab("run", asked).out == "a thief\n"
    operator.fab("ci.key", "--revoke", "all")
    operator.fab("deploy")
    assert operator.fab("run", asked).out == "the operator\n"
    # Also where nothing but an index is named, what was built for a key is no operator's.
    key = operator.fab("ci.key").out
    assert "may deploy visitors here" in key
