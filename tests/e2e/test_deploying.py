"""`fab deploy` on a real server: what is live, what stays, and what a failure leaves."""

import re

from standing import DOMAIN, Project, Server, change_app

TELLS_WHO_ASKS = """
made_before = create_app


def create_app():
    import os

    from flask import request

    app = made_before()

    @app.before_request
    def tell():  # in one piece: of what threads print at the same time, parts make other lines
        os.write(1, f"asked {request.path} by {request.user_agent.string[:6]}\\n".encode())

    return app
"""


def test_a_deploy_ends_with_the_three_answers(live: Server, project: Project):
    ran = project.fab("deploy")
    assert (
        f"where is it running?    {live.machine.name} ({live.machine.address}), Debian GNU/Linux 12 (bookworm)"
        in ran.out
    )
    assert f"what is running it?     visitors@{live.current}.service: Gunicorn" in ran.out
    assert f"how do users reach it?  http://{DOMAIN}/ → Nginx" in ran.out
    assert re.search(rf"(from here|at its address \S+), http://{DOMAIN}/ answers 200", ran.out)
    dns = ran.out.find(f"note: DNS has no address for {DOMAIN}")  # nor does it, unless there is no DNS at all
    assert dns < ran.out.index("answers 200") and (dns < 0 or f"{DOMAIN} A {live.machine.address}" in ran.out)


def test_nothing_new_is_not_the_last_word_where_the_firewall_is_gone(live: Server, project: Project):
    project.fab("deploy")
    live.run("nft", "delete", "table", "inet", "ashore")
    ran = project.fab("deploy")
    assert "nothing new: 0 changed" in ran.out
    assert ran.out.splitlines()[-1].startswith("warning: the firewall rules are not loaded")
    project.fab("provision")
    assert "warning" not in project.fab("deploy").out


def test_a_front_page_that_fails_after_a_deploy_is_no_success(live: Server, project: Project):
    project.fab("deploy")
    (project.directory / "pages.py").write_text(
        "def app(environ, answer):\n"
        "    answer('200 OK' if environ['PATH_INFO'] == '/healthz' else '500 Oh', [])\n    return [b'']\n"
    )
    project.wsgi = "pages:app"
    project.write_config()
    project.commit()
    ran = project.fab("deploy", status=3)
    assert "how do users reach it?" in ran.out and f"error: http://{DOMAIN}/ answers 500" in ran.err
    assert f"state: {live.current} serves" in ran.err and "fab rollback" in ran.err
    assert project.fab("deploy", status=3).out.count("nothing new") == 1
    project.fab("rollback")


def test_the_same_source_deployed_again_changes_nothing(live: Server, project: Project):
    project.fab("deploy")
    before = live.state()
    assert "nothing new: 0 changed" in project.fab("deploy").out
    assert live.state() == before


def test_check_shows_what_a_deploy_would_do_and_changes_nothing(live: Server, project: Project):
    project.fab("deploy")
    before = live.state()
    assert project.fab("deploy", "--check", "provision", "--check").status == 0
    change_app(project, "CHECKED = 1")
    project.write_config("max_body_megabytes = 77")
    ran = project.fab("deploy", "--check", status=2)
    assert re.search(r"would change +upload: 2 new of \d+ files", ran.out)
    assert "+    client_max_body_size 77m;" in ran.out
    assert "SECRET_KEY" not in ran.out
    assert live.state() == before


def test_deploys_under_load_lose_no_request(live: Server, project: Project):
    project.fab("deploy")
    first = live.release()
    with live.requests("/") as answered:
        for number in range(2):
            change_app(project, f"LOAD = {number}")
            project.fab("deploy")
        assert live.release() > first
    assert set(answered.statuses) == {200}, answered.statuses
    assert len(answered.statuses) > 100


def test_one_release_runs_and_starts_at_boot(live: Server, project: Project):
    project.fab("deploy")
    change_app(project, "ANOTHER = 1")
    current = project.deployed()
    listing = live.run("systemctl", "list-units", "--plain", "--no-legend", "visitors@*")
    assert [line.split()[0] for line in listing.splitlines()] == [f"visitors@{current}.service"]
    wanted = live.script("ls /etc/systemd/system/multi-user.target.wants | grep visitors")
    assert wanted.split() == [f"visitors@{current}.service"]


def test_data_and_secret_outlive_releases_and_the_secret_is_root_s_alone(live: Server, project: Project):
    project.fab("deploy")
    secret = live.run("cat", "/srv/visitors/secrets.env")
    assert re.fullmatch(r"SECRET_KEY=[0-9a-f]{64}\n", secret)
    change_app(project, "SECRET = 1")
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


def test_a_stopped_app_is_started_again_by_the_same_deploy(live: Server, project: Project):
    current = project.deployed()
    live.run("systemctl", "stop", f"visitors@{current}.service")
    assert live.get("/")[0] == 502
    assert "Back in a moment" in live.get("/")[1]
    # The unit; and the health check, where the app has not come to answer by the time that this is looked at.
    assert re.search("nothing new: [12] changed", project.fab("deploy").out)
    assert live.release() == current


def test_old_releases_are_pruned_and_unchanged_files_are_shared(live: Server, project: Project):
    project.write_config("keep_releases = 2")
    for number in range(4):
        change_app(project, f"PRUNE = {number}")
        project.fab("deploy")
    good = live.script("cd /srv/visitors/releases; grep -lx good */state | cut -d/ -f1").split()
    assert len(good) == 3 and live.current == good[-1]
    links = live.script("stat -c %h /srv/visitors/current/source/webapp/requirements.txt")
    assert int(links) >= 3
    assert "incoming" not in live.run("ls", "/srv/visitors")


def test_a_new_release_has_answered_each_warm_path_before_visitors_ask(live: Server, project: Project):
    project.write_config('warm_paths = ["/", "/nowhere"]')
    change_app(project, TELLS_WHO_ASKS)
    with live.requests("/", clients=2):
        current = project.deployed()
    asked = live.script(f"journalctl --namespace=visitors -o cat -u visitors@{current} | grep ^asked")
    of_the_kit, of_visitors = asked.index("asked /nowhere by ashore"), asked.index("asked / by\n")
    assert asked.index("asked / by ashore") < of_the_kit < of_visitors
    assert asked.count("asked / by ashore") >= 6 and asked.count("asked /nowhere by ashore") >= 6
