"""`fab deploy` on a real server: what is live, what stays, and what a failure leaves."""

import json
import re
import threading

from conftest import DOMAIN, Project, Relay, Server, answers, interrupt, wait_for

from deploy import sandbox


def break_app(project: Project, line: str) -> None:
    file = project.directory / "webapp" / "__init__.py"
    file.write_text(file.read_text() + f"\n{line}\n")
    project.commit()


def test_a_deploy_ends_with_the_three_answers(live: Server, project: Project):
    ran = project.fab("deploy")
    assert f"where is it running?    e-shared ({live.machine.address}), Debian GNU/Linux 12 (bookworm)" in ran.out
    assert f"what is running it?     visitors@{live.current}.service: Gunicorn" in ran.out
    assert f"how do users reach it?  http://{DOMAIN}/ → Nginx" in ran.out
    assert f"from here, http://{DOMAIN}/ answers 200" in ran.out


def test_the_same_source_deployed_again_changes_nothing(live: Server, project: Project):
    project.fab("deploy")
    before = live.state()
    assert "nothing new: 0 changed" in project.fab("deploy").out
    assert live.state() == before


def test_check_shows_what_a_deploy_would_do_and_changes_nothing(live: Server, project: Project):
    project.fab("deploy")
    break_app(project, "CHECKED = 1")
    project.write_config("max_body_megabytes = 77")
    before = live.state()
    ran = project.fab("deploy", "--check")
    assert re.search(r"would send +\d+ new files", ran.out)
    assert "+    client_max_body_size 77m;" in ran.out
    assert "SECRET_KEY" not in ran.out
    assert live.state() == before


def test_deploys_under_load_lose_no_request(live: Server, project: Project):
    project.fab("deploy")
    first = live.release()
    with live.requests("/") as answered:
        for number in range(2):
            break_app(project, f"LOAD = {number}")
            project.fab("deploy")
        assert live.release() > first
    assert set(answered.statuses) == {200}, answered.statuses
    assert len(answered.statuses) > 100


def test_one_release_runs_and_starts_at_boot(live: Server, project: Project):
    project.fab("deploy")
    break_app(project, "ANOTHER = 1")
    current = project.deployed()
    listing = live.run("systemctl", "list-units", "--plain", "--no-legend", "visitors@*")
    assert [line.split()[0] for line in listing.splitlines()] == [f"visitors@{current}.service"]
    wanted = live.script("ls /etc/systemd/system/multi-user.target.wants | grep visitors")
    assert wanted.split() == [f"visitors@{current}.service"]


def test_data_and_secret_outlive_releases_and_the_secret_is_root_s_alone(live: Server, project: Project):
    project.fab("deploy")
    secret = live.run("cat", "/srv/visitors/secrets.env")
    assert re.fullmatch(r"SECRET_KEY=[0-9a-f]{64}\n", secret)
    break_app(project, "SECRET = 1")
    ran = project.fab("deploy", "-v")
    assert live.run("cat", "/srv/visitors/secrets.env") == secret
    assert secret.strip().partition("=")[2] not in ran.text + live.journal()
    modes = live.script("stat -c '%U %a' /srv/visitors/secrets.env /srv/visitors/releases/*/env | sort -u")
    assert modes == "root 600\n"


def test_the_app_is_confined(live: Server):
    unit = f"visitors@{live.current}.service"
    exposure = live.script(f"systemd-analyze security {unit} --no-pager | tail -1", check=False)
    assert float(re.search(r"([0-9.]+) (OK|MEDIUM|EXPOSED)", exposure)[1]) <= 1.5, exposure
    assert live.script("ss -Htln | awk '{print $4}'", check=False).count(":80") == 2
    assert live.run("systemctl", "show", "-p", "User", "--value", unit).strip() == "visitors"


def test_what_we_render_is_accepted_by_systemd_and_nginx(live: Server):
    live.run("nginx", "-t", "-q")
    live.run("systemd-analyze", "verify", f"visitors@{live.current}.service")


def test_a_forged_client_address_does_not_reach_the_app(live: Server):
    page = live.get("/", headers={"X-Forwarded-For": "6.6.6.6"})[1]
    assert "6.6.6.6" not in page


def test_nginx_serves_static_files_of_the_current_release_and_no_hidden_ones(live: Server):
    page = live.get("/")[1]
    link = re.search(r'href="(/static/[^"]+\.css[^"]*)"', page)[1]
    status, text, headers = live.get(link)
    assert status == 200 and "max-age" in headers["Cache-Control"] and "{" in text
    assert live.get("/.git/config")[0] == 404
    assert live.get("/static/../__init__.py")[0] in (400, 404)


def test_an_app_that_raises_at_import_is_shown_and_the_old_release_serves(live: Server, project: Project):
    before = project.deployed()
    break_app(project, 'raise ImportError("no module named tide")')
    with live.requests("/") as answered:
        ran = project.fab("deploy", status=1)
    assert "ImportError: no module named tide" in ran.err and "Traceback (most recent call last)" in ran.err
    assert f"state: traffic stays on {before}; the new release was stopped and removed" in ran.err
    assert re.search(r"hint: +fab logs --release \d{8}-\d{6}", ran.err)
    assert set(answered.statuses) == {200}
    assert live.release() == before
    assert live.run("ls", "/srv/visitors/releases").split()[-1] == before
    assert "failed" not in live.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "visitors@*")


def test_a_missing_app_callable_is_shown_and_the_old_release_serves(live: Server, project: Project):
    before = project.deployed()
    project.write_config(wsgi="webapp:no_such_factory()")
    ran = project.fab("deploy", status=1)
    assert "no_such_factory" in ran.err
    assert f"traffic stays on {before}" in ran.err
    assert live.release() == before


def test_a_release_that_answers_500_gets_no_traffic(live: Server, project: Project):
    before = project.deployed()
    project.write_config('[app.env]\nNOTE = "x"')
    text = (project.directory / "deploy.toml").read_text().replace("health_seconds = 10", "health_seconds = 1")
    (project.directory / "deploy.toml").write_text(text.replace('"/healthz"', '"/no-such-page"'))
    ran = project.fab("deploy", status=1)
    assert "did not answer GET /no-such-page with 200 within 1 s (last answer: 404)" in ran.err
    assert live.release() == before


def test_requirements_that_cannot_be_resolved_are_quoted_and_the_old_release_serves(live: Server, project: Project):
    before = project.deployed()
    project.append("webapp/requirements.txt", "flask==99.99\n")
    project.commit()
    ran = project.fab("deploy", status=1)
    assert "the packages that webapp/requirements.txt asks for could not be installed" in ran.err
    assert "flask==99.99" in ran.err
    assert f"traffic stays on {before}" in ran.err
    assert live.release() == before
    complete = live.script("ls -d /srv/visitors/venvs/*; ls /srv/visitors/venvs/*/.complete | wc -l").split()
    assert int(complete[-1]) == len(complete) - 1, "a virtualenv that was not finished stayed"


def test_a_template_that_systemd_starts_badly_is_put_back(own: Server, project: Project):
    before = project.deployed()
    unit = own.run("cat", "/etc/systemd/system/visitors@.service")
    project.write_config("timeout_seconds = 31")  # another unit text, and an app that does not come up with it
    break_app(project, "raise SystemExit(7)")
    project.fab("deploy", status=1)
    assert own.run("cat", "/etc/systemd/system/visitors@.service") == unit
    sandbox.reboot(own.machine.name)
    wait_for(lambda: answers(own), "the old release after a reboot")
    assert own.release() == before


def test_deploying_before_provisioning_says_so(bare: sandbox.Machine, project: Project):
    server = Server(bare)
    before = server.state()
    ran = project.fab("deploy", status=1)
    assert "the server is not provisioned yet for visitors" in ran.err
    assert re.search(r"hint: +fab provision", ran.err)
    assert server.state() == before


def test_a_full_disk_is_told_and_the_old_release_serves(own: Server, project: Project):
    before = project.deployed()
    own.script("mkdir -p /srv/visitors/incoming; mount -t tmpfs -o size=70m tmpfs /srv/visitors/incoming")
    big = project.directory / "webapp" / "big.bin"
    big.write_bytes(b"\0" * (90 << 20))
    project.commit()
    ran = project.fab("deploy", status=1)
    assert "the disk of the server is full" in ran.err and "make room" in ran.err
    assert f"traffic stays on {before}" in ran.err or "nothing was changed" in ran.err
    assert own.release() == before
    assert own.script("ls /srv/visitors/incoming 2>/dev/null | wc -l").strip() == "0"


def test_a_disk_that_fills_during_the_upload_is_emptied_again(own: Server, project: Project):
    before = project.deployed()
    own.script("mkdir -p /srv/visitors/incoming; mount -t tmpfs -o size=100m tmpfs /srv/visitors/incoming")
    (project.directory / "webapp" / "big.bin").write_bytes(b"\0" * (30 << 20))
    project.commit()
    filler = "import os,time\nd='/srv/visitors/incoming'\n"
    filler += "while not any(n.endswith('.partial') for n in os.listdir(d)): pass\n"
    filler += "f=open(d+'/filler','wb')\ntry:\n  while True: f.write(bytes(1<<20)); f.flush()\nexcept OSError: pass\n"
    threading.Thread(
        target=own.run, args=("timeout", "20", "python3", "-c", filler), kwargs={"check": False}, daemon=True
    ).start()
    ran = project.fab("deploy", status=None)
    if ran.status:  # the filler was in time
        assert "the disk of the server is full" in ran.err
        assert own.release() == before
    assert answers(own)


def test_ctrl_c_during_a_deploy_leaves_the_old_release_and_the_next_deploy_works(live: Server, project: Project):
    before = project.deployed()
    break_app(project, "import time; time.sleep(3)")
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if json.loads(line).get("event") == "start" and "answers GET" in json.loads(line)["step"]:
            break
    interrupt(process)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert f"traffic stays on {before}" in out, out
    assert live.release() == before
    assert project.deployed() > before


def test_ctrl_c_before_the_connection_changes_nothing(live: Server, project: Project):
    project.hosts = ["admin@127.0.0.1:1"]
    before = live.state()
    process = project.start("deploy")
    interrupt(process)
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Traceback" not in err
    assert live.state() == before


def test_a_cut_link_does_not_stop_a_deploy_and_the_next_command_tells_how_it_ended(live: Server, project: Project):
    before = project.deployed()
    relay = Relay(live.machine.address)
    key = (live.machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
    (project.home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{relay.port} {key[0]} {key[1]}\n")
    project.hosts = [f"admin@127.0.0.1:{relay.port}"]
    project.write_config()
    break_app(project, "import time; time.sleep(1)")
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if "link to the virtualenv" in line:
            break
    relay.cut()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the link to the server dropped" in out and "it finishes or undoes by itself" in out
    wait_for(lambda: live.release() > before, "the server to switch by itself")
    wait_for(lambda: live.run("flock", "-n", "/run/ashore.lock", "echo", "free", check=False), "the server to finish")
    project.hosts = [f"admin@{live.machine.address}"]
    project.know_host()
    project.write_config()
    ran = project.fab("deploy")
    assert "went on without its operator and finished" in ran.out
    assert "went on without its operator" not in project.fab("deploy").out


def test_a_second_operator_is_told_who_is_at_work(live: Server, project: Project):
    project.fab("deploy")
    break_app(project, "import time; time.sleep(2)")
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if "answers GET" in line:
            break
    ran = project.fab("deploy", status=1)
    assert re.search(r"error: \S+@\S+ is at work on this server: `deploy`, since \d\d:\d\d:\d\d UTC", ran.err)
    assert "nothing was changed" in ran.err
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_reboot_brings_the_current_release_back(own: Server, project: Project):
    break_app(project, "BOOT = 1")
    current = project.deployed()
    sandbox.reboot(own.machine.name)
    wait_for(lambda: answers(own), "the site after a reboot")
    assert own.release() == current
    assert "0 changed" in project.fab("provision").out
    assert "0 changed" in project.fab("deploy").out


def test_a_power_cut_in_the_middle_leaves_a_site_and_the_next_deploy_finishes(own: Server, project: Project):
    before = project.deployed()
    break_app(project, "import time; time.sleep(2)")
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if "answers GET" in line:
            break
    sandbox.cut_power(own.machine.name)
    process.kill()
    process.communicate()
    sandbox.up(own.machine.name, say=lambda text: None, snapshot="e-live")
    wait_for(lambda: answers(own), "the old release after the power cut")
    assert own.release() == before
    ran = project.fab("deploy")
    assert "was cut off; this run finishes the job" in ran.out
    assert own.release() > before


def test_a_stopped_app_is_started_again_by_the_same_deploy(live: Server, project: Project):
    current = project.deployed()
    live.run("systemctl", "stop", f"visitors@{current}.service")
    assert live.get("/")[0] == 502
    assert "Back in a moment" in live.get("/")[1]
    assert "nothing new: 1 changed" in project.fab("deploy").out
    assert live.release() == current


def test_old_releases_are_pruned_and_unchanged_files_are_shared(live: Server, project: Project):
    project.write_config("keep_releases = 2")
    for number in range(4):
        break_app(project, f"PRUNE = {number}")
        project.fab("deploy")
    releases = live.run("ls", "/srv/visitors/releases").split()
    assert len(releases) == 3 and live.current == releases[-1]
    links = live.script("stat -c %h /srv/visitors/current/source/webapp/requirements.txt")
    assert int(links) == 3
    assert "incoming" not in live.run("ls", "/srv/visitors")


def test_a_link_that_leaves_the_source_is_refused(live: Server, project: Project):
    (project.directory / "webapp" / "passwords").symlink_to("/etc/shadow")
    project.commit()
    before = live.state()
    ran = project.fab("deploy", status=1)
    assert "'webapp/passwords' is a link to '/etc/shadow', outside the source" in ran.err
    assert live.state() == before
