"""What a deploy would bring, for `fab deploy --check`: commits, files and packages since the release that serves."""

from typing import Any

from ..agent import layout
from ..agent.questions.dependencies import compare
from ..config.reader import App
from ..connection.agent import Agent, Event
from ..errors import StepFailed
from ..plan.facts import Facts
from ..plan.provision import UV
from ..screen.console import Screen
from ..source.tree import Source, log_since
from .session import Host

MOST = 12


def show(screen: Screen, host: Host, facts: Facts, reply: Event, packages: list[str], source: Source) -> None:
    """reply: of the survey. packages: see `packages`."""
    found: dict[str, Any] = {"event": "preview", "host": host.name, "since": facts.current}
    lines = []
    if facts.current:
        record = facts.record
        commit = record.get("commit", "")
        lines.append(
            f"since {facts.current}" + (f", commit {commit}" if commit else "") + f", by {record.get('by', '?')}"
        )
        found["commits"] = commits = log_since(source, commit)
        lines += section("commits", commits, "none" if commit and source.commit else "not known without git")
    files = {how: reply[how] for how in ("added", "changed", "removed")}
    found["files"] = files
    words = {"added": "add", "changed": "change", "removed": "remove"}
    named = [f"{words[how]:<6} {name}" for how, names in files.items() for name in names]
    lines += section("files", named if facts.current else [f"all {len(source.entries)} of them"], "none")
    found["packages"] = packages
    lines += section("packages", packages, "the same")
    screen.result(found, "\n".join(lines))


def section(name: str, lines: list[str], nothing: str) -> list[str]:
    shown = lines[:MOST] + ([f"… and {len(lines) - MOST} more"] if len(lines) > MOST else [])
    return [f"{name if number == 0 else '':<10}{line}" for number, line in enumerate(shown or [nothing])]


def packages(agent: Agent, app: App, facts: Facts, requirements: dict[str, str], key: str) -> list[str]:
    """Packages that the new virtualenv has and the current one has not, or the other way round, in words."""
    current = facts.record.get("venv", "")
    if key == current:
        return []
    try:
        found = agent.ask(
            compare,
            old=layout.venv(app.name, current) if current else "",
            new=layout.venv(app.name, key),
            texts=requirements,
            requirements=app.requirements,
            uv=UV,
            user=app.name,
            directory=f"/var/cache/ashore-check-{app.name}",
        )
    except StepFailed as error:
        last = error.detail.strip().splitlines()[-6:]
        return [f"cannot be told before they are installed: {error.what}", *last]
    return [package(*row) for row in found]


def package(name: str, old: str, new: str) -> str:
    if not old:
        return f"add    {name} {new}"
    return f"change {name} {old} → {new}" if new else f"remove {name} {old}"
