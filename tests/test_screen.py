"""Events → text."""

import io
import json

from deploy.errors import DeployError
from deploy.screen import Screen, last_run

STEP = {"event": "step", "step": "packages nginx", "state": "changed", "seconds": 8.12, "drift": []}
DIFF = {"what": "text", "found": "different", "wanted": "as rendered", "diff": "--- a\n+++ b\n-old\n+new"}


def shown(*events: dict, **options: bool) -> str:
    out = io.StringIO()
    screen = Screen(out=out, **options)
    for event in events:
        screen.event("web1", event)
    return out.getvalue()


def test_a_step_is_one_line_with_outcome_and_time():
    assert shown(STEP) == "     changed  packages nginx  8.1 s\n"


def test_the_host_is_named_where_there_are_several():
    assert shown(STEP, several=True).startswith("web1: ")


def test_a_dry_run_shows_the_difference_and_a_real_run_does_not():
    assert "+new" in shown({**STEP, "state": "would change", "drift": [DIFF]})
    assert "+new" not in shown({**STEP, "drift": [DIFF]})
    assert "+new" in shown({**STEP, "drift": [DIFF]}, verbose=True)


def test_a_hidden_difference_stays_hidden():
    hidden = {"what": "text", "found": "different", "wanted": "as rendered", "diff": "[hidden]"}
    text = shown({**STEP, "state": "would change", "drift": [hidden]})
    assert "[hidden]" in text


def test_output_of_commands_is_for_verbose():
    event = {"event": "output", "argv": ["nginx", "-t"], "text": "ok\n"}
    assert shown(event) == ""
    assert shown(event, verbose=True) == "$ nginx -t\n  ok\n"


def test_json_is_one_event_a_line_with_its_host():
    assert json.loads(shown(STEP, as_json=True)) == {"host": "web1", **STEP}


def test_a_pipe_gets_no_colour_and_no_progress():
    text = shown({"event": "start", "step": "x"}, {"event": "progress", "percent": 5, "what": "x"}, STEP)
    assert text == "     changed  packages nginx  8.1 s\n"


def test_an_error_says_what_where_state_and_what_to_do():
    error = DeployError("it broke", "web1", "traffic stays on 1", "look\nthere", "line 1\nline 2")
    assert str(error) == (
        "error: it broke\n  | line 1\n  | line 2\nwhere: web1\nstate: traffic stays on 1\nhint:  look\n       there"
    )


def test_an_error_is_an_event_with_json():
    out = io.StringIO()
    Screen(out=out, as_json=True).error(DeployError("it broke", "web1"))
    assert json.loads(out.getvalue())["what"] == "it broke"


def test_a_run_that_lost_its_operator_is_told_of():
    run = {"verb": "deploy", "who": "me@here", "started": 0, "state": "cut off"}
    assert (
        last_run(run) == "note: `deploy` by me@here, begun 1970-01-01 00:00 UTC, was cut off; this run finishes the job"
    )
    assert "failed at: x: it broke" in last_run({**run, "state": "failed", "step": "x", "what": "it broke"})
