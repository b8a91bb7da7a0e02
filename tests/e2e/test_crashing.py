"""Whatever dies, wherever: the site answers, the same command finishes the job, and nothing is left behind.

The steps are those of the plan itself, one run for each place between two of them: a step that is added to a plan is
covered by that. `ASHORE_HALT` has the agent stand still just there.
"""

import re
from pathlib import Path

from breaking import at_every_step, kill
from encrypted import ALIAS, own_certificate, shown, use_own
from standing import DOMAIN, SNAPSHOT, Project, Server, answers, change_app, machine, quiet, wait_for

from deploy import sandbox


def test_a_certificate_changed_by_a_deploy_that_is_killed_about_there_is_changed_by_the_next(
    crashed: Server, project: Project, tmp_path: Path
):
    def fresh(number: int) -> str:
        """Another certificate for the next deploy."""
        (tmp_path / str(number)).mkdir()
        chain, key = own_certificate(tmp_path / str(number), [DOMAIN, ALIAS])
        use_own(project, chain, key)
        return chain.read_text()

    fresh(-1)
    project.fab("deploy")
    wanted = fresh(-2)
    with crashed.requests("/healthz", clients=2, reloads=True, encrypted=True) as answered:
        steps = [event["step"] for event in project.fab("deploy", "--check", "--json").events if "drift" in event]
        about = [number for number, step in enumerate(steps) if re.search(r"\bcertificate\b.* (in use|of )", step)]
        for number in range(about[0], about[-1] + 2):
            process, halted = project.halted(number, "deploy")
            kill(crashed, process, halted)
            project.fab("deploy")
            assert shown(crashed) == wanted, halted
            assert crashed.leftovers() == [], halted
            wanted = fresh(number)
    assert set(answered.statuses) == {200}
    project.tls = "off"
    project.write_config()
    project.fab("deploy")


def test_a_rollback_that_is_killed_anywhere_leaves_a_site_and_is_finished_by_the_next(
    crashed: Server, project: Project
):
    older = crashed.current
    change_app(project, "BACK = 1")
    newer = project.deployed()
    with crashed.requests("/healthz", clients=2) as answered:
        for _, process, halted in at_every_step(project, "rollback", each=2):
            kill(crashed, process, halted)
            assert crashed.release() in (older, newer), halted
            project.fab("rollback")
            assert crashed.release() == older, halted
            assert crashed.leftovers() == [], halted
            project.fab("rollback", newer)
    assert set(answered.statuses) == {200}


def test_power_cut_at_any_step_boots_into_a_site_and_the_next_deploy_finishes(crashed: Server, project: Project):
    for number in range(2, 24, 4):
        change_app(project, f"POWER = {number}")
        old = crashed.current
        process, halted = project.halted(number, "deploy")
        assert halted is not None
        sandbox.cut_power(crashed.machine.name)
        process.kill()
        process.communicate()
        sandbox.up(crashed.machine.name, say=quiet, snapshot=SNAPSHOT)
        wait_for(lambda: answers(crashed), f"the site after a power cut at {halted['step']!r}")
        assert crashed.release() in (old, crashed.current)
        project.fab("deploy")
        assert crashed.release() > old
        assert crashed.leftovers() == [], halted


def test_provisioning_a_bare_server_that_is_killed_at_every_step_ends_as_if_it_had_not_been(tmp_path: Path):
    with machine("bare-crash") as made:
        project, server = Project(tmp_path / "project", made), Server(made)
        for _, process, halted in at_every_step(project, "provision"):
            kill(server, process, halted)
        assert "0 changed" in project.fab("provision").out
        project.fab("deploy")
        assert server.leftovers() == []


def test_provisioning_a_serving_server_that_is_killed_at_every_step_does_no_harm(crashed: Server, project: Project):
    crashed.script(
        "rm -r /etc/nginx/ashore/unavailable.html /etc/logrotate.d/ashore /etc/systemd/journald.conf.d"
        " /etc/nginx/sites-enabled/ashore-strangers.conf /usr/local/lib/ashore /etc/systemd/system/nginx.service.d"
        " /etc/ssh/sshd_config.d/10-ashore.conf /etc/apt/apt.conf.d/52ashore /etc/ashore/firewall.d"
        " /etc/ashore/firewall-apps.d; sed -i '/127.0.1.1/d' /etc/hosts;"
        " systemctl disable -q nginx logrotate.timer apt-daily.timer; chmod 755 /srv/visitors/releases;"
        " nft delete table inet ashore"
    )
    with crashed.requests("/healthz", clients=2, reloads=True) as answered:
        for _, process, halted in at_every_step(project, "provision"):
            kill(crashed, process, halted)
            assert answers(crashed), halted
    assert set(answered.statuses) == {200}
    assert "0 changed" in project.fab("provision").out
    assert crashed.leftovers() == []
