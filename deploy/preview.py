"""What a deploy would bring, for `fab deploy --check`: commits, files and packages since the release that serves."""

from typing import Any

from . import layout
from .archive import Source, log_since
from .carry import agent_of
from .config import App
from .errors import StepFailed
from .plans import UV, Facts
from .remote import Event
from .screen import Screen
from .session import Host

MOST = 12


def show(
    screen: Screen,
    host: Host,
    app: App,
    facts: Facts,
    reply: Event,
    requirements: dict[str, str],
    venv: str,
    source: Source,
) -> None:
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
    found["packages"] = packages = dependencies(host, app, facts, requirements, venv)
    lines += section("packages", packages, "the same")
    screen.result(found, "\n".join(lines))


def section(name: str, lines: list[str], nothing: str) -> list[str]:
    shown = lines[:MOST] + ([f"… and {len(lines) - MOST} more"] if len(lines) > MOST else [])
    return [f"{name if number == 0 else '':<10}{line}" for number, line in enumerate(shown or [nothing])]


def dependencies(host: Host, app: App, facts: Facts, requirements: dict[str, str], key: str) -> list[str]:
    """Packages that the new virtualenv has and the current one has not, or the other way round, in words."""
    current = facts.record.get("venv", "")
    if key == current:
        return []
    if agent_of(host).ci:
        return ["not the same; which, an operator's `fab deploy --check` tells"]
    words = {
        "old": layout.venv(app.name, current) if current else "",
        "new": layout.venv(app.name, key),
        "texts": requirements,
        "requirements": app.requirements,
        "uv": UV,
        "user": app.name,
        "directory": f"/var/cache/ashore-check-{app.name}",
    }
    try:
        found: list[list[str]] = agent_of(host).ask("dependencies", "compare", **words)
    except StepFailed as error:
        last = error.detail.strip().splitlines()[-6:]
        return [f"cannot be told before they are installed: {error.what}", *last]
    return [dependency(*row) for row in found]


def dependency(name: str, old: str, new: str) -> str:
    if not old:
        return f"add    {name} {new}"
    return f"change {name} {old} → {new}" if new else f"remove {name} {old}"
