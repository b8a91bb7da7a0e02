"""Events → text."""

import io
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.screen.columns import columns, labelled
from deploy.screen.console import Screen, last_run
from deploy.screen.tables import certificates, history, releases
from deploy.screen.visible import visible

ROOT = Path(__file__).resolve().parents[1]
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


BETWEEN_THE_SIDES = {"hello", "reply", "missing", "planned", "prove", "data", "took", "halted", "looked", "whole"}


def test_every_event_that_programs_get_is_documented():
    source = "".join(path.read_text("utf-8") for path in (ROOT / "deploy").rglob("*.py"))
    events = set(re.findall(r'"event": "(\w+)"', source)) - BETWEEN_THE_SIDES
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "json.md").read_text("utf-8"), re.M))
    assert events == documented


def test_moments_have_one_format_and_every_event_its_host():
    out = io.StringIO()
    screen = Screen(out=out, as_json=True)
    screen.event("web1", {"event": "line", "time": 1772366645.25, "source": "x", "level": 6, "text": "x"})
    screen.event("web1", {"event": "last", "run": {"verb": "deploy", "started": 1772366645}})
    screen.say("hello")
    screen.error(DeployError("it broke", "web1, step: x", host="web1"))
    made = {"by": "me", "at": "2026-03-01T12:04:05+00:00", "state": "good", "size_bytes": 1}
    screen.table("web1", releases({"history": [], "current": "", "records": {"20260301-120405": made}}), "")
    certificate = {"state": "good", "ends": "", "issuer": "", "renewed_by": "", "names": []}
    screen.table("web1", certificates({**certificate, "not_before": "2026-03-01 12:04:05"}), "")
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["host"] for event in found] == ["web1", "web1", "", "web1", "web1", "web1"]
    assert found[0]["time"] == "2026-03-01T12:04:05.250Z"
    assert found[1]["run"]["started"] == found[4]["made"] == found[5]["not_before"] == "2026-03-01T12:04:05Z"


@pytest.mark.parametrize("without", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_an_error_has_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, without: dict[str, str]):
    def shown() -> str:
        controller, terminal = pty.openpty()
        with os.fdopen(terminal, "w") as err:
            monkeypatch.setattr(sys, "stderr", err)
            Screen(out=io.StringIO()).error(DeployError("it broke", "web1"))
        text = os.read(controller, 10_000).decode()
        os.close(controller)
        return text

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in shown()
    for name, value in without.items():
        monkeypatch.setenv(name, value)
    assert shown() == "error: it broke\r\nwhere: web1\r\n"


RUN = {
    "verb": "deploy", "release": "20260303-120405", "outcome": "failed", "why": "it did not answer with 200",
    "step": "shop@20260303-120405 answers GET /healthz", "started": 0, "who": "someone@a-rather-long-host-name",
    "from": "2001:db8:1234:5678:9abc:def0:1234:5678", "seconds": 31.5, "requests": 200, "failed": 3,
}  # fmt: skip


def test_tables_and_answers_fit_80_columns_and_lose_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = io.StringIO()
    screen = Screen(out=out)
    screen.table("web1", history([RUN]), "")
    screen.table("web1", releases({"history": [RUN], "current": "", "records": {}}), "")
    screen._line("", labelled(f"{'where is it running?':<24}", "web1.example.com (192.0.2.1), " * 5, columns()), "")
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80, text
    for value in ("someone@a-rather-long-host-name", RUN["from"], "3 of 200 failed", "31.5 s", "20260303-120405"):
        assert value in text
    assert text.splitlines()[0].startswith("WHEN (UTC)")


def test_a_terminal_of_one_column_gets_a_table_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "1")
    out = io.StringIO()
    Screen(out=out, several=True).table("web1.example.com", history([RUN]), "")
    assert {"2001:db8:1234:5678:9abc:def0:1234:5678", "failed"} <= {*out.getvalue().split()}


def test_a_table_that_fits_has_a_line_a_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    out = io.StringIO()
    Screen(out=out).table("web1", history([RUN]), "")
    assert len(out.getvalue().splitlines()) == 2


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


def test_a_terminal_gets_the_kit_s_own_styles_and_nothing_of_a_server_s():
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", LANG="C.UTF-8", PYTHONPATH=str(Path(__file__).parent))
        program = "import test_screen; from deploy.screen.console import Screen; test_screen.everything(Screen())"
        os.execve(sys.executable, [sys.executable, "-c", program], os.environ)
    text = b""
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # Linux's way of saying that the other end is closed
            break
        text += data
        if not data:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, text.decode()
    os.close(terminal)
    shown = text.decode()
    assert "\x1b[" in shown and SHOWN[:10] in shown  # our own colours
    for steering in ("\x1b]", "\x1b[2Jc", "\x07", "\x9b", "\u202e", "\u2066", "\x08", "\x7f"):
        assert steering not in shown
    assert "d\re" not in shown and "[red]x[/]" in shown
