"""The first look at a server: small, as strict as the whole agent, and silent where something is to be done."""

import ast
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.agent.dataclass import replace
from deploy.agent.resources import KINDS
from deploy.agent.resources.access.firewall import NoFirewall
from deploy.agent.resources.access.guarded import Guarded
from deploy.agent.resources.config_files import ConfigFiles
from deploy.agent.resources.files import Absent, Directory, File, Link, seal
from deploy.agent.resources.host.machine import DnsElsewhere, Platform, SecretKey
from deploy.agent.resources.host.packages import Packages, SinceVersion, Uv
from deploy.agent.resources.host.swap import Swap
from deploy.agent.resources.serving.nginx_default import DefaultServer
from deploy.agent.resources.serving.services import Service
from deploy.agent.system import System
from deploy.agent.wire import Digest, Plan, Resource, Secret, digest, frame
from deploy.config import reader
from deploy.connection import payload, slim
from deploy.connection.agent import Agent
from deploy.connection.slim import disk_cache
from deploy.connection.slim.prepared import prepare, remembered
from deploy.errors import Interrupted
from deploy.plan import provision as plans
from deploy.stack.render import unsealed

ROOT = Path(__file__).resolve().parents[1]
RUN = {"app": "no-such-app", "verb": "provision", "who": "test@here"}


def provision() -> Plan:
    config = reader.load(ROOT)
    return plans.provisioning(config.app, config.stages[0])


def request(plan: Any, units: list[str] = []) -> dict[str, Any]:  # noqa: B006
    asked = {"request": "plan", "plan": plan, "units": units, "asks": []}
    return asked | {"check": True, "run": RUN, "wait": False, "halt": ""}


def upload(plan: Plan) -> bytes:
    look = prepare(plan)
    return look.code + frame({"request": "plan", "check": True, "run": RUN, **look.request})


class Child:
    """A command on a host, as `channel.Channel`: here the agent under this machine's Python."""

    def __init__(self, made: object = None, command: str = "") -> None:
        pipe = subprocess.PIPE
        argv = [sys.executable, "-ISc", payload.BOOT]
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        self.closed = False
        self.sent = 0

    def send(self, data: bytes) -> None:
        self.sent += len(data)
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send_last(self, data: bytes) -> None:
        self.send(data)
        self.process.stdin.close()

    def line(self) -> bytes | None:
        return self.process.stdout.readline().rstrip(b"\n") or None

    def end(self) -> tuple[int, str]:
        return self.process.wait(60), self.process.stderr.read().decode()


def looked(plan: Plan) -> list[dict[str, Any]]:
    """The events of a look, the last being "whole" or "end"."""
    child = Child()
    child.send_last(upload(plan))
    events = [json.loads(line) for line in child.process.stdout]
    assert child.end() == (0, "") and events[0] == {"event": "hello"} and len(events) == 2
    return list(prepare(plan).events(events[1])) if events[1]["event"] == "looked" else events[1:]


def as_planned(step: Resource) -> bool:
    """By the whole code, here."""
    try:
        return not step.check(System(step.units))
    except Exception:
        return False


def test_a_provision_with_nothing_to_do_sends_no_more_than_a_new_connection_may():
    assert len(upload(provision())) <= 12_600  # to which SSH adds 1.8 kB; ten packets have 14.48


def test_what_is_sent_of_every_kind_compiles():
    for kinds in (frozenset(KINDS.values()), *(frozenset({kind}) for kind in KINDS.values())):
        for module, text in slim.made_for(kinds | {Plan}).sources.items():
            compile(text, module, "exec")


def test_what_is_sent_can_be_read_by_an_older_python_than_the_one_that_wrote_it():
    """Since 3.12, `ast.unparse` puts the same quotes within an f-string as around it."""
    for text in slim.made_for(frozenset({*KINDS.values(), Plan})).sources.values():
        for node in ast.walk(ast.parse(text)):
            inside = ast.walk(node.value) if isinstance(node, ast.FormattedValue) else ()
            assert not [each for each in inside if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def test_nothing_that_applies_is_sent():
    sent = "".join(slim.made_for(slim.kinds_of(provision())).sources.values())
    for name in ("def apply", "os.replace", "os.unlink", "os.chmod", "apt-get", '"""'):
        assert name not in sent


def test_each_step_of_a_provision_is_judged_as_by_the_whole_agent():
    """On this machine, on which most of them are not as planned."""
    for step in provision().steps:
        ended = looked(Plan("x", (step,)))[-1]["event"]
        assert ended == ("end" if as_planned(step) else "whole"), step.title


@pytest.fixture
def true(tmp_path: Path) -> tuple[Resource, ...]:
    """Steps that have nothing to do here."""
    if os.geteuid():
        pytest.skip("files are root's")
    text, path = seal("# Written by a test.\n" + "x = 1\n" * 20), str(tmp_path / "text")
    for name in ("text", "bin/uv", "key"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644 if name == "text" else 0o755)
    (tmp_path / "link").symlink_to("text")
    tmp_path.chmod(0o750)
    file, gone = File(path, text), Absent(str(tmp_path / "gone"))
    return (
        Platform((subprocess.check_output(["sh", "-c", ". /etc/os-release; echo $ID"], text=True).strip(),)),
        DefaultServer(("*:80",), (), str(tmp_path / "nginx" / "nginx.conf")),
        Directory(str(tmp_path), 0o750),
        file,
        File(path, seal("# Written by a test.\nof another version\n"), keep=True),
        Link(str(tmp_path / "link"), "text"),
        gone,
        ConfigFiles("files together", (file, gone), ("false",)),
        Guarded("guarded", (file,)),
        DnsElsewhere(file, gone),
        SecretKey(str(tmp_path / "key")),
        Packages(("dpkg",)),
        SinceVersion("dpkg", "1.0", file),
        SinceVersion("dpkg", "999.0", Absent(path)),
        Uv("1", str(tmp_path), ""),
        Service("no-such-unit.service", active=False),
        Swap(),
        NoFirewall(),
    )


def test_steps_that_are_as_planned_end_in_the_events_of_the_whole_agent(true: tuple[Resource, ...]):
    assert all(map(as_planned, true)), [step.title for step in true if not as_planned(step)]
    plan = Plan("x", true[:9], finish=true[9:])
    whole = Child()
    modules = frozenset(payload.modules_for(request(plan)))
    whole.send_last(payload.payload(modules) + frame(request(plan, plan.units)))
    expected = [json.loads(line) for line in whole.process.stdout][1:]
    assert [timeless(event) for event in looked(plan)] == [timeless(event) for event in expected]
    assert expected[-1]["state"] == "ok" and len(expected) == len(true) + 1


def timeless(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "seconds"}


def test_a_look_says_nothing_where_something_is_to_be_done(true: tuple[Resource, ...], tmp_path: Path):
    (tmp_path / "text").write_text("edited\n")
    assert looked(Plan("x", true)) == [{"event": "whole"}]


def test_a_long_text_is_sent_as_its_hash_which_equals_that_text():
    text = "secret? no\n" * 100
    look = slim.look(slim.kinds_of(Plan("x", (File("/x", text),))))
    assert look.plan(File("/x", text)) == {"File": ["/x", {"Digest": [digest(text)]}]}
    assert text == Digest(digest(text)) != text[1:] and look.plan(File("/x", "short")) == {"File": ["/x", "short"]}


def test_a_secret_is_not_sent_as_a_hash():
    plan = Plan("x", (File("/x", Secret("tide" * 100)),))
    sent = slim.look(slim.kinds_of(plan)).plan(plan)
    assert sent == {"Plan": [[{"File": ["/x", {"Secret": ["tide" * 100]}]}]]}


def anew(kinds: frozenset[type]) -> slim.Look:
    """As in another run: from the cache, if it is there."""
    slim.look.cache_clear()
    return slim.look(kinds)


@pytest.mark.parametrize("broken", ["", "{}", '{"sources": {}}', "\0"])
def test_a_broken_cache_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kinds = slim.kinds_of(Plan("x", (Link("/a", "b"),)))
    made = anew(kinds)
    (path,) = (tmp_path / "ashore" / "look").iterdir()
    path.write_text(broken)
    assert anew(kinds) == made and json.loads(path.read_text())["sources"] == made.sources


def test_no_cache_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "agent.look" in anew(slim.kinds_of(Plan("x", (Link("/a", "b"),)))).sources


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that `remembered_from` has made, with an empty cache at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return []


def remembered_from(made: list[Plan], *values: Any, step: Resource = Link("/a", "b")) -> Any:  # noqa: B008
    def make() -> Plan:
        made.append(Plan("x", (step,)))
        return made[-1]

    return remembered(make, *values)


def test_a_plan_is_not_made_again_from_the_same_values(made: list[Plan]):
    config = reader.load(ROOT)
    first = remembered_from(made, config.app, config.stages[0], False)
    assert remembered_from(made, config.app, config.stages[0], False) == first == prepare(made[0])
    assert len(made) == 1


def test_a_plan_is_made_again_from_other_values(made: list[Plan]):
    app = reader.load(ROOT).app
    for values in ((app, False), (app, True), (replace(app, workers=app.workers + 1), False)):
        remembered_from(made, *values)
    assert len(made) == 3


def test_a_plan_is_made_again_by_a_changed_kit(made: list[Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kit = tmp_path / "kit"
    (kit / "nginx").mkdir(parents=True)
    template = kit / "nginx" / "site.conf.j2"
    template.write_text("listen 80;")
    monkeypatch.setattr(disk_cache, "KIT", (kit,))
    remembered_from(made)
    template.write_text("listen 81;")
    os.utime(template, ns=(0, 0))  # a package may give all its files one time
    remembered_from(made)
    remembered_from(made)
    assert len(made) == 2


def test_a_plan_with_a_secret_is_not_kept(made: list[Plan], tmp_path: Path):
    step = Guarded("SSH", (File("/a", Secret("hunter2-hunter2")),))
    for _ in range(2):
        remembered_from(made, step=step)
    assert len(made) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


@pytest.mark.parametrize("broken", ["", "{}", '{"program": ""}', "[1]", "\0"])
def test_a_plan_that_was_kept_badly_is_made_again(made: list[Plan], tmp_path: Path, broken: str):
    first = remembered_from(made)
    for path in (tmp_path / "cache" / "ashore" / "look").iterdir():
        path.write_text(broken)
    slim.look.cache_clear()
    assert remembered_from(made) == first and len(made) == 2


class Asked:
    """An agent whose server is a child process here."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self.interrupted = threading.Event()
        self.make: type[Child] = Child
        link: Any = SimpleNamespace(user="root", where="root@web1", password=None, start=self.started)
        self.agent = Agent(link, lambda where: None, self.interrupted, may_install=False)

    def started(self, command: str) -> Child:
        self.children.append(self.make())
        return self.children[-1]

    def plan(self, steps: Iterable[Resource], look_first: bool = True) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        plan = Plan("x", tuple(steps))
        show: Any = events.append
        if not (look_first and self.agent.look(prepare(plan), check=True, run=RUN, on_event=show)):
            self.agent.plan(plan, check=True, run=RUN, wait=False, on_event=show)
        return [timeless(event) for event in events]

    def end(self) -> list[int]:
        self.agent.close()
        return [child.end()[0] for child in self.children]


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_drift_leads_to_the_whole_plan_on_the_same_channel_and_to_the_same_events(
    asked: Asked, true: tuple[Resource, ...], tmp_path: Path
):
    (tmp_path / "link").unlink()
    assert asked.plan(true) == Asked().plan(true, look_first=False)
    assert len(asked.children) == 1 and asked.end() == [0]


def test_after_a_look_with_nothing_to_do_the_next_request_goes_to_the_whole_agent(
    asked: Asked, true: tuple[Resource, ...]
):
    first = asked.plan(true)
    sent = asked.children[0].sent
    assert first == asked.plan(true) and asked.children[0].sent > 2 * sent
    assert len(asked.children) == 1 and asked.end() == [0]


def test_after_a_look_alone_its_process_ends(asked: Asked, true: tuple[Resource, ...]):
    asked.plan(true)
    assert asked.end() == [0]


def test_ctrl_c_during_a_look_that_finds_drift_changes_nothing(asked: Asked, tmp_path: Path):
    class Late(Child):
        def line(self) -> bytes | None:
            line = super().line()
            if line and b"whole" in line:
                asked.interrupted.set()
                asked.agent.cancel()
            return line

    asked.make = Late
    with pytest.raises(Interrupted, match="interrupted"):
        asked.plan([Link(str(tmp_path / "link"), "x")])


def test_a_bug_is_told_by_the_whole_agent_with_its_frames(asked: Asked):
    with pytest.raises(Exception, match="this is a bug") as raised:
        asked.plan([File("/etc/hosts\0", "")])
    assert "<agent.resources.files>:" in raised.value.detail and "ValueError" in raised.value.detail


def test_templates_that_the_server_completes_are_sent_as_they_are():
    """`%s` and `%u` stand for what only the server knows, so a hash would be of another text."""
    text = unsealed("nftables/apps.nft.j2", app=reader.load(ROOT).app)
    sent = json.dumps(slim.look(slim.kinds_of(provision())).plan(provision()), ensure_ascii=False)
    assert json.dumps(text, ensure_ascii=False)[1:-1] in sent


@pytest.mark.parametrize(("user", "ahead"), [("root", True), ("ci-no-such-app", False)])
def test_what_comes_next_is_sent_with_the_first_question_but_not_over_a_ci_key(asked: Asked, user: str, ahead: bool):
    """The server's side of a CI key has its own modules, and refuses others."""
    asked.agent.link.user = user
    soon = payload.expected("plan.activate")
    words = {"app": "no-such-app", "app_directory": "/srv/no-such-app", "lock": None, "wait": False}
    asked.agent.request({"request": "survey", **words, "manifest": None, "compare": False}, soon=soon)
    assert (soon <= asked.agent.modules) == ahead
    assert (asked.children[0].sent > 40_000) == ahead
    step = Service("no-such-unit.service", active=False)
    assert asked.plan([step], look_first=False) == Asked().plan([step], look_first=False)
    assert asked.end() == [0]
