"""A release's environment: layers, what it takes over, and that no value shows."""

import json
from pathlib import Path

import pytest

from deploy.agent.resources.release.environment import (
    Environment,
    FirstEnvironment,
    differences,
    layers_of,
    listing,
    news,
    resolved,
)
from deploy.agent.system import System
from deploy.agent.wire import Refused, Secret


def release(directory: Path, name: str, base: str = "", layers: dict | None = None, change: dict | None = None) -> str:
    """Write the environment of a release, and return its directory."""
    path = directory / name
    path.mkdir()
    made = Environment(
        str(path),
        base,
        Secret(json.dumps(layers) if layers is not None else ""),
        Secret(json.dumps(change)) if change else None,
    )
    assert made.check(System())
    made.apply(System())
    assert made.check(System()) == []
    return str(path)


def test_what_is_set_goes_over_deploy_toml_and_that_over_the_kit(tmp_path: Path):
    layers = {"kit": {"A": "kit", "B": "kit", "C": "kit"}, "app": {"A": "app", "B": "app"}}
    made = release(tmp_path, "1", "", layers, {"A": "set"})
    text = (Path(made) / "env").read_text()
    assert 'A="set"\n' in text and 'B="app"\n' in text and 'C="kit"\n' in text and 'RELEASE_ID="1"\n' in text


def test_a_deploy_keeps_what_was_set_and_nothing_else_of_the_release_before(tmp_path: Path):
    first = release(tmp_path, "1", "", {"kit": {}, "app": {"GONE": "1"}}, {"TOKEN": "tide"})
    second = release(tmp_path, "2", first, {"kit": {}, "app": {"NEW": "1"}})
    assert layers_of(second) == {"kit": {"RELEASE_ID": "2"}, "app": {"NEW": "1"}, "set": {"TOKEN": "tide"}}


def test_a_change_alone_keeps_all_other_layers_and_none_takes_a_name_away(tmp_path: Path):
    first = release(tmp_path, "1", "", {"kit": {"K": "1"}, "app": {"A": "1"}}, {"X": "1", "Y": "1"})
    second = release(tmp_path, "2", first, None, {"X": None, "Z": "2"})
    assert layers_of(second) == {"kit": {"K": "1", "RELEASE_ID": "2"}, "app": {"A": "1"}, "set": {"Y": "1", "Z": "2"}}


def test_a_dry_run_tells_names_and_no_value(tmp_path: Path):
    first = release(tmp_path, "1", "", {"kit": {}, "app": {"SAME": "tide", "OTHER": "tide", "GONE": "tide"}})
    layers = Secret(json.dumps({"kit": {}, "app": {"SAME": "tide", "OTHER": "ebb", "NEW": "ebb"}}))
    drifts = Environment(str(tmp_path / "2"), first, layers).check(System())
    assert [drift.what for drift in drifts] == ["GONE removed", "NEW added", "OTHER changed"]
    assert "tide" not in repr(drifts) and "ebb" not in repr(drifts)


def test_files_are_root_s_alone(tmp_path: Path):
    made = Path(release(tmp_path, "1", "", {"kit": {}, "app": {}}))
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o600}


def test_names_are_listed_with_where_they_come_from(tmp_path: Path):
    made = release(tmp_path, "1", "", {"kit": {"K": "1"}, "app": {"A": "tide", "B": "tide"}}, {"A": "set"})
    secrets = tmp_path / "secrets.env"
    secrets.write_text("SECRET_KEY=tide\n")
    found = {row["name"]: (row["from"], row["over"]) for row in listing(made, str(secrets))}
    assert found["A"] == ("set", ["app"]) and found["B"] == ("app", []) and found["SECRET_KEY"] == ("kit", [])
    assert "tide" not in repr(listing(made, str(secrets)))


def test_a_change_that_is_none_is_no_news(tmp_path: Path):
    made = release(tmp_path, "1", "", {"kit": {}, "app": {}}, {"A": "1"})
    assert news(made, Secret(json.dumps({"A": "1", "NOT_THERE": None}))) == []
    assert news(made, Secret(json.dumps({"A": "2", "B": "1"}))) == [("A", "changed"), ("B", "added")]
    assert differences({"A": "1"}, {}) == [("A", "removed")]


def layered(app: dict[str, str], **layers: dict[str, str]) -> dict[str, dict[str, str]]:
    return {"kit": {"DOMAIN": "shop.example.com"}, "app": app, "set": {}, **layers}


def test_values_of_deploy_toml_may_refer_to_others_and_to_what_only_the_server_knows():
    app = {
        "DJANGO_SECRET_KEY": "$SECRET_KEY",
        "DJANGO_ALLOWED_HOSTS": "${DOMAIN},www.$DOMAIN",
        "HOME_URL": "https://$DOMAIN/",
        "PRICE": "5$ and $$DOMAIN",
        "DATABASE_URL": "postgresql://shop:$DB_PASSWORD@db/shop",
        "AGAIN": "$HOME_URL",
    }
    found = resolved(layered(app, set={"DB_PASSWORD": "a$DOMAIN"}), {"SECRET_KEY": "tide"})
    assert found == {
        "DOMAIN": "shop.example.com",
        "DJANGO_SECRET_KEY": "tide",
        "DJANGO_ALLOWED_HOSTS": "shop.example.com,www.shop.example.com",
        "HOME_URL": "https://shop.example.com/",
        "PRICE": "5$ and $DOMAIN",
        "DATABASE_URL": "postgresql://shop:a$DOMAIN@db/shop",  # what was set is taken as it is
        "AGAIN": "https://shop.example.com/",
        "DB_PASSWORD": "a$DOMAIN",
    }


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ({"KEY": "$NOT_THERE"}, r"KEY refers to \$NOT_THERE, which is not set"),
        ({"A": "$B", "B": "x$A"}, "refers to itself"),
        ({"A": "$A"}, "A refers to itself"),
    ],
)
def test_a_value_that_leads_nowhere_is_refused_before_anything_is_changed(
    tmp_path: Path, app: dict[str, str], said: str
):
    layers = Secret(json.dumps({"kit": {}, "app": app}))
    with pytest.raises(Refused, match=said) as raised:
        Environment(str(tmp_path / "1"), "", layers).check(System())
    assert "$$" in raised.value.hint


def test_what_is_set_before_the_first_release_is_in_its_environment_and_root_s_alone(tmp_path: Path):
    directory = tmp_path / ".environment"
    for change in ({"TOKEN": "tide", "GONE": "1"}, {"GONE": None}):
        step = FirstEnvironment(str(directory), Secret(json.dumps(change)))
        assert step.check(System()) != [] and "tide" not in repr(step.check(System()))
        step.apply(System())
        assert step.check(System()) == []
    assert directory.stat().st_mode & 0o777 == 0o700
    first = release(tmp_path, "1", str(directory), {"kit": {"K": "1"}, "app": {}})
    assert 'TOKEN="tide"\n' in (Path(first) / "env").read_text()
    assert layers_of(first)["set"] == {"TOKEN": "tide"}
    assert [row["name"] for row in listing(str(tmp_path / "current"), "", str(directory))] == ["TOKEN"]
