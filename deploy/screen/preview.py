"""The text of the event `preview`, for people. Pure."""

from collections.abc import Sequence

from .events import Preview

MOST = 12  # lines of one section
VERBS = {"added": "add", "changed": "change", "removed": "remove"}


def as_text(found: Preview, commit: str, by: str, files: int, *, commits_known: bool) -> str:
    """commit, by: of the release that serves, and who made it. files: how many there are in all."""
    lines = []
    if found["since"]:
        lines.append(f"since {found['since']}" + (f", commit {commit}" if commit else "") + f", by {by}")
        lines += section("commits", found["commits"], "none" if commits_known else "not known without git")
    changes = {"added": found["files"]["added"], "changed": found["files"]["changed"]}
    changes["removed"] = found["files"]["removed"]
    named = [f"{VERBS[how]:<6} {name}" for how, names in changes.items() for name in names]
    lines += section("files", named if found["since"] else [f"all {files}"], "none")
    lines += section("packages", found["packages"], "the same")
    return "\n".join(lines)


def section(name: str, lines: Sequence[str], nothing: str) -> list[str]:
    shown = [*lines[:MOST], *([f"… and {len(lines) - MOST} more"] if len(lines) > MOST else [])]
    return [f"{name if number == 0 else '':<10}{line}" for number, line in enumerate(shown or [nothing])]


def package(name: str, old: str, new: str) -> str:
    if not old:
        return f"add    {name} {new}"
    return f"change {name} {old} → {new}" if new else f"remove {name} {old}"
