"""Events at a terminal: colours, a progress bar, and nothing of a server's that would steer it."""

import io
import os
import pty
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from samples import SENT, sample
from test_screen import EVIL, SHOWN, STEP, everything

from deploy.errors import DeployError
from deploy.screen.screen import Screen


@contextmanager
def terminal() -> Iterator[tuple[io.TextIOWrapper, Callable[[], str]]]:
    """A stream to a terminal, and what gives all that it has shown, having closed it."""
    controller, inside = pty.openpty()
    said = bytearray()

    def read() -> None:
        with suppress(OSError):  # Linux's way of saying that the other end is closed
            while data := os.read(controller, 1 << 16):
                said.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    stream = os.fdopen(inside, "w", encoding="utf-8", errors="surrogateescape")

    def shown() -> str:
        stream.close()
        reader.join(20)
        return said.decode()

    try:
        yield stream, shown
    finally:
        shown()
        os.close(controller)


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_gets_the_kit_s_own_styles_and_nothing_of_a_server_s(monkeypatch: pytest.MonkeyPatch):
    with terminal() as (stream, shown):
        monkeypatch.setattr("sys.stderr", stream)
        everything(Screen(out=stream))
        text = shown()
    assert "\x1b[" in text and SHOWN[:10] in text  # our own colours
    for steering in ("\x1b]", "\x1b[2Jc", "\x07", "\x9b", "\u202e", "\u2066", "\x08", "\x7f"):
        assert steering not in text
    assert "d\re" not in text and "[red]x[/]" in text


@pytest.mark.parametrize("kind", SENT)
def test_no_event_of_a_server_steers_the_terminal(kind: str):
    with terminal() as (stream, shown):
        screen = Screen(out=stream, verbose=True, several=True)
        screen.event("web1", sample(SENT[kind], EVIL))
        screen.event("web1", {"event": "end", "state": "ok"})
        text = shown()
    assert not any(steering in text for steering in ("\x1b]", "\x07", "\x9b", "\u202e", "\u2066"))


def test_a_step_that_is_applied_is_named_with_its_progress_and_replaced_by_its_outcome():
    with terminal() as (stream, shown):
        screen = Screen(out=stream, several=True)
        screen.event("web1", {"event": "start", "step": "packages nginx"})
        screen.event("web1", {"event": "progress", "percent": 75.0, "what": "unpacking"})
        screen.event("web2", {"event": "start", "step": "virtualenv"})
        screen.event("web1", STEP)
        screen.event("web2", {"event": "end", "state": "ok"})
        text = shown()
    for part in ("web1: packages nginx", "web1: unpacking", "web2: virtualenv", "web1:      changed  packages nginx"):
        assert part in text
    assert "\x1b[2K" in text  # the bar's lines are erased


def test_an_error_ends_the_progress_bar(monkeypatch: pytest.MonkeyPatch):
    with terminal() as (stream, shown):
        monkeypatch.setattr("sys.stderr", stream)
        screen = Screen(out=stream)
        screen.event("web1", {"event": "start", "step": "virtualenv"})
        screen.error(DeployError("it broke"))
        text = shown()
    assert text.rstrip().endswith("\x1b[1;31merror: it broke\x1b[0m")


@pytest.mark.parametrize("without", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_an_error_has_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, without: dict[str, str]):
    def said() -> str:
        with terminal() as (stream, shown):
            monkeypatch.setattr("sys.stderr", stream)
            Screen(out=io.StringIO()).error(DeployError("it broke", "web1"))
            return shown()

    assert "\x1b[" in said()
    for name, value in without.items():
        monkeypatch.setenv(name, value)
    assert said() == "error: it broke\r\nwhere: web1\r\n"
