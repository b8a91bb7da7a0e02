"""`fab provision` on real servers."""

import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from encrypted import ALIAS, https, own_certificate, sslyze, use_own
from standing import DOMAIN, WORKER, Project, Server, change_app, machine, wait_for

from deploy import sandbox


def test_a_provisioned_server_changes_nothing_when_provisioned_again(live: Server, project: Project):
    before = live.state()
    ran = project.fab("provision")
    assert "provisioned: 0 changed" in ran.out
    assert live.state() == before


def test_check_shows_every_change_as_a_diff_and_changes_nothing(bare: sandbox.Machine, project: Project):
    server = Server(bare)
    before = server.state()
    ran = project.fab("provision", "--check")
    assert "packages nginx" in ran.out
    assert "+++ /etc/nginx/conf.d/ashore.conf (plan)" in ran.out
    assert f"+127.0.1.1 {bare.name}" in ran.out
    assert " 0 would change" not in ran.out
    assert server.state() == before


def test_strangers_get_no_answer(live: Server):
    with socket.create_connection((live.machine.address, 80), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: stranger.example\r\n\r\n")
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""


def test_the_clock_is_utc_and_the_host_knows_its_own_name(live: Server):
    assert live.run("timedatectl", "show", "-p", "Timezone", "--value").strip() == "Etc/UTC"
    assert live.run("getent", "hosts", live.run("hostname").strip()).split()[0] == "127.0.1.1"


def test_the_journal_is_kept_and_bounded(live: Server):
    text = live.run("systemd-analyze", "cat-config", "systemd/journald.conf")
    assert "Storage=persistent" in text and "SystemMaxUse=500M" in text


def test_nobody_logs_in_as_the_app_and_it_cannot_write_its_code(live: Server):
    assert live.run("getent", "passwd", "visitors").strip().endswith("/usr/sbin/nologin")
    owned = live.run("find", "/srv/visitors", "-user", "visitors")
    assert owned == ""
    writable = live.script("find /srv/visitors ! -type l '(' -perm /o=w -o -group visitors -perm /g=w ')'")
    assert writable == ""


def test_nginx_logs_rotate_and_go_on(live: Server):
    live.get("/")
    live.script("logrotate --force /etc/logrotate.d/ashore")
    live.get("/?after-rotation")
    log = "/var/log/nginx/visitors/access.log"
    wait_for(lambda: "after-rotation" in live.run("cat", log), "a line in the new log")
    assert "after-rotation" not in live.run("cat", f"{log}.1")


def test_an_edit_by_hand_is_reported_and_kept(own: Server, project: Project):
    path = "/etc/nginx/conf.d/ashore.conf"
    own.script(f"echo '# mine' >> {path}; echo 'Etc/UTC ' > /etc/timezone")
    before = own.state()
    ran = project.fab("provision", status=1)
    assert f"{path} on the server was edited by hand" in ran.err
    assert "-# mine" in ran.err
    assert "state: nothing was changed" in ran.err and "--force" in ran.err
    assert own.state() == before
    ran = project.fab("provision", "--force")
    assert "# mine" not in own.run("cat", path)
    assert "# mine" in own.run("cat", f"{path}.before-ashore")
    assert own.get("/")[0] == 200


def test_a_config_that_nginx_refuses_is_put_back_and_the_site_answers(own: Server, project: Project):
    own.script("echo 'server { listen 80 backlog=9; }' > /etc/nginx/sites-available/other.conf")
    own.script("ln -s ../sites-available/other.conf /etc/nginx/sites-enabled/other.conf")
    own.script("echo 'server { listen 80 backlog=8; }' > /etc/nginx/sites-enabled/another.conf")
    own.script("rm /etc/nginx/ashore/unavailable.html")
    ran = project.fab("provision", status=1)
    assert "duplicate listen options" in ran.err
    assert own.get("/")[0] == 200
    assert "unavailable.html" not in own.run("ls", "/etc/nginx/ashore")


def test_a_taken_port_80_is_named_before_anything_is_changed(bare: sandbox.Machine, project: Project):
    server = Server(bare)
    server.script("systemd-run --unit=squatter -p Type=exec python3 -m http.server 80")
    wait_for(lambda: ":80 " in server.run("ss", "-Htln"), "the other program on port 80")
    try:
        before = server.state()
        ran = project.fab("provision", status=1)
        assert "port 80 is taken by python3 (process " in ran.err
        assert "state: nothing was changed" in ran.err
        assert server.state() == before
    finally:
        server.run("systemctl", "stop", "squatter")


def test_a_system_that_is_not_debian_is_refused(bare: sandbox.Machine, project: Project):
    server = Server(bare)
    server.script("rm /etc/os-release; printf 'ID=fedora\\nPRETTY_NAME=\"Fedora Linux 43\"\\n' > /etc/os-release")
    try:
        before = server.state()
        ran = project.fab("provision", status=1)
        assert "the server runs Fedora Linux 43" in ran.err and "Debian or Ubuntu" in ran.err
        assert server.state() == before
    finally:
        server.script("ln -sf ../usr/lib/os-release /etc/os-release")


def test_a_server_without_python_gets_it(tmp_path):
    with machine("nopy") as made:
        server = Server(made)
        server.script("DEBIAN_FRONTEND=noninteractive apt-get -y -q purge 'python3*' 'libpython3*' >/dev/null")
        server.script("! command -v python3")
        project = Project(tmp_path / "project", made)
        ran = project.fab("provision", "--check", status=1)
        assert "there is no python3 on the server" in ran.err and "nothing was changed" in ran.err
        ran = project.fab("deploy", status=1)
        assert "there is no python3 on the server" in ran.err
        ran = project.fab("provision")
        assert "nginx: running" in ran.out


def test_a_sandbox_speaks_https_by_a_ca_of_this_machine_and_says_how_to_trust_it(
    bare: sandbox.Machine, project: Project
):
    name = f"e{WORKER}-demo"
    try:
        ran = project.fab("sandbox", "--name", name, "provision", "deploy")
        found = re.search(r"curl --cacert (\S+) ", ran.out)
        (address,) = [machine.address for machine in sandbox.machines() if machine.name == name]
        trusting = ssl.create_default_context(cafile=found[1])
        with urllib.request.urlopen(f"https://{address}/healthz", timeout=10, context=trusting) as answer:
            assert answer.status == 200
        assert "certificate from Ashore sandbox of this machine" in ran.out
    finally:
        sandbox.destroy(name)


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A developer's directory, for a server with Debian 13 and a certificate of one's own."""
    directory = tmp_path_factory.mktemp("trixie")
    with machine("trixie", release="trixie") as made:
        project = Project(directory / "project", made)
        use_own(project, *own_certificate(directory, [DOMAIN, ALIAS]))
        project.fab("provision")
        project.fab("deploy")
        yield project


def test_debian_13_is_provisioned_and_serves(trixie: Project):
    assert https(Server(trixie.machine))[0] == 200
    assert "0 changed" in trixie.fab("provision").out
    assert "0 changed" in trixie.fab("deploy").out


def test_releases_change_under_visitors_by_https(trixie: Project):
    with Server(trixie.machine).requests("/healthz", clients=6, encrypted=True) as answered:
        for number in range(3):
            change_app(trixie, f"SECURE = {number}")
            assert "0 of " in trixie.fab("deploy").out
    assert set(answered.statuses) == {200}


def test_debian_13_runs_an_older_gunicorn(trixie: Project):
    requirements = trixie.directory / "webapp" / "requirements.txt"
    before = requirements.read_text()
    requirements.write_text("flask\ngunicorn==20.0.4\n")
    trixie.commit()
    trixie.fab("deploy")
    assert https(Server(trixie.machine))[0] == 200
    requirements.write_text(before)
    trixie.commit()
    trixie.fab("deploy")


def test_debian_13_speaks_http3(trixie: Project):
    server = Server(trixie.machine)
    assert https(server)[1]["alt-svc"] == 'h3=":443"; ma=86400'
    where = ["--resolve", f"{DOMAIN}:443:{trixie.machine.address}", f"https://{DOMAIN}/"]
    said = server.run("curl", "-sSk", "--http3-only", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", *where)
    assert said == "3 200"


def test_on_debian_13_sslyze_finds_mozilla_s_intermediate_configuration(trixie: Project, tmp_path: Path):
    found = sslyze(Server(trixie.machine), tmp_path)
    assert found and [line for line in found if "path" not in line.lower()] == [], found
