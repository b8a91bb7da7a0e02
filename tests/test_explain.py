"""`fab explain`: a key of deploy.toml is explained where there is no server, and no deploy.toml either."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from deploy.config.keys import keys
from deploy.config.schema import TABLES
from deploy.errors import ConfigError
from deploy.screen.screen import Screen
from deploy.verbs.texts.explain import explain

STAGES = '[stages.production]\nhosts = ["root@web1"]\n[stages.staging]\nhosts = ["root@web2"]\ntls = "off"\n'
GOOD = f'[app]\nname = "shop"\nwsgi = "shop:app"\nworkers = 3\nwarm_paths = []\nenv = {{ LANGUAGE = "en" }}\n{STAGES}'


def explained(directory: Path, word: str, text: str = "") -> str:
    if text:
        (directory / "deploy.toml").write_text(text)
    out = io.StringIO()
    explain(Screen(out=out), directory, word)
    return out.getvalue()


def events(directory: Path, word: str) -> list[dict[str, Any]]:
    out = io.StringIO()
    explain(Screen(out=out, as_json=True), directory, word)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_key_is_explained_without_a_deploy_toml(tmp_path: Path):
    text = explained(tmp_path, "hsts_days")
    assert text == (
        "hsts_days, in [stages.NAME]\n"
        "\n"
        "  How many days browsers refuse to visit the domain without https (HSTS). 0:\n"
        "  none. It cannot be undone: if https fails, browsers that have visited the site\n"
        "  cannot reach it until the days are over.\n"
        "\n"
        "  A year is usual, once you are sure that https works.\n"
        "\n"
        "  value:     a whole number from 0 to 730\n"
        "  default:   7\n"
        "  example:   hsts_days = 365\n"
        "  apply:     fab deploy\n"
        "  rollback:  no, the current deploy.toml applies to all releases\n"
    )


def test_a_key_is_explained_with_its_value_in_each_stage(tmp_path: Path):
    text = explained(tmp_path, "tls", GOOD)
    assert '  now:       [stages.production] "acme"\n             [stages.staging] "off"\n' in text
    assert "  now:       [app] 3\n" in explained(tmp_path, "workers")
    assert "  now:       [app] []\n" in explained(tmp_path, "warm_paths")
    assert "[stages.production] not set: the host's address, without https" in explained(tmp_path, "domain")


def test_a_variable_s_value_is_not_shown(tmp_path: Path):
    text = explained(tmp_path, "app.env", GOOD.replace('"en"', '"postgresql://shop:tide@db/shop"'))
    assert "[app] LANGUAGE\n" in text and "tide" not in text
    assert "tide" not in json.dumps(events(tmp_path, ""))


def test_a_deploy_toml_with_an_error_is_no_hindrance(tmp_path: Path):
    text = explained(tmp_path, "tls", GOOD + "hsts_days = 9999\n")
    assert 'example:   tls = "files"' in text and "now:" not in text
    assert "note: current values are not shown, because deploy.toml has an error: stages.staging.hsts_days" in text


@pytest.mark.parametrize(
    ("word", "says"), [("workers", "yes"), ("app.env", "yes"), ("keep_releases", "no"), ("tls", "no")]
)
def test_it_is_said_whether_a_rollback_brings_the_old_value_back(tmp_path: Path, word: str, says: str):
    assert f"  rollback:  {says}, " in explained(tmp_path, word)


@pytest.mark.parametrize(
    "word", ["tls", "stages.tls", "stages.NAME.tls", "stages.production.tls", "stages.my-shop.tls"]
)
def test_a_key_can_be_named_with_its_table(tmp_path: Path, word: str):
    assert explained(tmp_path, word).startswith("tls, in [stages.NAME]\n")


def test_a_key_of_both_tables_is_explained_in_both(tmp_path: Path):
    assert [event["table"] for event in events(tmp_path, "env")] == ["app", "stages.NAME"]
    assert [event["table"] for event in events(tmp_path, "stages.env")] == ["stages.NAME"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("tsl", "did you mean tls?"),
        ("TLS", "did you mean tls?"),
        ("health-path", "did you mean health_path?"),
        ("health path", "did you mean health_path?"),
        ("stages.production.hst_days", "did you mean hsts_days?"),
        ("app.tls", "tls is a key of [stages.NAME]: fab explain tls"),
        ("stages.production.workers", "workers is a key of [app]: fab explain workers"),
        ("nope.workers", "workers is a key of [app]"),
        ("app.x.workers", "workers is a key of [app]"),
        ("deploy", "`fab --help COMMAND` explains a command"),
        ("app.", "`fab explain` lists all keys"),
        ("ключ", "`fab explain` lists all keys"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_nearest(tmp_path: Path, word: str, hint: str):
    with pytest.raises(ConfigError) as raised:
        explained(tmp_path, word)
    assert raised.value.what == f"there is no key {word} in deploy.toml"
    assert hint in raised.value.hint and raised.value.state == "nothing was changed"


def test_without_a_key_all_are_listed_by_topic(tmp_path: Path):
    lines = explained(tmp_path, "").splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "]
    assert sorted(shown) == sorted([key for table in TABLES.values() for key in keys(table)])
    assert lines.index("  Health check") < lines.index("  Releases") < lines.index("[stages.NAME]")
    assert all(len(line) <= 80 for line in lines)


def test_for_programs_a_key_is_one_object(tmp_path: Path):
    explained(tmp_path, "", GOOD)
    (event,) = events(tmp_path, "static")
    assert event.pop("meaning").startswith("URL prefixes that Nginx serves by itself")
    assert event == {
        "event": "key",
        "host": "",
        "key": "static",
        "table": "app",
        "topic": "Files",
        "takes": "a table of URL prefixes, each with a directory inside the project",
        "required": False,
        "default": {},
        "example": {"/static/": "shop/static"},
        "rolls_back": True,
        "applied_by": ["deploy"],
        "now": {"app": {}},
    }
    assert len(events(tmp_path, "")) == len([key for table in TABLES.values() for key in keys(table)])
