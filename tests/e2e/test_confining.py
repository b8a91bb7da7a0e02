"""The boxes that the app and Nginx run in: closed, and everything still works inside."""

import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from encrypted import ALIAS, own_certificate, use_own
from standing import DOMAIN, Project, Server, change_app
from visiting import wait_for


def exposure(server: Server, unit: str) -> float:
    """What `systemd-analyze security` makes of a unit: 0 is closed, 10 open."""
    said = server.run("systemd-analyze", "security", "--no-pager", unit)
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1])


def python(project: Project, code: str) -> str:
    """What code prints, run in the app's box by the app's Python."""
    return project.fab("run", f"python - <<'END'\n{code}\nEND").out


WORKS = """
import concurrent.futures, os, socket, sqlite3, subprocess, tempfile, threading
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
base = sqlite3.connect(os.environ["DATA_DIR"] + "/box.sqlite3")
base.execute("pragma journal_mode=wal")
base.execute("create table if not exists t (n)")
base.execute("insert into t values (1)")
base.commit()
assert subprocess.run(["sh", "-c", "echo out"], capture_output=True, text=True).stdout == "out\\n"
assert socket.getaddrinfo("localhost", 80)
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=lambda: listener.accept()[0].sendall(b"220 mail\\r\\n")).start()
assert socket.create_connection(listener.getsockname()).recv(9) == b"220 mail\\r"
assert list(concurrent.futures.ThreadPoolExecutor(4).map(abs, [-1])) == [1]
print("all works")
"""
CLOSED = """
import os, socket
release = os.getcwd()
for path in ("x", "webapp/__init__.py", "../venv/x", "/etc/x", "/srv/x", "/usr/local/x"):
    try:
        open(os.path.join(release, path), "a")
    except OSError:
        continue
    print("could write", path)
for path in (
    "/srv/visitors/secrets.env", "/srv/visitors/current/env", "/var/lib/ashore/visitors/history.jsonl",
    "/srv/blog", "/srv/blog/current", "/srv/blog/secrets.env", "/var/lib/blog", os.path.dirname("BLOG_SOCKET"),
    "/etc/shadow", "/home/deploy/.cache", "/root", "/dev/sda", "/dev/kmsg",
):
    try:
        print("could read", path, os.listdir(path) if os.path.isdir(path) else open(path).read(1))
    except OSError:
        continue
for act in (lambda: os.kill(BLOG_PROCESS, 0), lambda: socket.socket(socket.AF_UNIX).connect("BLOG_SOCKET")):
    try:
        print("reaches another app", act())
    except OSError:
        continue
pids = [name for name in os.listdir("/proc") if name.isdigit()]
users = {os.stat("/proc/" + pid).st_uid for pid in pids}
print("sees others" if users - {os.getuid()} else "sees itself")
"""
JIT = """
import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    print("jit")
except OSError:
    print("closed")
"""
CONNECTS = """
import socket
try:
    socket.create_connection(("10.76.0.1", 22), 2)
except OSError:
    print("closed")
"""


def test_the_app_and_nginx_score_as_closed(live: Server, project: Project):
    project.fab("deploy")
    assert exposure(live, f"visitors@{live.current}.service") <= 1.2
    assert exposure(live, "nginx.service") <= 2.3


def test_in_its_box_the_app_has_files_a_database_programs_threads_names_and_connections(live: Server, project: Project):
    project.fab("deploy")
    assert "all works" in python(project, WORKS)
    assert "could write" not in python(project, "print(open('/var/lib/visitors/x', 'w').write('x'))")


def test_an_app_cannot_write_its_code_nor_reach_what_is_another_app_s_or_the_kit_s(
    own: Server, project: Project, tmp_path: Path
):
    blog = Project(tmp_path / "blog" / "project", own.machine)
    blog.domain = "blog.example"
    blog.write_config(name="blog")
    blog.fab("provision", "deploy")
    assert own.get("/healthz", host="blog.example")[0] == 200
    project.fab("deploy")
    of_blog = own.script("systemctl show -p MainPID --value 'blog@*.service' | head -1; ls -d /run/blog/*/http.sock")
    process, path = of_blog.split()
    assert python(project, CLOSED.replace("BLOG_PROCESS", process).replace("BLOG_SOCKET", path)) == "sees itself\n"
    assert own.get("/healthz", host="blog.example")[0] == 200


def test_an_app_that_need_not_connect_gets_no_network_and_still_serves(live: Server, project: Project):
    project.write_config("outbound = false")
    change_app(project, "ALONE = 1")
    current = project.deployed()
    assert live.release() == current
    assert exposure(live, f"visitors@{current}.service") <= 0.3
    code = (
        "import socket\ntry:\n    socket.create_connection(('10.76.0.1', 22), 2)\nexcept OSError:\n    print('closed')"
    )
    assert python(project, code) == "closed\n"


def test_named_settings_loosen_the_box_and_limit_what_the_app_may_use(live: Server, project: Project):
    project.write_config(
        'allow_jit = true\nwritable_paths = ["/srv/media"]\ndevices = ["/dev/full"]\nmemory_percent = 50\n'
        "cpu_percent = 150\ntasks_max = 99"
    )
    live.script("mkdir -p /srv/media; chown visitors: /srv/media")
    change_app(project, "LOOSE = 1")
    current = project.deployed()
    unit = f"visitors@{current}.service"
    shown = live.run("systemctl", "show", unit, "-p", "TasksMax,CPUQuotaPerSecUSec,MemoryDenyWriteExecute,MemoryMax")
    assert "TasksMax=99" in shown and "CPUQuotaPerSecUSec=1.5" in shown and "MemoryDenyWriteExecute=no" in shown
    memory = 1024 * int(live.script("awk '/MemTotal/ {print $2}' /proc/meminfo"))
    assert abs(int(re.search(r"MemoryMax=(\d+)", shown)[1]) / memory - 0.5) < 0.05
    assert python(project, JIT) == "jit\n"
    assert (
        python(project, "print(open('/srv/media/x', 'w').write('x'), open('/dev/full').read(1) == '\\0')") == "1 True\n"
    )
    project.write_config()
    project.fab("deploy")
    assert python(project, JIT) == "closed\n"


def test_logs_are_rotated_under_the_confined_nginx(live: Server):
    assert live.get("/")[0] == 200
    live.script("logrotate -f /etc/logrotate.d/ashore")
    assert live.get("/")[0] == 200
    access = "/var/log/nginx/visitors/access.log"
    wait_for(lambda: "GET" in live.run("cat", access), "the new log to be written")
    assert live.run("stat", "-c", "%U %a", access) == "www-data 640\n"


def test_a_secret_is_in_its_root_only_files_and_nowhere_else(live: Server, project: Project):
    secret = f"canary-{os.urandom(8).hex()}"
    (project.directory / "variables").write_text(f"CANARY_TOKEN={secret}\n")
    said = project.fab("env.set", "--file", "variables", "-v").text
    (project.directory / "variables").unlink()
    change_app(project, "CANARY = 1")
    for words in (("deploy", "--check"), ("deploy", "-v"), ("restart", "--json"), ("env",), ("releases", "--json")):
        said += project.fab(*words).text
    change_app(project, "raise RuntimeError(f'failing with {len(__import__(\"os\").environ)} variables')")
    said += project.fab("deploy", "--json", status=1).text
    said += project.fab("logs", "-n", "500").text + project.fab("history", "--json").text
    assert secret not in said
    seen = "journalctl --namespace='*' --no-pager -a; ps axww; runuser -u nobody -- ps axwwe"
    assert secret not in live.script(seen, check=False)
    holding = live.script(f"grep -rlsI {secret} / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev", check=False)
    assert holding.split(), "the search found nothing at all"
    for path in holding.split():
        assert re.fullmatch(r"/srv/visitors/releases/[0-9-]+/env(\.json)?", path), path
        assert live.run("stat", "-c", "%U %a", path) == "root 600\n", path
    of_the_app = live.script("cat /proc/$(systemctl show -p MainPID --value visitors@*.service | head -1)/environ")
    assert secret in of_the_app


# What gixy cannot know: the limit of open files is in the unit; a cache of open files would give a new page the old
# release's files.
NOT_SO = "worker_rlimit_nofile_vs_connections,try_files_is_evil_too"
# Debian's own lines, which hold for no server, as each has its own (sslyze sees what is shown); and strangers are told
# nothing, least of all to come back by https.
NOT_IN_FORCE = (("weak_ssl_tls", "ssl_protocols TLSv1 TLSv1.1"), ("hsts_header", "server_name _;"))


def test_gixy_finds_nothing_in_the_configuration(live: Server, project: Project, tmp_path: Path):
    use_own(project, *own_certificate(tmp_path, [DOMAIN, ALIAS]), "requests_per_second = 50")
    project.fab("deploy")
    dump = tmp_path / "nginx.conf"
    dump.write_text(live.run("nginx", "-T"))
    gixy = [Path(sys.executable).parent / "gixy", "-f", "json", "--skips", NOT_SO, dump]
    found = json.loads(subprocess.run(gixy, capture_output=True, text=True).stdout)
    above_low = [issue for issue in found if issue["severity"] != "LOW"]
    known = [(issue["plugin"], text) for issue in above_low for _, text in NOT_IN_FORCE if text in issue["config"]]
    assert set(known) <= set(NOT_IN_FORCE) and len(known) == len(above_low), above_low
    assert "proxy_pass" in dump.read_text() and "listen 443" in dump.read_text()
    project.tls = "off"
    project.write_config()
    project.fab("deploy")


def headers(server: Server, path: str) -> dict[str, str]:
    return {name.lower(): value for name, value in server.get(path)[2].items()}


def test_an_app_without_headers_of_its_own_gets_safe_ones_and_others_keep_theirs(live: Server, project: Project):
    project.fab("deploy")
    own = headers(live, "/")
    assert own["referrer-policy"] == "same-origin" and "default-src 'none'" in own["content-security-policy"]
    (project.directory / "plain.py").write_text(
        "def app(environ, answer):\n    answer('200 OK', [])\n    return [b'ok']\n"
    )
    project.wsgi = "plain:app"
    project.write_config()
    project.commit()
    project.fab("deploy")
    for path in ("/", "/static/style.css"):
        given = headers(live, path)
        assert given["x-content-type-options"] == "nosniff"
        assert given["referrer-policy"] == "strict-origin-when-cross-origin"
        assert "object-src 'none'" in given["content-security-policy"]
        assert "nginx/" not in given["server"]


def test_a_limit_of_requests_holds_for_visitors_and_not_for_the_kit(live: Server, project: Project):
    project.write_config("requests_per_second = 5")
    change_app(project, "LIMIT = 1")
    assert "0 of " in project.fab("deploy").out
    with ThreadPoolExecutor(40) as visitors:  # at once: one after the other, a busy machine might take their time
        statuses = list(visitors.map(lambda _: live.get("/")[0], range(40)))
    assert statuses.count(200) >= 10 and statuses.count(429) >= 10
    assert {live.get(f"/static/style.css?{number}")[0] for number in range(20)} == {200}
    project.write_config()
    project.fab("deploy")


SMUGGLED = [
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {host}\r\nHost: other.example\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: {host}\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET /\x00 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://other.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
]


@pytest.mark.parametrize("request_text", SMUGGLED)
def test_a_request_with_two_meanings_reaches_nothing_and_carries_no_second_one(live: Server, request_text: str):
    hidden = f"GET /healthz?smuggled HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n"
    text = (request_text + hidden).format(host=DOMAIN)
    with socket.create_connection((live.machine.address, 80), 5) as visitor:
        visitor.sendall(text.encode("latin-1"))
        visitor.settimeout(2)
        answered = b""
        with suppress(TimeoutError, ConnectionResetError):
            while more := visitor.recv(1 << 16):
                answered += more
    assert not answered or answered.split()[1] in (b"400", b"403", b"405", b"501"), answered[:200]
    assert answered.count(b"HTTP/1.1 ") <= 1


def test_who_sends_too_slowly_is_let_go(live: Server):
    begun = (
        f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\n",
        f"POST / HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 9\r\n\r\nx",
    )
    visitors = [socket.create_connection((live.machine.address, 80), 15) for _ in begun]  # Nginx waits for 10 s
    for visitor, text in zip(visitors, begun, strict=True):
        visitor.sendall(text.encode())
    for visitor in visitors:
        with visitor, suppress(ConnectionResetError):
            assert visitor.recv(1 << 16)[9:12] in (b"", b"408")
