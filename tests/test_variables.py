"""Values for `fab env.set`, and the tables that are printed."""

import pytest

from deploy.agent.wire import Secret
from deploy.cli.options import left_out
from deploy.cli.variables import check, parse, sound
from deploy.errors import ConfigError
from deploy.screen import tables as listing


def test_a_file_of_variables_is_read_as_shells_and_dotenv_write_it():
    text = """
# a comment
PLAIN=tide
export EXPORTED = spaced
QUOTED="two words" # not this
SINGLE='as $it \\n stands'
ESCAPED="line\\nquote\\" back\\\\"
EMPTY=
HASH=a#b
LONG="-----BEGIN
line
-----END"
"""
    found = parse(Secret(text), ".env")
    assert {name: secret.value for name, secret in found.items()} == {
        "PLAIN": "tide",
        "EXPORTED": "spaced",
        "QUOTED": "two words",
        "SINGLE": "as $it \\n stands",
        "ESCAPED": 'line\nquote" back\\',
        "EMPTY": "",
        "HASH": "a#b",
        "LONG": "-----BEGIN\nline\n-----END",
    }


@pytest.mark.parametrize(
    ("text", "where"),
    [("A=1\nno sense tide", ".env, line 2"), ("lower=tide", ".env, line 1"), ('A="tide\nB=1', ".env, line 1")],
)
def test_a_line_that_is_none_is_named_by_its_number_and_not_shown(text: str, where: str):
    with pytest.raises(ConfigError) as raised:
        parse(Secret(text), ".env")
    assert raised.value.where == where and "tide" not in str(raised.value) and raised.value.hint


def test_a_value_that_is_no_text_is_refused_in_the_locale_c_too():
    with pytest.raises(ConfigError, match="the value of TOKEN is not UTF-8 text"):
        sound("TOKEN", Secret("\udcff"))


@pytest.mark.parametrize("name", ["TOKEN=tide", "RELEASE_ID", "WSGI_APP"])
def test_names_that_cannot_be_set_are_refused_without_their_value(name: str):
    with pytest.raises(ConfigError) as raised:
        check(name)
    assert "tide" not in str(raised.value)


def test_a_word_that_may_be_left_out_is_told_from_the_next_command():
    shape = r"\d{8}-\d{6}"
    assert left_out("rollback", shape, ["staging", "rollback", "logs"])
    assert not left_out("rollback", shape, ["rollback", "--check", "20260301-120405", "logs"])
    assert left_out("rollback", shape, ["logs", "--release", "20260301-120405", "rollback"])


RECORDS = {
    "20260227-080000": {"state": "good", "by": "me@here", "at": "2026-02-27T08:00:00+00:00", "size_bytes": 40_000},
    "20260228-091733": {"state": "good", "commit": "abc", "verb": "restart", "size_bytes": 40_000},
    "20260301-120405": {"state": "rolled back", "size_bytes": 40_000},
    "20260302-120405": {"state": "", "size_bytes": 40_000},
}
HISTORY = [
    {"verb": "deploy", "release": "20260303-120405", "outcome": "failed", "why": "no\ntide", "started": 0, "who": "me"},
    {"verb": "deploy", "release": "20260227-080000", "outcome": "ok", "started": 0, "who": "me"},
]


def test_releases_are_listed_newest_first_with_the_failed_ones():
    rows = listing.release_rows({"records": RECORDS, "current": "20260228-091733", "history": HISTORY})
    assert [row["STATE"] for row in rows] == ["failed", "unfinished", "rolled back", "current", "good"]
    assert (
        rows[0]["NOTE"] == "deploy: no"
        and rows[3]["NOTE"] == "restart"
        and rows[4]["MADE (UTC)"] == "2026-02-27 08:00:00"
    )
    assert rows[4]["SIZE"] == "40.0 kB" and rows[0]["event"]["note"] == "deploy: no\ntide"


def test_history_tells_outcome_duration_and_probes():
    run = {"verb": "deploy", "who": "me", "from": "192.0.2.1", "started": 0, "outcome": "ok", "seconds": 1.25}
    (row,) = listing.history_rows([{**run, "requests": 212, "failed": 0, "release": "20260303-120405"}])
    assert (row["OUTCOME"], row["TOOK"], row["PROBES"], row["FROM"]) == ("ok", "1.2 s", "0 of 212 failed", "192.0.2.1")
    (row,) = listing.history_rows([{**run, "outcome": "failed", "step": "uv", "why": "no tide"}])
    assert row["NOTE"] == "uv: no tide" and row["style"] == "red"


def test_the_environment_is_listed_without_values():
    (row,) = listing.variable_rows([{"name": "A", "from": "set", "over": ["app"]}])
    assert (row["VALUE"], row["FROM"]) == ("[hidden]", "fab env.set (over deploy.toml)")
