"""A deploy that dies or is left alone, wherever: see test_crashing.py, which has the other verbs."""

from breaking import Relay, at_every_step, kill
from standing import Project, Server, answers, change_app, wait_for

FIRST_CHANGE = 4  # a deploy's upload; the steps before that only look


def test_a_deploy_that_is_killed_at_any_step_leaves_a_site_and_is_finished_by_the_next(
    crashed: Server, project: Project
):
    change_app(project, "STEP = -1")
    with crashed.requests("/healthz", clients=2) as answered:
        for number, process, halted in at_every_step(project, "deploy"):
            old = crashed.current
            kill(crashed, process, halted)
            assert answers(crashed), halted
            ran = project.fab("deploy")
            if number > FIRST_CHANGE:
                assert "was cut off; this run finishes it" in ran.out, ran.out
            assert crashed.release() >= old
            assert crashed.leftovers() == [], halted
            change_app(project, f"STEP = {number}")
    assert set(answered.statuses) == {200}


def test_a_deploy_whose_link_is_cut_finishes_by_itself_wherever_it_was(crashed: Server, project: Project):
    change_app(project, "CUT = -1")
    with crashed.requests("/healthz", clients=2) as answered:
        relay = Relay(crashed.machine.address)
        project.through(relay.port)
        for number, process, halted in at_every_step(project, "deploy", each=3):
            old = crashed.current
            relay.cut()
            process.ended()
            assert process.returncode == 1
            crashed.run("kill", "-USR1", str(halted["pid"]))  # go on
            wait_for(crashed.idle, f"the server to finish by itself, from {halted['step']!r} on")
            project.through(None)
            ran = project.fab("deploy")
            if number > FIRST_CHANGE:
                assert "continued without its operator and finished" in ran.out, (halted, ran.out)
            assert crashed.release() >= old
            assert crashed.leftovers() == [], halted
            change_app(project, f"CUT = {number}")
            relay = Relay(crashed.machine.address)
            project.through(relay.port)
        relay.cut()
    assert set(answered.statuses) == {200}
