"""The preview of `fab deploy --check`: commits, files and packages since the serving release."""

from typing import Any

from ..agent import layout
from ..agent.events import Reply
from ..agent.questions.dependencies import compare
from ..config.reader import App
from ..connection.agent import Agent
from ..errors import StepFailed
from ..plan.build import UV
from ..plan.facts import Facts
from ..screen.events import Preview
from ..screen.preview import as_text, package
from ..screen.screen import Screen
from ..source.dependencies import Dependencies
from ..source.tree import SourceTree, log_since
from .session import Host


def show(screen: Screen, host: Host, facts: Facts, reply: Reply, packages: list[str], source: SourceTree) -> None:
    """reply: of the survey. packages: see `packages`."""
    commit = facts.record.get("commit", "")
    found: Preview = {
        "event": "preview",
        "host": host.name,
        "since": facts.current,
        "files": {"added": reply["added"], "changed": reply["changed"], "removed": reply["removed"]},
        "packages": packages,
    }
    if facts.current:
        found["commits"] = log_since(source, commit)
    by, known = facts.record.get("by", "?"), bool(commit and source.commit)
    screen.result(found, as_text(found, commit, by, len(source.entries), commits_known=known))


def packages(agent: Agent, app: App, facts: Facts, wanted: Dependencies, record: dict[str, Any]) -> list[str]:
    """How the packages of the new virtualenv differ from the current ones, as text. record: the new release's."""
    current, key = facts.record.get("venv", ""), record["venv"]
    if key == current:
        return []
    if wanted.recipe.resolves:
        return ["known only once the project itself is built"]
    try:
        found = agent.ask(
            compare,
            old=layout.venv(app.name, current) if current else "",
            new=layout.venv(app.name, key),
            texts=wanted.read,
            requirements=wanted.path,
            uv=UV,
            user=app.name,
            directory=f"/var/cache/ashore-check-{app.name}",
            adds=record.get("adds", ""),
            how=wanted.recipe.how,
            listing=wanted.listing,
            extras=wanted.recipe.extras,
            variables=layout.release(app.name, facts.current) if facts.current else layout.first_environment(app.name),
            python=record.get("recipe", {}).get("python", ""),
        )
    except StepFailed as error:
        last = error.detail.strip().splitlines()[-6:]
        return [f"could not be resolved: {error.what}", *last]
    return [package(*row) for row in found]
