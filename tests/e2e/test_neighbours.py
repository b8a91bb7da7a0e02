"""Two apps on one server, and root between them: no app learns of another, takes from another, or leads root astray."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking import resume
from standing import Project, Server, change_app, machine, settled
from visiting import wait_for

SECRET = "word-of-the-other-app"


@pytest.fixture(scope="module")
def server(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a second app, blog."""
    with machine("neighbours", snapshot=snapshot) as made:
        settled(made, tmp_path_factory.mktemp("neighbours"))
        blog = Project(tmp_path_factory.mktemp("blog") / "project", made)
        blog.domain = "blog.example"
        blog.write_config(name="blog")
        blog.fab("provision", "deploy")
        yield Server(made)


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", server.machine)


@pytest.fixture
def blog(server: Server, tmp_path: Path) -> Project:
    project = Project(tmp_path / "blog" / "project", server.machine)
    project.domain = "blog.example"
    project.write_config(name="blog")
    return project


def python(project: Project, code: str) -> str:
    """What code prints, run in the app's box by the app's Python."""
    return project.fab("run", f"python - <<'END'\n{textwrap.dedent(code)}\nEND").out


def inside(server: Server, script: str, app: str = "visitors") -> str:
    """What a script prints as the app, in the view of the files that its running release has."""
    pid = server.script(f"systemctl show -p MainPID --value '{app}@*.service' | grep -v '^0$' | head -1").strip()
    return server.script(f"nsenter --mount=/proc/{pid}/ns/mnt runuser -u {app} -- sh -c '{script}' 2>&1", check=False)


def test_an_app_learns_nothing_of_another_s_processes_from_systemd(server: Server, project: Project, blog: Project):
    running = blog.start("run", f"sleep 300; : --password={SECRET}")
    try:
        wait_for(lambda: SECRET in server.script("ps -eo args"), "the other app's command")
        assert server.script(f"grep -rl {SECRET} /run/systemd/transient") != ""
        found = python(
            project,
            f"""
            import os, socket
            for path in ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/ashore-ci/visitors.sock"):
                for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
                    try:
                        socket.socket(socket.AF_UNIX, kind).connect(path)
                        print("reaches", path)
                    except OSError:
                        continue
            for top in ("/run", "/proc", "/tmp", "/var/tmp", "/dev/shm", "/var/log"):
                for at, _, names in os.walk(top):
                    for name in names:
                        path = os.path.join(at, name)
                        try:
                            if path.startswith("/proc/%d/" % os.getpid()) or not os.path.isfile(path):
                                continue
                            with open(path, "rb") as file:
                                if {SECRET.encode()!r} in file.read(1 << 20):
                                    print("found in", path)
                        except OSError:
                            continue
            """,
        )
        assert [line for line in found.splitlines() if "/proc/" not in line] == []
    finally:
        running.kill()
        running.wait()


def test_files_in_memory_are_an_app_s_own_and_have_an_end(server: Server, project: Project):
    project.write_config("tmp_megabytes = 20")
    change_app(project, "SMALL = 1")
    current = project.deployed()
    before = server.script("df --output=iused,used /dev/shm /run /tmp | tail -n +2; ls /dev/shm /tmp")
    many = "cd /dev/shm; seq 60000 | xargs touch 2>/dev/null; ls | wc -l; ls | xargs rm"
    assert 1000 < int(inside(server, many)) < 52_000
    assert "No space left" in inside(server, "head -c 30M /dev/zero >/tmp/large; rm /tmp/large")
    assert "No space left" in inside(server, "head -c 30M /dev/zero >/var/tmp/large; rm /var/tmp/large")
    own = f"/run/visitors/{current}/own"
    assert "No space left" in inside(server, f"head -c 2M /dev/zero >{own}/large; rm {own}/large")
    assert "No space left" in inside(server, f"cd {own}; for n in $(seq 100); do touch f$n; done; rm f*")
    assert "cannot touch" in inside(server, f"touch /run/visitors/{current}/x")
    # Beside the service, too: commands have files in memory of their own.
    assert "No space left" in project.fab("run", "head -c 30M /dev/zero >/dev/shm/large", status=1).text
    assert "No space left" in project.fab("run", "head -c 30M /dev/zero >/tmp/large", status=1).text
    after = server.script("df --output=iused,used /dev/shm /run /tmp | tail -n +2; ls /dev/shm /tmp")
    assert int(after.split()[0]) <= 1 + int(before.split()[0])  # files in /dev/shm
    assert server.release() == current
    project.write_config()
    project.fab("deploy")


CONNECTS = """
    import socket
    for address in (("127.0.0.1", 22), ("::1", 22), ("ADDRESS", 22), ("169.254.169.254", 80)):
        try:
            socket.create_connection(address, 5)
            print("reaches", *address)
        except OSError:
            continue
"""


def test_an_app_reaches_neither_ssh_of_its_server_nor_what_clouds_have_on_link_local_addresses(
    server: Server, project: Project
):
    cloud = "systemd-run --quiet --unit=cloud -p WorkingDirectory=/usr/share/doc/nginx python3 -m http.server"
    server.script(f"ip address add 169.254.169.254/32 dev lo; {cloud} --bind 169.254.169.254 80")
    code = CONNECTS.replace("ADDRESS", server.machine.address)
    answers = "python3 -c 'import socket; socket.create_connection((\"169.254.169.254\", 80), 5)'"
    try:
        wait_for(lambda: not server.script(f"{answers} 2>&1 || echo no", check=False), "the cloud's own server")
        assert python(project, code) == ""
        denied = server.script("systemctl show -p IPAddressDeny 'visitors@*.service'")
        assert "169.254.0.0/16" in denied and "fe80::" in denied
        project.write_config("allow_link_local = true")
        assert "without allow_link_local" in project.fab("deploy", status=1).err
        project.fab("provision", "deploy")
        assert python(project, code) == "reaches 169.254.169.254 80\n"
        assert "169.254" not in server.script("systemctl show -p IPAddressDeny 'visitors@*.service'")
    finally:
        server.script("systemctl stop cloud; ip address del 169.254.169.254/32 dev lo")
    project.write_config()
    project.fab("provision", "deploy")
    assert python(project, code) == ""


def test_an_app_that_floods_its_log_loses_its_own_lines_only(server: Server, project: Project, blog: Project):
    server.script(
        "mkdir -p /etc/systemd/journald@visitors.conf.d;"
        " printf '[Journal]\\nSystemMaxUse=16M\\n' >/etc/systemd/journald@visitors.conf.d/small.conf;"
        " systemctl restart systemd-journald@visitors; logger -t canary kept"
    )
    oldest = "journalctl -u ssh -o short-iso-precise | head -1"
    others = server.script(oldest)
    change_app(project, "for number in range(40_000):\n    print('flood', number, 'x' * 1000)")
    project.write_config("health_seconds = 120")
    project.fab("deploy")
    assert server.script("journalctl -o cat --no-pager | grep -c '^flood' || true").strip() == "0"
    assert int(server.script("journalctl --namespace=visitors -o cat | grep -c '^flood'")) > 1000
    used = server.script("du -sm /var/log/journal/*.visitors").split()[0]
    assert int(used) <= 24  # at most, and the files in use
    assert server.script(oldest) == others
    assert "kept" in server.script("journalctl -t canary -o cat")
    assert "flood" in project.fab("logs", "-n", "300").out
    assert "flood" not in blog.fab("logs").out
    server.script("rm -r /etc/systemd/journald@visitors.conf.d; systemctl restart systemd-journald@visitors")
    assert "SystemMaxUse=200M" in server.script("cat /etc/systemd/journald@visitors.conf")


def test_an_app_writes_to_its_own_journal_and_to_no_other(server: Server, project: Project, blog: Project):
    blog.fab("deploy")
    found = python(
        project,
        """
        import glob, socket
        for path in ["/dev/log", *glob.glob("/run/systemd/journal*/*")]:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                try:
                    link = socket.socket(socket.AF_UNIX, kind)
                    link.connect(path)
                    link.send(b"<6>planted: a line\\n")
                    print(path)
                except OSError:
                    continue
        """,
    )
    assert "/run/systemd/journal/socket" in found  # its own, seen at the place of the system's
    assert "journal.blog" not in found
    wait_for(
        lambda: "a line" in server.script("journalctl --namespace=visitors -t planted -o cat"), "the app's own line"
    )
    others = "journalctl -q -t planted -o cat; journalctl -q --namespace=blog -t planted -o cat"
    assert server.script(others, check=False) == ""


# Four times, each once it has been started anew; in one script, since only starts within a minute count.
KILLED = """
before=none
for time in 1 2 3 4; do
    until now=$({}) && [ $now != 0 ] && [ $now != $before ]; do sleep 0.05; done
    before=$now
    kill -9 $before
done
"""


def test_an_app_that_ends_again_and_again_does_not_fill_the_journal_that_all_share(server: Server, project: Project):
    change_app(project, "ENDS = 1")
    current = project.deployed()
    unit = f"visitors@{current}.service"
    server.script(KILLED.format(f"systemctl show -p MainPID --value {unit}"))
    wait_for(lambda: "sleep 10" in server.script("ps -eo args"), "the next start to wait")
    wait_for(lambda: server.get("/healthz")[0] == 200, "the site, once it has waited")
    assert server.release() == current
    project.fab("restart")
    assert current not in server.script("cat /run/ashore/starts-visitors"), (
        "its stop was wanted, so its starts are forgotten"
    )


LEADS_ASTRAY = """
import os, socket, time
own = "/run/visitors/%s/own/http.sock" % os.environ["RELEASE_ID"]
os.symlink("TARGET", own)
said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
said.connect(os.environ["NOTIFY_SOCKET"])
said.send(b"READY=1")
time.sleep(300)
"""


@pytest.mark.parametrize("target", ["/run/blog/BLOG/http.sock", "/run/systemd/private", "/etc/shadow"])
def test_a_link_in_the_place_of_a_socket_leads_nobody_anywhere(server: Server, project: Project, target: str):
    before = server.current
    of_blog = server.script("basename $(readlink /srv/blog/current)").strip()
    (project.directory / "gunicorn.conf.py").write_text(LEADS_ASTRAY.replace("TARGET", target.replace("BLOG", of_blog)))
    project.commit()
    said = project.fab("deploy", status=1).err
    assert "is not a socket of visitors" in said
    assert server.current == server.release() == before
    assert server.leftovers() == []


def test_what_an_app_does_to_its_socket_later_changes_nothing_for_visitors_nor_for_root(
    server: Server, project: Project, blog: Project
):
    project.fab("deploy")
    own = f"/run/visitors/{server.current}/own/http.sock"
    of_blog = server.script("readlink -f /srv/blog/current/http.sock").strip()
    assert inside(server, f"ln -sfT {of_blog} {own} && readlink {own}").strip() == of_blog
    served = server.release()
    assert served == server.current
    assert "nothing new" in project.fab("deploy").out
    peers = server.script("stat -c '%U %a' /run/visitors /run/visitors/*/ /run/visitors/*/http.sock")
    assert peers == "root 755\nroot 750\nvisitors 660\n"
    project.fab("restart")
    assert server.release() == server.current != served


def test_the_health_check_of_an_app_s_socket_is_no_root_s(server: Server, project: Project):
    (project.directory / "who.py").write_text(
        textwrap.dedent("""
        import os, socket, struct
        def app(environ, answer):
            peer = environ["gunicorn.socket"].getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            with open("/var/lib/visitors/peers", "a") as file:
                file.write("%d\\n" % struct.unpack("3i", peer)[1])
            answer("200 OK", [])
            return [b"ok"]
        """)
    )
    project.wsgi = "who:app"
    project.write_config()
    project.commit()
    project.fab("deploy")
    # In the app's box, root is 0, the app itself its own user, and everybody else this one.
    assert set(server.script("cat /var/lib/visitors/peers; rm /var/lib/visitors/peers").split()) == {"65534"}
    project.wsgi = "webapp:create_app()"
    project.write_config()
    project.fab("deploy")


def test_root_opens_no_log_that_nginx_s_workers_could_have_put_there(server: Server, project: Project):
    logs = "/var/log/nginx/visitors"
    planted = "runuser -u www-data -- ln -sf /etc/nologin {}/access.log"
    assert "Permission denied" in server.script(f"{planted.format(logs)} 2>&1 || true")
    # As an older version of the kit left it, and somebody used it:
    server.script(f"chown www-data {logs}; rm -f {logs}/access.log; {planted.format(logs)}")
    project.fab("provision")
    server.script("nginx -t; systemctl reload nginx; logrotate -f /etc/logrotate.d/ashore; nginx -s reopen")
    assert server.script("ls /etc/nologin || true") == ""
    assert server.script(f"stat -c '%U:%G %a' {logs}") == "root:adm 751\n"
    assert server.get("/")[0] == 200
    tried = "try:\n    print(open('/var/log/nginx/blog/access.log').read())\nexcept OSError:\n    print('closed')"
    assert python(project, tried) == "closed\n"
    wait_for(lambda: '"GET / ' in server.run("cat", f"{logs}/access.log"), "a line in the log")


EVIL = """
import glob, os, sys
for venv in glob.glob("/srv/blog/venvs/*"):
    for package in glob.glob(venv + "/lib/python*/site-packages"):
        try:
            open(package + "/evil.pth", "w")
            print("could write to", package)
        except OSError:
            pass
for path in ("/home/deploy", "/root", "/var/lib/visitors", "/srv/visitors/secrets.env", "/var/lib/blog", "/tmp/left"):
    try:
        print("could read", path, os.listdir(path) if os.path.isdir(path) else open(path).read(1))
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    os.execvp("sleep", ["sleep", "4712"])
sys.exit("EVIL RAN AS %d." % os.getuid())
"""


@pytest.mark.parametrize("words", [("deploy",), ("deploy", "--check")])
def test_what_a_package_does_while_an_operator_builds_it_reaches_no_other_app_and_ends(
    server: Server, project: Project, words: tuple[str, ...]
):
    (project.directory / "evil").mkdir()
    (project.directory / "evil" / "setup.py").write_text(EVIL)
    (project.directory / "evil" / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'
    )
    project.append("webapp/requirements.txt", "./evil\n")
    project.commit()
    said = project.fab(*words, status=None).text
    if words == ("deploy",):
        uid = server.script("id -u visitors").strip()
        assert f"EVIL RAN AS {uid}." in said
    assert "could write" not in said and "could read" not in said
    assert "sleep 4712" not in server.script("ps -eo args | grep -v grep")
    assert server.script("find / -xdev -name 'evil*' ! -path '/proc/*' -newer /srv/blog/provisioned | head") == ""
    assert server.leftovers() == []


def test_a_virtualenv_is_root_s_whoever_asked_for_it(server: Server, project: Project):
    project.append("webapp/requirements.txt", "\n# another\n")
    project.commit()
    project.fab("deploy")
    venv = server.script("readlink -f /srv/visitors/current/venv").strip()
    assert server.script(f"find {venv} ! -user root -o ! -group root -o -perm /6022 ! -type l") == ""
    assert server.script(f"ls -A {venv} | grep scratch || true") == ""


def test_while_one_app_is_deployed_others_are_provisioned_and_deployed(server: Server, project: Project, blog: Project):
    change_app(project, "HALTED = 1")
    process, halted = project.halted("traffic: switched to", "deploy")
    assert "0 changed" in blog.fab("provision").out
    change_app(blog, "BESIDE = 1")
    blog.fab("deploy")
    assert "is running `deploy` on visitors" in project.fab("deploy", status=1).err
    resume(server, process, halted)
    assert server.release() == server.current


def test_while_one_app_is_provisioned_others_are_deployed(server: Server, project: Project, blog: Project):
    server.script("rm /etc/timezone")
    process, halted = project.halted("timezone", "provision")
    change_app(blog, "BESIDE = 2")
    assert "requests failed" in blog.fab("deploy").out
    assert "is running `provision` on visitors" in blog.fab("provision", status=1).err
    resume(server, process, halted)
