"""A CI key deploys, rolls back and lists one app; whatever else its holder tries leaves things as they are."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from keyholder import Holder, outside
from standing import Project, Server, change_app
from visiting import wait_for

from deploy.agent.resources.files import File, Link
from deploy.agent.wire import Plan, frame

HASH = "a" * 64


def test_a_ci_key_deploys_lists_and_rolls_back_and_is_in_the_history(server: Server, operator: Project, ci: Holder):
    before = server.current
    change_app(ci.project, "FROM_CI = 1")
    with server.requests("/") as answers:
        assert "requests failed" in ci.fab("deploy").out
        assert server.release() == server.current != before
        assert server.current in ci.fab("releases").out
        assert "nothing new: 0 changed" in ci.fab("deploy").out
        assert f"rolled back to {before}" in ci.fab("rollback").out
    assert set(answers.statuses) == {200}
    assert server.release() == before
    runs = [event for event in operator.fab("history", "--json").events if event["verb"] in ("deploy", "rollback")]
    assert [run["verb"] for run in runs[-2:]] == ["deploy", "rollback"]
    for run in runs[-2:]:
        assert run["who"].startswith("ci-visitors ") and "@" in run["who"] and run["from"].startswith("10.76.")
    assert server.leftovers() == []


def test_the_same_command_again_and_a_look_change_nothing(server: Server, operator: Project, ci: Holder):
    before = server.state()
    again = operator.fab("ci.key")
    assert "1 CI key: 0 changed" in again.out and ci.login in again.out
    other = ci.key.with_name("other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    assert "1 would change" in operator.fab("ci.key", "--public", f"{other}.pub", "--check").out
    change_app(ci.project, "LOOK = 1")
    looked = ci.fab("deploy", "--check").out
    assert "change webapp/__init__.py" in looked and "would change  traffic: switched to" in looked
    assert server.state() == before


def test_the_private_key_is_in_its_file_only(server: Server, operator: Project, ci: Holder):
    body = ci.key.read_text().splitlines()[3]
    assert ci.key.stat().st_mode & 0o777 == 0o600
    assert body not in operator.fab("ci.key", "-v").text
    assert not server.script(f"grep -rlsI {body} /etc /var/lib /srv /home /root", check=False)


PLANTING = """
import glob, os, zipfile
for venv in glob.glob("/srv/visitors/venvs/*"):
    if os.access(venv, os.W_OK) and not os.path.exists(venv + "/open"):
        os.symlink("/etc/shadow", venv + "/link")
        os.symlink("/etc", venv + "/directory")
        os.mkdir(venv + "/open")
        os.chmod(venv + "/open", 0o777)
        open(venv + "/open/planted", "w").close()
        os.chmod(venv + "/open/planted", 0o666)
        open(venv + "/.complete", "w").close()

def build_wheel(directory, *_):
    with zipfile.ZipFile(directory + "/planted-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("planted-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: planted\\nVersion: 1\\n")
        wheel.writestr("planted-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("planted-1.dist-info/RECORD", "")
    return "planted-1-py3-none-any.whl"
"""
BACKEND = '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'


def package(ci: Holder, name: str, code: str) -> None:
    """The source has a package of its own that its requirements ask for."""
    (ci.project.directory / name).mkdir()
    (ci.project.directory / name / "setup.py").write_text(code)
    (ci.project.directory / name / "pyproject.toml").write_text(BACKEND)
    ci.project.append("webapp/requirements.txt", f"./{name}\n")
    ci.project.commit()


def test_packages_are_built_in_a_box_and_are_root_s_then(server: Server, ci: Holder):
    package(ci, "planted", PLANTING)
    shadow = server.script("stat -c '%U %G %a' /etc /etc/shadow")
    assert "virtualenv" in ci.fab("deploy").out
    venv = server.script("readlink -f /srv/visitors/current/venv").strip()
    assert server.script(f"find {venv} ! -user root -o ! -group root -o -perm /6022 ! -type l") == ""
    assert server.script(f"ls {venv}/open") == "planted\n"
    assert server.script("stat -c '%U %G %a' /etc /etc/shadow") == shadow
    assert server.release() == server.current
    assert server.leftovers() == []
    ci.fab("rollback")


EVIL = """
import os, socket, sys
found = []
for path in (
    "/home/deploy/.ssh/authorized_keys", "/srv/visitors/venvs/x", "/srv/visitors/current/source/x", "/etc/x", "/run/x",
    "/var/lib/ashore-ci/visitors/.ssh/authorized_keys", "/var/lib/visitors/x", "/srv/visitors/releases/x", "/usr/x",
):
    try:
        open(path, "a")
        found.append("could write " + path)
    except OSError:
        pass
for path in ("/srv/visitors/secrets.env", "/srv/visitors/current/env", "/var/lib/ashore", "/etc/shadow", "/home/deploy",
             "/var/lib/visitors", "/run/ashore", "/run/ashore-ci"):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
        found.append("could read " + path)
    except OSError:
        pass
for path in ("/run/ashore-ci/visitors.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"):
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        found.append("reaches " + path)
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    os.closerange(0, 100)
    os.execvp("sleep", ["sleep", "4711"])
sys.exit("EVIL RAN AS %d: %s." % (os.getuid(), found))
"""


def test_a_package_s_build_reaches_nothing_and_outlives_nothing(server: Server, ci: Holder):
    before = outside(server)
    package(ci, "evil", EVIL)
    said = ci.fab("deploy", status=1).err
    uid = server.script("id -u visitors").strip()
    assert f"EVIL RAN AS {uid}: []." in said
    assert "sleep 4711" not in server.script("ps -eo args | grep -v grep", check=False)
    assert outside(server) == before
    assert server.leftovers() == []


OTHERS = (
    "provision", "restart", "env", "env.unset LANGUAGE", "run id", "logs", "history", "maintenance on", "ci.key",
    "deploy --force", "rollback --force",
)  # fmt: skip


def test_every_other_command_is_refused_in_words(server: Server, ci: Holder):
    before = server.state()
    for words in OTHERS:
        said = ci.fab(*words.split(), status=1).err
        assert "this key may only" in said or "may not replace" in said, said
        assert "state: nothing was changed" in said and "hint:" in said
    assert server.state() == before and server.idle()


def test_ssh_gives_its_holder_no_shell_no_files_and_no_forwarding(server: Server, ci: Holder, tmp_path: Path):
    before = outside(server)
    for command in (["id"], ["sh", "-c", "id >/tmp/out"], ["sudo", "-n", "id"], [], ["-s", "sftp"]):
        flags = command[:1] if command[:1] == ["-s"] else []
        said = ci.ssh(*flags, ci.login, *command[len(flags) :], said=b"id\n")
        assert [json.loads(line)["event"] for line in said.stdout.splitlines()] == ["hello", "end"]
    at_terminal = ci.ssh("-tt", ci.login, "sh", said=b"id\n")
    assert b"PTY allocation request failed" in at_terminal.stderr and at_terminal.stdout == b""
    copied = subprocess.run(["scp", *ci.ssh_words()[1:], str(ci.key), f"{ci.login}:/tmp/stolen"], capture_output=True)
    assert copied.returncode
    assert b"prohibited" in ci.ssh("-W", "127.0.0.1:80", ci.login).stderr
    for way in (("-R", "8099:127.0.0.1:80"), ("-R", f"/tmp/stream:{tmp_path}/x")):
        assert ci.ssh("-N", "-o", "ExitOnForwardFailure=yes", *way, ci.login).returncode
    assert forwarded(ci, "127.0.0.1:80") == b"" and forwarded(ci, "/run/ashore-ci/visitors.sock") == b""
    assert server.script("ls /tmp/out /tmp/stolen /tmp/stream 2>/dev/null || true") == ""
    assert outside(server) == before


def forwarded(ci: Holder, target: str) -> bytes:
    """What a local forwarding (-L) yields of a page; nothing, where the server does not connect us."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tunnel = subprocess.Popen(ci.ssh_words("-N", "-L", f"{port}:{target}", ci.login), stderr=subprocess.DEVNULL)
    try:

        def connected() -> socket.socket | None:
            with suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", port), 10)
            return None

        with wait_for(connected, "ssh to listen") as link, suppress(ConnectionResetError):
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return link.recv(1 << 16)
        return b""
    finally:
        tunnel.kill()
        tunnel.wait()


def test_what_the_server_runs_for_a_key_has_no_agent_no_display_and_no_terminal(server: Server, ci: Holder):
    words = ["-A", "-X", "-o", "SetEnv=LD_PRELOAD=/tmp/x PYTHONPATH=/tmp LC_EVIL=1", "-q", ci.login]
    talk = subprocess.Popen(ci.ssh_words(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    talk.stdout.readline()
    seen = server.script(
        "pid=$(pgrep -u ci-visitors -f relay.py); tr '\\0' '\\n' </proc/$pid/environ; readlink /proc/$pid/fd/0;"
        " tr '\\0' ' ' </proc/$pid/cmdline; id ci-visitors; sudo -l -U ci-visitors || true"
    )
    talk.kill()
    assert "relay.py visitors" in seen
    for word in ("SSH_AUTH_SOCK", "DISPLAY", "LD_PRELOAD", "PYTHONPATH", "/dev/pts", "sudo)", "NOPASSWD", "admin"):
        assert word not in seen, seen


def test_it_can_change_nothing_that_lets_it_in(server: Server, ci: Holder):
    places = "/var/lib/ashore-ci /usr/local/lib/ashore /run/ashore-ci"
    assert server.script(f"find {places} ! -user root -o -perm /022 ! -type l ! -type s") == ""
    assert server.script("getent passwd ci-visitors").split(":")[5:] == ["/var/lib/ashore-ci/visitors", "/bin/sh\n"]
    assert server.script("getent shadow ci-visitors").split(":")[1] == "*"


def test_systemd_takes_the_units_and_finds_the_service_confined(server: Server, operator: Project):
    unit = "/etc/systemd/system/ashore-ci-visitors"
    assert server.script(f"systemd-analyze verify {unit}.socket {unit}@.service 2>&1 | grep ashore-ci || true") == ""
    said = server.run("systemd-analyze", "security", "--no-pager", "ashore-ci-visitors@x.service")
    assert (
        float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1]) <= 4.0
    )  # as root, with what root needs


def test_another_version_of_the_kit_on_the_server_is_told(server: Server, operator: Project, ci: Holder):
    kit = server.script("ls -d /usr/local/lib/ashore/ci-*").strip()
    other = f"{kit[:-12]}{'0' * 12}"
    unit = "/etc/systemd/system/ashore-ci-visitors@.service"
    server.script(f"cp -a {kit} {other}; cp -a {unit} /root/unit; sed -i s,{kit},{other}, {unit}")
    assert "another version of Ashore" in ci.fab("deploy").out
    assert "another version of Ashore" in operator.fab("deploy").out
    server.script(f"sed -i 's/^PROTOCOL = .*/PROTOCOL = 99/' {other}/deploy/agent/layout.py")
    said = ci.fab("deploy", status=1).err
    assert "not compatible with this one" in said and "`fab ci.key` again" in said
    server.script(f"mv /root/unit {unit}; systemctl daemon-reload")
    assert "unused copies of the kit" in operator.fab("ci.key").out
    assert server.script("ls -d /usr/local/lib/ashore/ci-*").strip() == kit


def test_what_only_an_operator_may_say_is_refused_whatever_it_looks_like(server: Server, ci: Holder):
    before = server.state()
    sudo = Plan("deploy", (File("/etc/sudoers.d/evil", "ci-visitors ALL=(ALL) NOPASSWD: ALL\n"), Link("/etc/x", "/")))
    run = {"app": "visitors", "verb": "deploy", "who": "root@here"}
    plan = {"request": "plan", "plan": sudo, "units": [], "check": False, "run": run, "wait": False, "halt": ""}
    ask = {"request": "ask", "module": "resources.environment", "question": "listing"}
    ends = ci.says(
        plan,
        {"request": "modules", "sources": {"agent.history": "import os; os.system('touch /etc/evil')"}},
        ask | {"directory": "/srv/visitors/current", "secrets": "/srv/visitors/secrets.env"},
        {"request": "ask", "module": "history", "question": "read", "app": "../../../etc", "count": 0},
        {"request": "run", "app": "visitors", "command": ["id"], "tty": None},
        {"request": "logs", "units": ["*"], "files": ["/etc/shadow"], "lines": 9, "since": "", "follow": False},
        ci.survey(lock=run | {"verb": "provision"}),
        ci.survey(app="blog"),
        ci.survey(app="../.."),
        ci.survey() | {"halt": "0"},
        ci.deploy(),
        ci.deploy() | {"halt": "0"},
        ci.deploy() | {"plan": sudo},
        ci.deploy(name="blog"),
        ci.deploy() | {"commit": "x\x1b[2J"},
        ci.deploy() | {"force": True},
        *(ci.rollback(name) for name in ("../../etc", "20260101-000000", "x\n", "20260101-000000/../x")),
    )
    assert {end["state"] for end in ends} == {"refused"}, ends
    assert server.state() == before and server.idle()


def test_a_manifest_can_name_nothing_outside_and_a_link_can_lead_nowhere(server: Server, ci: Holder):
    before = server.state()
    lines = [
        ["../../../../etc/cron.d/x", "f", 1, HASH],
        ["/etc/cron.d/x", "f", 1, HASH],
        ["x", "f", 1, "../../../../../etc/cron.d/x"],
        ["x", "f", -1, HASH],
        ["x\ny", "f", 1, HASH],
        ["x", "l", 0, "/etc/shadow"],
        ["x", "l", 0, "../../../secrets.env"],
    ]
    chained = [["a/b/up", "l", 0, "../.."], ["static", "l", 0, "a/b/up/.."]]
    ends = ci.says(*(ci.survey([line]) for line in lines), ci.survey(chained))
    assert {end["state"] for end in ends} == {"refused"}, ends
    assert server.state() == before


def test_settings_cannot_break_out_of_their_file_nor_loosen_the_box(server: Server, operator: Project, ci: Holder):
    before = server.state()
    text = (ci.project.directory / "webapp/requirements.txt").read_text()
    source = [["webapp/requirements.txt", "f", len(text), hashlib.sha256(text.encode()).hexdigest()]]
    changes = [
        {"static": {"/s/": "x; } server { root /"}},
        {"health_path": "/x{}#"},
        {"wsgi": "x:y\nExecStartPre=/bin/sh"},
        {"env": {"A": "x\nEVIL=1"}},
        {"memory_percent": "1\nUser=root"},
        {"requirements": "/etc/shadow"},
        {"writable_paths": ["/etc"]},
        {"devices": ["/dev/sda"]},
        {"allow_jit": True},
        {"memory_percent": 99},
        {"release_seconds": 86400},
    ]
    texts = {"webapp/requirements.txt": text}
    ends = ci.says(ci.survey(source), *(ci.deploy(texts, **change) for change in changes))[1:]
    assert {end["state"] for end in ends} == {"refused"}, ends
    assert "an operator has allowed" in ends[-1]["what"] and "release_seconds = 86400" in ends[-1]["detail"]
    poisoned = ci.says(ci.survey(source), ci.deploy({"webapp/requirements.txt": f"{text}evil\n"}))[1]
    assert "does not match the file in the source" in poisoned["what"]
    assert server.state() == before


def test_what_an_operator_deploys_ci_may_deploy_from_then_on(server: Server, operator: Project, ci: Holder):
    ci.project.write_config("allow_jit = true")
    change_app(ci.project, "JIT = 1")
    refused = ci.fab("deploy", status=1).err
    assert "allow_jit = true (allowed: false)" in refused and "an operator" in refused
    operator.write_config("allow_jit = true", 'aliases = ["www.visitors.example"]')
    operator.fab("deploy")
    ci.fab("deploy")
    assert server.get("/healthz", host="www.visitors.example")[0] == 301  # the names are the operator's, too
    operator.write_config()
    operator.fab("deploy")
    assert "allow_jit" in ci.fab("rollback", status=1).err


def bomb() -> bytes:
    body = zlib.compress(b" " * (64 << 20))
    return b"j %d\n" % len(body) + body


@pytest.mark.parametrize("bytes_", [b"x" * 100_000, b"j 99999999\n", b"j 500\nhalf", b"GET / HTTP/1.0\r\n\r\n", bomb()])
def test_garbage_is_refused_and_the_next_one_is_served(server: Server, ci: Holder, bytes_: bytes):
    talk = ci.opened()
    out, _ = talk.communicate(bytes_, timeout=30)
    assert json.loads(out)["state"] == "refused"
    assert ci.says(ci.survey())[0]["current"] == server.current


def test_an_upload_of_other_bytes_than_announced_leaves_nothing(server: Server, ci: Holder):
    before = server.current
    text = (ci.project.directory / "webapp/requirements.txt").read_text()
    real = hashlib.sha256(text.encode()).hexdigest()
    source = [["webapp/requirements.txt", "f", len(text), real], ["webapp/x", "f", 5, HASH]]
    texts = {"webapp/requirements.txt": text}
    for sent in (b"xxxxx", b"x" * 5000, b"x"):
        packed = zlib.compress(sent)
        upload = frame(ci.deploy(texts)) + frame(packed)
        end = ci.says(ci.survey(source), upload + (frame({"request": "eof"}) if len(sent) < 5 else b""))[1]
        assert end["state"] == "failed" and not end["undo_errors"], end
    assert server.current == before and server.get("/healthz")[0] == 200
    wait_for(server.idle, "the lock to be free")


def test_an_open_connection_does_not_keep_others_waiting(server: Server, operator: Project, ci: Holder):
    talk = ci.opened()
    talk.stdin.write(frame(ci.survey(lock={"verb": "deploy", "who": "me"})))
    talk.stdin.flush()
    assert json.loads(talk.stdout.readline())["event"] == "reply"
    assert server.idle()
    assert "nothing new" in operator.fab("deploy").out
    talk.kill()
    talk.wait()


def test_another_app_s_key_reaches_nothing_of_this_one(server: Server, operator: Project, ci: Holder, tmp_path: Path):
    other = Project(tmp_path / "blog" / "project", server.machine)
    other.domain = "blog.example"
    other.write_config(name="blog")
    other.fab("provision", "ci.key")
    blog = Holder(ci.project, other.home / ".ssh" / "ashore-ci-blog-production", "blog")
    before = server.state()
    assert "only for blog" in blog.fab("deploy", status=1).err  # with the deploy.toml of visitors
    assert blog.ssh("-q", ci.login, seconds=30).returncode == 255  # nor as the other's user
    ends = blog.says(blog.survey(app="visitors"), ci.survey(), ci.rollback(""))
    assert {end["state"] for end in ends} == {"refused"}
    assert server.script("stat -c '%U:%G %a' /run/ashore-ci/visitors.sock") == "root:ci-visitors 660\n"
    tried = "import socket; socket.socket(socket.AF_UNIX).connect('/run/ashore-ci/visitors.sock')"
    said = server.script(f'runuser -u ci-blog -- python3 -c "{tried}" 2>&1 || true')
    assert "Permission denied" in said
    assert server.state() == before
    other.fab("ci.key", "--revoke", "all")
    left = server.script("ls -A /run/ashore-ci /var/lib/ashore-ci/blog/.ssh /etc/systemd/system /usr/local/lib/ashore")
    assert "blog.sock" not in left.split() and "authorized_keys" not in left and "ci-blog" not in left and "ci-" in left
    assert blog.ssh("-q", blog.login).returncode == 255
    revoked = blog.key.with_name(f"{blog.key.name}.revoked")
    public = subprocess.check_output(["ssh-keygen", "-yf", revoked], text=True).split()[1]
    made = other.fab("ci.key", "--check").out
    assert "ssh-ed25519" in made and public not in made  # one that was revoked is not taken again


def test_a_revoked_key_is_out_even_where_it_was_in_already(server: Server, operator: Project, ci: Holder):
    second = ci.key.with_name("second")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-C", "second", "-N", "", "-f", second], check=True)
    operator.fab("ci.key", "--public", f"{second}.pub")
    other = Holder(ci.project, second)
    talk = other.opened()
    assert other.says(other.survey())[0]["event"] == "reply"
    fingerprint = subprocess.check_output(["ssh-keygen", "-lf", second], text=True).split()[1]
    operator.fab("ci.key", "--revoke", fingerprint)
    with suppress(BrokenPipeError):  # it may have ended by itself
        talk.stdin.write(frame(other.rollback("")))
        talk.stdin.flush()
    assert "was revoked" in json.loads(talk.stdout.readline())["what"]
    talk.kill()
    talk.wait()
    assert "accepts none of the offered keys for ci-visitors" in other.fab("releases", status=1).err
    assert "current" in ci.fab("releases").out


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_deploy_whose_client_goes_is_finished_or_undone(server: Server, ci: Holder, how: signal.Signals):
    before = server.current
    ci.project.write_config('release_command = "sleep 1"')
    change_app(ci.project, f"GONE = {int(how)}")
    with server.requests("/") as answers:
        process = ci.start("deploy", "--json")
        for line in process.stdout:
            if json.loads(line).get("step", "").startswith("release command"):
                break
        os.killpg(process.pid, how)
        process.communicate()
        wait_for(server.idle, "the end of the deploy")
    assert set(answers.statuses) == {200}
    assert (server.release() != before) == (how == signal.SIGKILL)
    told = ci.fab("rollback" if how == signal.SIGKILL else "deploy")
    if how == signal.SIGKILL:
        assert "`deploy` by ci-visitors" in told.out  # that one is told how it ended
    assert server.leftovers() == []


def test_after_all_of_that_the_app_serves_and_nothing_stands_about(server: Server, operator: Project):
    operator.fab("deploy")
    assert server.release() == server.current
    assert server.leftovers() == []
    assert server.script("systemctl --failed --plain --no-legend") == ""
    assert server.script("pgrep -u ci-visitors -f relay.py || true") == ""
