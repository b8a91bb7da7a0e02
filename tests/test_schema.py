"""The schema of deploy.toml: every key in one place, and what is written from it."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomllib

from deploy.agent.dataclass import fields, replace
from deploy.config.document import files, literal, sample
from deploy.config.keys import ConfigKey, keys, texts
from deploy.config.schema import TABLES, App, Stage
from deploy.plan.provision import provisioning
from deploy.plan.record import RECORDED

KEYS = [(table, key) for table in TABLES for key in keys(TABLES[table]).values()]
SHOP, PRODUCTION = App("shop", "shop:app"), Stage("production", ("root@web1",))
each_key = pytest.mark.parametrize(("table", "key"), KEYS, ids=[f"{table}.{key.name}" for table, key in KEYS])


def examples(kind: type) -> dict[str, Any]:
    return {key.name: key.example for key in keys(kind).values()}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_documentation_says_what_the_schema_says(path: Path):
    assert path.read_text("utf-8") == files()[path], "run `make config-docs`"


def test_all_that_deploy_toml_can_set_is_a_key():
    others = {field.name for field in fields(App)} - {*keys(App)}
    assert others == {"mount", "web", "processes", "timers"}  # of other tables
    others = {field.name for field in fields(Stage)} - {*keys(Stage)}
    assert others == {"name", "key_file", "authority", "pin"}  # of the table's head, and of a sandbox


@each_key
def test_a_key_is_explained_with_an_example_that_is_allowed_and_is_not_the_default(table: str, key: ConfigKey):
    about = texts(TABLES[table])[key.name]
    assert all(paragraph.endswith((".", ").")) for paragraph in about) and key.kind.takes
    assert key.required or key.kind(key.example) != key.default


def test_what_is_released_with_the_code_are_keys_of_the_app():
    assert {*RECORDED} <= {*keys(App)}


@each_key
def test_a_key_that_needs_fab_provision_is_one_that_changes_what_it_does(table: str, key: ConfigKey):
    if key.name == "hosts" or table.startswith(("processes", "timers")):
        return  # the same plan, for another server or release
    other = {key.name: "shop2" if key.name == "name" else key.kind(key.example)}
    stage = replace(PRODUCTION, domain="shop.example.com") if key.name == "tls" else PRODUCTION
    changed = (replace(SHOP, **other), stage) if table == "app" else (SHOP, replace(stage, **other))
    assert (provisioning(*changed) != provisioning(SHOP, stage)) == ("provision" in key.applied_by)


def test_the_sample_keeps_its_values_and_shows_all_other_keys():
    data = {"app": examples(App), "stages": {"production": examples(Stage)}}
    assert tomllib.loads(sample(data)) == data
    least = {"app": {"name": "shop", "wsgi": "shop:app"}, "stages": {"production": {"hosts": ["root@web1"]}}}
    text = sample(least)
    assert tomllib.loads(text) == least
    for table, key in KEYS:
        shown = f"[{table.replace('NAME', 'production')}.env]" if key.name == "env" else f"{key.name} = "
        assert f"# {shown}" in text or key.name in ("name", "wsgi", "hosts")


def test_a_commented_key_can_be_put_in_force_by_taking_the_comment_away():
    least = {"app": {"name": "shop", "wsgi": "shop:app"}, "stages": {"production": {"hosts": ["root@web1"]}}}
    data = tomllib.loads(re.sub(r"^# (\[[\w.]+\]$|\w+ = )", r"\1", sample(least), flags=re.M))
    assert {*data["app"]} == {*keys(App)} and {*data["stages"]["production"]} == {*keys(Stage)}
    assert {*data["stages"]["staging"]} == {"hosts", "domain"}


@pytest.mark.parametrize(
    "value", ["plain", 'a "quoted" \\ path', "Grüße", 7, True, [], ["a", "b"], {}, {"/static/": "shop/static", "a": 1}]
)
def test_a_value_is_written_as_toml_reads_it(value: Any):
    assert tomllib.loads(f"key = {literal(value)}") == {"key": value}
