"""Events: each kind has its type, is made with its fields, is explained to programs, and is shown or knowingly not."""

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import KINDS, MADE, SENT, names, sample

from deploy.agent.events import Event
from deploy.connection.imports import module_named, reached
from deploy.screen.events import BETWEEN_SIDES
from deploy.screen.lines import QUIET, lines
from deploy.screen.screen import Screen

ROOT = Path(__file__).resolve().parents[1]
FOR_TESTS = ("halted",)  # programs get it with ASHORE_HALT only; docs/developing.md has it
OTHER = re.compile(r'fab |deploy |--|""')  # what is quoted in docs/json.md and is neither a field nor its value
NO_JSON = {"end": {"status"}}  # of `fab run`, which has no --json


def literals() -> Iterator[tuple[str, ast.Dict]]:
    """Each dictionary in deploy/ with a key "event", and where it is; but for rows of tables, which have an event."""
    for path in (ROOT / "deploy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict):
                keys = keys_of(node)
                if "event" in keys and "style" not in keys:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def keys_of(node: ast.Dict) -> list[str]:
    return [str(key.value) for key in node.keys if isinstance(key, ast.Constant)]


def kind_made(where: str, node: ast.Dict) -> str:
    by_key = {
        key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
    }
    value = by_key["event"]
    assert isinstance(value, ast.Constant), f"{where}: the kind of an event is to be written where it is made"
    return str(value.value)


def documented() -> dict[str, set[str]]:
    """Kind → the names in its row of docs/json.md, but for commands, options and `""`."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs" / "json.md").read_text("utf-8"), re.M)
    return {kind: {name for name in re.findall("`([^`]+)`", text) if not OTHER.match(name)} for kind, text in rows}


def test_every_event_that_is_made_has_a_type_and_every_type_is_of_one_that_is_made():
    assert {kind_made(where, node) for where, node in literals()} == set(KINDS)


def test_an_event_is_made_with_fields_of_its_type_only():
    for where, node in literals():
        fields = set(KINDS[kind_made(where, node)].__annotations__)
        assert set(keys_of(node)) <= fields, where


def test_a_kind_is_sent_by_the_agent_or_made_on_the_operator_s_side():
    assert not SENT.keys() & MADE.keys()


def test_every_event_that_programs_get_is_documented():
    assert set(documented()) == KINDS.keys() - {*BETWEEN_SIDES, *FOR_TESTS}


@pytest.mark.parametrize("kind", documented())
def test_the_fields_of_an_event_are_those_that_programs_are_told_of(kind: str):
    assert documented()[kind] == set(names(KINDS[kind])) - NO_JSON.get(kind, set())


def test_the_types_of_events_are_not_sent_to_servers():
    agent = {module_named(path.stem) for path in (ROOT / "deploy" / "agent").rglob("*.py") if path.stem != "__init__"}
    assert "agent.events" not in reached(agent - {"agent.events"}, late=True)


@pytest.mark.parametrize("kind", SENT)
def test_an_event_of_the_agent_is_shown_to_people_or_listed_as_one_that_is_not(kind: str):
    shown = lines(sample(SENT[kind]), verbose=True)
    assert bool(shown) != (kind in QUIET)
    assert not any("does not know" in text for text, _ in shown)


@pytest.mark.parametrize("kind", SENT)
def test_programs_get_an_event_of_the_agent_or_it_is_listed_as_one_that_they_do_not(kind: str):
    out = io.StringIO()
    Screen(out=out, as_json=True).event("web1", sample(SENT[kind]))
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in found] == ([] if kind in BETWEEN_SIDES else [kind])


def test_an_event_that_this_version_does_not_know_is_named_and_passed_on():
    unknown: Event = {"event": "tide", "height": 3}  # type: ignore[assignment]
    for as_json, expected in ((False, "note: this version of Ashore does not know the event tide\n"), (True, None)):
        out = io.StringIO()
        Screen(out=out, as_json=as_json).event("web1", unknown)
        assert out.getvalue() == (expected or '{"host": "web1", "event": "tide", "height": 3}\n')
