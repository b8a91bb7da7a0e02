"""Events → text."""

import io
import json
import os
from typing import TextIO

import pytest

from deploy.errors import DeployError, Unread
from deploy.screen.columns import columns, labelled, size
from deploy.screen.lines import last_run
from deploy.screen.screen import Screen
from deploy.screen.tables import certificate_rows, history_rows, release_rows
from deploy.screen.visible import visible

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


def test_moments_have_one_format_and_every_event_its_host():
    out = io.StringIO()
    screen = Screen(out=out, as_json=True)
    screen.event("web1", {"event": "line", "time": 1772366645.25, "source": "x", "level": 6, "text": "x"})
    screen.event("web1", {"event": "last", "run": {"verb": "deploy", "started": 1772366645}})
    screen.say("hello")
    screen.error(DeployError("it broke", "web1, step: x", host="web1"))
    made = {"by": "me", "at": "2026-03-01T12:04:05+00:00", "state": "good", "size_bytes": 1}
    screen.table("web1", release_rows({"history": [], "current": "", "records": {"20260301-120405": made}}), "")
    certificate = {"state": "good", "ends": "", "issuer": "", "renewed_by": "", "names": []}
    screen.table("web1", certificate_rows({**certificate, "not_before": "2026-03-01 12:04:05"}), "")
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["host"] for event in found] == ["web1", "web1", "", "web1", "web1", "web1"]
    assert found[0]["time"] == "2026-03-01T12:04:05.250Z"
    assert found[1]["run"]["started"] == found[4]["made"] == found[5]["not_before"] == "2026-03-01T12:04:05Z"


RUN = {
    "verb": "deploy", "release": "20260303-120405", "outcome": "failed", "why": "it did not answer with 200",
    "step": "shop@20260303-120405: answers GET /healthz", "started": 0, "who": "someone@a-rather-long-host-name",
    "from": "2001:db8:1234:5678:9abc:def0:1234:5678", "seconds": 31.5, "requests": 200, "failed": 3,
}  # fmt: skip


def test_tables_and_answers_fit_80_columns_and_lose_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = io.StringIO()
    screen = Screen(out=out)
    screen.table("web1", history_rows([RUN]), "")
    screen.table("web1", release_rows({"history": [RUN], "current": "", "records": {}}), "")
    screen.say(labelled(f"{'where is it running?':<24}", "web1.example.com (192.0.2.1), " * 5, columns()))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80, text
    for value in ("someone@a-rather-long-host-name", RUN["from"], "3 of 200 failed", "31.5 s", "20260303-120405"):
        assert value in text
    assert text.splitlines()[0].startswith("WHEN (UTC)")


def test_a_terminal_of_one_column_gets_a_table_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "1")
    out = io.StringIO()
    Screen(out=out, several=True).table("web1.example.com", history_rows([RUN]), "")
    assert {"2001:db8:1234:5678:9abc:def0:1234:5678", "failed"} <= {*out.getvalue().split()}


def test_a_table_that_fits_has_a_line_a_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    out = io.StringIO()
    Screen(out=out).table("web1", history_rows([RUN]), "")
    assert len(out.getvalue().splitlines()) == 2


def test_a_pipe_gets_no_colour_and_no_progress():
    text = shown({"event": "start", "step": "x"}, {"event": "progress", "percent": 5, "what": "x"}, STEP)
    assert text == "     changed  packages nginx  8.1 s\n"


def test_an_error_says_what_where_state_and_what_to_do():
    error = DeployError("it broke", "web1", "traffic stays on 1", "look\nthere", "line 1\nline 2")
    assert str(error) == (
        "error: it broke\n  | line 1\n  | line 2\nwhere: web1\nstate: traffic stays on 1\nhint:  look\n       there"
    )


def unread() -> TextIO:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def test_a_list_ends_and_a_change_goes_on_once_nobody_reads():
    with unread() as out, pytest.raises(Unread):
        Screen(out=out, reading=True).say("x")
    with unread() as out:
        screen = Screen(out=out)
        screen.say("x")
        screen.event("web1", STEP)
        assert screen.unread


def test_a_list_that_cannot_be_written_says_so():
    with open("/dev/full", "w") as out, pytest.raises(DeployError, match="No space left on device"):
        Screen(out=out, reading=True).say("x")


def test_an_error_is_read_on_stderr_where_nobody_reads_json(capsys: pytest.CaptureFixture[str]):
    with unread() as out:
        Screen(out=out, as_json=True).error(DeployError("it broke"))
    assert capsys.readouterr().err == "error: it broke\n"


def test_an_error_that_nobody_reads_either_is_let_pass(monkeypatch: pytest.MonkeyPatch):
    with unread() as err:
        err.reconfigure(line_buffering=True)
        monkeypatch.setattr("sys.stderr", err)
        Screen(out=io.StringIO()).error(DeployError("it broke"))


def test_an_empty_list_says_so_to_people_and_to_programs():
    out = io.StringIO()
    Screen(out=out, several=True).table("web1", [], "no history yet")
    assert out.getvalue() == "web1: note: no history yet\n"
    out = io.StringIO()
    Screen(out=out, as_json=True).table("web1", certificate_rows(None), "none")
    assert json.loads(out.getvalue()) == {"event": "note", "host": "web1", "text": "note: none"}


def test_a_dry_run_that_found_something_is_remembered():
    screen = Screen(out=io.StringIO())
    screen.event("web1", STEP)
    assert not screen.would_change
    screen.event("web1", {**STEP, "state": "would change"})
    assert screen.would_change


def test_log_lines_name_the_host_where_there_are_several():
    event = {"event": "line", "time": 0, "source": "shop@1.service", "level": 3, "text": "it broke"}
    assert shown(event) == "1970-01-01 00:00:00 shop@1 it broke\n"
    assert shown(event, several=True) == "1970-01-01 00:00:00 web1 shop@1 it broke\n"


@pytest.mark.parametrize(
    ("bytes_", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1234, "1.2 kB"), (340_000_000, "340 MB"), (5e9, "5.0 GB")],
)
def test_a_size_is_short(bytes_: float, shown: str):
    assert size(bytes_) == shown


def test_an_error_is_an_event_with_json():
    out = io.StringIO()
    Screen(out=out, as_json=True).error(DeployError("it broke", "web1"))
    assert json.loads(out.getvalue())["what"] == "it broke"


def test_a_run_that_lost_its_operator_is_told_of():
    run = {"verb": "deploy", "who": "me@here", "started": 0, "state": "cut off"}
    assert last_run(run) == "note: `deploy` by me@here, started 1970-01-01 00:00 UTC, was cut off; this run finishes it"
    assert "failed at: x: it broke" in last_run({**run, "state": "failed", "step": "x", "what": "it broke"})


def test_a_run_that_was_stopped_says_by_whom():
    run = {"verb": "deploy", "who": "me@here", "started": 0, "state": "cancelled"}
    own = last_run({**run, "what": "stopped by the operator while waiting", "by_operator": True})
    assert own.endswith("was stopped by its operator")
    other = last_run({**run, "what": "her@there took the lock with --break-lock", "by_operator": False})
    assert other.endswith("was stopped: her@there took the lock with --break-lock")


EVIL = "a\x1b]52;c;ZXZpbA==\x07b\x1b[2Jc\x9b2Jd\re\u202ef\u2066g\x08h\x7fi\ud800\ttab\nline [red]x[/]"
SHOWN = r"a\x1b]52;c;ZXZpbA==\x07b\x1b[2Jc\x9b2Jd\x0de\u202ef\u2066g\x08h\x7fi\ud800"
LINE = {"event": "line", "time": 0, "source": EVIL, "level": 6, "text": EVIL}
DRIFT = {"what": EVIL, "found": EVIL, "wanted": EVIL, "diff": ""}
EVENTS = (
    LINE,
    {**STEP, "step": EVIL, "state": "would change", "drift": [DRIFT, {**DRIFT, "diff": EVIL}]},
    {"event": "output", "argv": ["cat", EVIL], "text": EVIL},
    {"event": "last", "run": {"verb": EVIL, "who": EVIL, "started": 0, "state": "failed", "step": EVIL, "what": EVIL}},
    {"event": "waiting", "holder": EVIL},
    {"event": "said", "text": EVIL},
    {"event": "start", "step": EVIL},
    {"event": "progress", "percent": 5, "what": EVIL},
)


def everything(screen: Screen) -> None:
    """All the ways by which text of a server reaches the screen."""
    screen.verbose = True
    for event in EVENTS:
        screen.event("web1", event)
    screen.say(f"note: {EVIL}", "yellow")
    screen.result({"event": "x", "text": EVIL}, EVIL)
    screen.table("web1", [{"NAME": EVIL, "NOTE": "x", "style": "red", "event": {"name": EVIL}}], "")
    screen.error(DeployError(EVIL, EVIL, EVIL, EVIL, EVIL))


def test_what_would_steer_the_terminal_is_shown_instead():
    assert visible(EVIL).startswith(SHOWN) and visible(EVIL).endswith("\ttab\nline [red]x[/]")
    assert visible("häß\u200d→ 日本\ttab\r\nend\r") == "häß\u200d→ 日本\ttab\nend"


def test_no_control_sequence_of_a_server_reaches_a_pipe(capsys: pytest.CaptureFixture[str]):
    out = io.StringIO()
    everything(Screen(out=out))
    err = capsys.readouterr().err
    assert out.getvalue() + err == visible(out.getvalue() + err)
    assert out.getvalue().count(SHOWN) >= 14
    assert err.count(SHOWN[:10]) == 5
    assert "\ttab" in out.getvalue()


def test_json_is_ascii_without_control_characters():
    out = io.StringIO()
    everything(Screen(out=out, as_json=True))
    assert all(" " <= letter <= "~" or letter == "\n" for letter in out.getvalue())
    assert json.loads(out.getvalue().splitlines()[0])["text"] == EVIL
