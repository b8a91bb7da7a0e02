"""What a CI key's holder sends: a stranger's until it is checked."""

import hashlib
import json
import time
from contextlib import suppress

import pytest

from deploy.agent.constants import RELEASE_ID
from deploy.agent.dataclass import replace
from deploy.agent.wire import Entry, Refused
from deploy.ci import inputs, limits
from deploy.config.reader import App
from deploy.config.site import Site
from deploy.errors import DeployError
from deploy.plan import record as build
from deploy.source.dependencies import dependencies
from deploy.stack.proxies.nginx import site_text

HASH = "a" * 64
SHOP = App(
    "shop",
    "shop:app",
    static=(("/static/", "shop/static"),),
    env=(("LANGUAGE", "en"),),
    warm_paths=("/", "/a?b=1"),
    release_command="flask db upgrade",
    devices=("/dev/fuse",),
)


def sent(**change: object) -> dict:
    return json.loads(json.dumps(inputs.as_table(SHOP) | change))


def test_an_app_survives_the_way():
    assert inputs.app_of(sent(), "shop") == SHOP
    moved = replace(SHOP, redirects=(("/blog/", "https://blog.example.com/"), ("/old", "/new")), block_scans=False)
    assert inputs.app_of(json.loads(json.dumps(inputs.as_table(moved))), "shop") == moved


def test_the_path_of_an_app_is_the_operator_s_and_not_sent():
    table = inputs.as_table(replace(SHOP, mount="/blog"))
    assert "mount" not in table and inputs.app_of(json.loads(json.dumps(table)), "shop") == SHOP
    with pytest.raises(DeployError, match="unknown key"):
        inputs.app_of(sent(mount="/other"), "shop")


EVIL = ["x\ny", "x; }", "x\nExecStartPre=/bin/sh", "${x}", "x\0y", "../x", "/etc/passwd", "x\x1b[2J", "x{", 'x"', "-x"]
EVIL += ["x y", "x;", "}", "x#", "%i", "$host", "'x'", "x\\", "x\u2028y", "x\ry", "é"]
PLACES = {
    "wsgi": lambda text: f"shop:{text}",
    "asgi": lambda text: f"shop:{text}",
    "requirements": lambda text: text,
    "health_path": lambda text: f"/{text}",
    "worker_class": lambda text: text,
    "static": lambda text: {"/static/": text},
    "warm_paths": lambda text: [f"/{text}"],
    "writable_paths": lambda text: [f"/srv/{text}"],
    "devices": lambda text: [f"/dev/{text}"],
    "env": lambda text: {"A": text},
    "release_command": lambda text: text,
}


def shape(app: App) -> list[int]:
    """How many lines, blocks and directives a unit and a site have, and what is put in when they are read."""
    unit, site = build.unit_text(app), site_text(app, Site(("shop.example",)), dict(app.static), "1.22.1")
    marks = ("\n", "\r", "{", "}", ";", "$", "#", '"', "'", "\\", " ", "\0")
    return [unit.count("%"), *((unit + site).count(mark) for mark in marks)]


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize("text", EVIL)
def test_no_text_can_say_something_of_its_own_in_a_unit_or_a_site(key: str, text: str):
    other = {"wsgi": ""} if key == "asgi" else {}
    harmless = inputs.app_of(sent(**other, **{key: PLACES[key]("sync")}), "shop")
    try:
        app = inputs.app_of(sent(**other, **{key: PLACES[key](text)}), "shop")
    except DeployError:
        return
    assert shape(app) == shape(harmless)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "blog"},
        {"no_such_key": 1},
        {"env": {"A": "x\ny"}},
        {"env": {"RELEASE_ID": "x"}},
        {"env": {f"A{n}": "x" for n in range(201)}},
        {"env": {"A": "x" * 10_001}},
        {"static": {"/a/ { }": "x"}},
        {"warm_paths": ["/"] * 201},
        {"warm_paths": [["/"]]},
        {"release_command": "x\ny"},
        {"release_command": "x" * 10_001},
        {"memory_percent": "75%\nExecStartPre=x"},
        {"memory_percent": True},
        {"tasks_max": 10**30},
        {"workers": -1},
        {"wsgi": None},
        {"requirements": "../x"},
        {"requirements": "x\ny"},
        {"requirements": "--index-url=x"},
    ],
)
def test_what_deploy_toml_could_not_say_is_refused(change: dict):
    with pytest.raises((Refused, DeployError)):
        inputs.app_of(sent(**change), "shop")


@pytest.mark.parametrize("table", [None, [], "shop", {}, {"name": "shop"}])
def test_what_is_no_table_of_an_app_is_refused(table: object):
    with pytest.raises((Refused, DeployError)):
        inputs.app_of(table, "shop")


GOOD = [["shop/app.py", "f", 3, HASH], ["run.sh", "x", 0, HASH], ["again", "l", 0, "shop/app.py"]]


def test_a_manifest_survives_the_way():
    assert inputs.manifest(GOOD) == [Entry(*line) for line in GOOD]


@pytest.mark.parametrize(
    "line",
    [
        ["../x", "f", 1, HASH],
        ["/etc/x", "f", 1, HASH],
        ["a/../../x", "f", 1, HASH],
        ["a//b", "f", 1, HASH],
        ["", "f", 1, HASH],
        ["a\0b", "f", 1, HASH],
        ["a\nb", "f", 1, HASH],
        ["a\x1b[2J", "f", 1, HASH],
        ["\ud800", "f", 1, HASH],
        ["a/" + "b" * 256, "f", 1, HASH],
        ["a/" * 600 + "b", "f", 1, HASH],
        ["a/" * 51 + "b", "f", 1, HASH],
        ["shop/app.py", "f", 3, HASH],
        ["shop/app.py/x", "f", 3, HASH],
        ["shop", "f", 3, HASH],
        ["again/x", "f", 3, HASH],
        ["a", "d", 1, HASH],
        ["a", ["f"], 1, HASH],
        ["a", "f", -1, HASH],
        ["a", "f", True, HASH],
        ["a", "f", 1.5, HASH],
        ["a", "f", 3 << 30, HASH],
        ["a", "f", 1, "../../../../etc/cron.d/x"],
        ["a", "f", 1, HASH[1:] + "\n"],
        ["a", "f", 1, None],
        ["a", "l", 0, "/etc/passwd"],
        ["a", "l", 0, "../x"],
        ["a", "l", 0, ""],
        ["a", "l", 5, "shop"],
        ["a", "l", 0, "x\0y"],
        ["a", "f", 1],
        ["a", "f", 1, HASH, 1],
        {"path": "a"},
        None,
    ],
)
def test_a_manifest_names_nothing_outside_and_nothing_twice(line: object):
    with pytest.raises(Refused):
        inputs.manifest([*GOOD, line])


def test_a_manifest_has_an_end():
    with pytest.raises(Refused, match="more than"):
        inputs.manifest([[f"f{n}", "f", 0, HASH] for n in range(inputs.MOST_ENTRIES + 1)])
    with pytest.raises(Refused, match="links"):
        inputs.manifest([[f"f{n}", "l", 0, "x"] for n in range(inputs.MOST_LINKS + 1)])
    deep = "/".join("d" * 40)
    with pytest.raises(Refused, match="more than 10,000 directories"):
        inputs.manifest([[f"{n}/{deep}/f", "f", 0, HASH] for n in range(300)])


def entry(path: str, text: str) -> Entry:
    return Entry(path, "f", len(text), hashlib.sha256(text.encode()).hexdigest())


def test_requirements_are_what_the_source_has():
    texts = {"requirements.txt": "-r more.txt\ngunicorn\n", "more.txt": "flask\n", "other.txt": "never asked for"}
    entries = [entry("requirements.txt", texts["requirements.txt"]), entry("more.txt", "flask\n")]
    assert inputs.requirements(texts, SHOP, entries) == {key: texts[key] for key in ("requirements.txt", "more.txt")}


@pytest.mark.parametrize(
    "texts",
    [
        {"requirements.txt": "gunicorn\nevil\n"},
        {},
        {"requirements.txt": 5},
        {"requirements.txt": "-r /etc/shadow\n"},
        {"requirements.txt": "-e .\n"},
        {"requirements.txt": "\ud800"},
    ],
)
def test_requirements_that_the_source_has_otherwise_would_poison_a_shared_virtualenv(texts: dict):
    there = texts.get("requirements.txt")
    named = there if isinstance(there, str) and there.startswith("-") else "gunicorn\n"
    with pytest.raises((Refused, DeployError)):
        inputs.requirements(texts, SHOP, [entry("requirements.txt", named)])


@pytest.mark.parametrize(
    "text", ["-r requirements.txt\n" * 50_000, "\n" * 300_000, "-r\n" * 100_000, "-r " + "=" * 300_000, " " * 300_000]
)
def test_requirements_that_go_on_for_ever_take_no_time(text: str):
    began = time.monotonic()
    with suppress(Refused, DeployError):
        read = inputs.requirements({"requirements.txt": text}, SHOP, [entry("requirements.txt", text)])
        build.venv_key((), dependencies(read, ["requirements.txt"]), "3")
    assert time.monotonic() - began < 2


def test_links_that_go_on_for_ever_take_no_time():
    began = time.monotonic()
    circle = [[f"{n}", "l", 0, "/".join([f"{n + 1}/.."] * 20 + [f"{n + 1}"])] for n in range(inputs.MOST_LINKS)]
    with suppress(Refused):
        inputs.manifest(circle)
    assert time.monotonic() - began < 5


def test_requirements_are_no_link():
    with pytest.raises(Refused, match="is a link"):
        inputs.requirements({"requirements.txt": ""}, SHOP, [Entry("requirements.txt", "l", 0, "x")])


def test_a_request_has_the_fields_it_should_have_and_no_others():
    assert inputs.fields({"a": "x", "b": True}, {"b": bool, "a": str}) == [True, "x"]
    for wrong in ({"a": "x"}, {"a": "x", "b": 1}, {"a": "x", "b": True, "halt": "0"}, {"a": None, "b": True}):
        with pytest.raises(Refused):
            inputs.fields(wrong, {"b": bool, "a": str})


@pytest.mark.parametrize("text", ["../../etc", "20261120-231500\n", "20261120-231500/..", "٢٠٢٦١١٢٠-٢٣١٥٠٠"])
def test_the_id_of_a_release_is_digits(text: str):
    with pytest.raises(Refused):
        inputs.word(text, RELEASE_ID, "the ID of a release")


LIMITS = limits.read(
    limits.recorded(
        replace(SHOP, writable_paths=("/srv/media",), cpu_percent=50, requests_per_second=5), Site(("a.example",))
    )
)


def test_limits_survive_being_kept():
    assert LIMITS.site.names == ("a.example",)
    as_it_was = replace(SHOP, writable_paths=("/srv/media",), cpu_percent=50, requests_per_second=5)
    assert limits.beyond(as_it_was, LIMITS) == []


def test_what_a_record_of_an_older_kit_does_not_tell_is_limited_to_the_default():
    record = json.loads(limits.recorded(SHOP, Site(("a.example",))))
    del record["allowed"]["watch_seconds"]
    older = limits.read(json.dumps(record))
    assert limits.beyond(SHOP, older) == []
    assert limits.beyond(replace(SHOP, watch_seconds=3600), older) == ["watch_seconds = 3600 (allowed: 10)"]


@pytest.mark.parametrize(
    "change",
    [
        {"allow_jit": True},
        {"writable_paths": ("/etc",)},
        {"writable_paths": ("/srv/media", "/srv/media/..")},
        {"devices": ("/dev/fuse", "/dev/sda")},
        {"memory_percent": 76},
        {"cpu_percent": 51},
        {"cpu_percent": 0},  # as much as there is
        {"tasks_max": 513},
        {"release_seconds": 301},
        {"keep_releases": 6},
        {"max_body_megabytes": 11},
        {"tmp_megabytes": 257},
        {"health_seconds": 31},
        {"watch_seconds": 11},
        {"timeout_seconds": 31},
        {"requests_per_second": 6},
        {"requests_per_second": 0},  # no limit
        {"connections_per_address": 501},
        {"connections_per_address": 0},  # no limit
    ],
)
def test_more_than_an_operator_allowed_is_seen(change: dict):
    allowed = {"writable_paths": ("/srv/media",), "cpu_percent": 50, "requests_per_second": 5}
    wanted = replace(SHOP, **(allowed | change))
    assert len(limits.beyond(wanted, LIMITS)) == 1


def test_no_network_stays_no_network():
    alone = limits.read(limits.recorded(replace(SHOP, outbound=False), Site(("a.example",))))
    assert limits.beyond(SHOP, alone) == ["outbound = true (allowed: false)"]


def test_less_is_always_allowed():
    less = replace(SHOP, devices=(), outbound=False, memory_percent=10, cpu_percent=20, keep_releases=1)
    less = replace(less, requests_per_second=4, connections_per_address=499)
    assert limits.beyond(less, LIMITS) == []
