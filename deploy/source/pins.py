"""Requirements without an exact version: another build of the same source may install other code."""

import re
from typing import Any

EXACT = re.compile(r"===?\s*[^\s*,;]+\s*$")
FIXED_URL = re.compile(r"#sha(256|384|512)=|@[0-9a-f]{40}\b")
LOCAL = re.compile(r"^(\.|/|file:)|^[^:]*\.(whl|zip|tar\.gz)$")
MOST_NAMED = 3


def unpinned(texts: dict[str, str]) -> dict[str, list[str]]:
    """Path of a requirements file → its requirements without an exact version. texts: of it and those it includes.

    A file with hashes is a lock: pip and uv then demand a hash of everything. What a constraints file pins is pinned.
    """
    lines = {path: requirements(path, text) for path, text in texts.items() if not path.endswith((".py", ".cfg"))}
    pinned = {name_of(line) for found in lines.values() for line in found if exact(line)}
    found = {}
    for path, listed in lines.items():
        if "--hash=" not in texts[path]:
            loose = [name_of(line) for line in listed if not exact(line)]
            found[path] = list(dict.fromkeys(name for name in loose if name not in pinned))
    return {path: names for path, names in found.items() if names}


def requirements(path: str, text: str) -> list[str]:
    """Each requirement on a line of its own, without options, comments and markers."""
    if path.endswith("pyproject.toml"):
        return [line.partition(";")[0].strip() for line in project_dependencies(text)]
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (re.sub(r"(^|\s)#\s.*|^#.*", "", line).strip() for line in joined.splitlines())
    bare = (re.split(r"\s+;|;\s|\s--hash", line)[0].strip() for line in lines if line and not line.startswith("-"))
    return [line for line in bare if line]


def project_dependencies(text: str) -> list[str]:
    """Of a pyproject.toml; none where it is broken, which the build will say."""
    import tomllib

    try:
        project: dict[str, Any] = tomllib.loads(text).get("project", {})
    except tomllib.TOMLDecodeError:
        return []
    listed = project.get("dependencies", [])
    return [line for line in listed if isinstance(line, str)] if isinstance(listed, list) else []


def exact(line: str) -> bool:
    url = line.partition("@")[2].strip() if re.match(r"[\w.\[\],-]+\s*@", line) else line
    if LOCAL.search(url):
        return True  # a file of the source, which the manifest's hashes pin
    return bool(FIXED_URL.search(url) if "://" in url else EXACT.search(line))


def name_of(line: str) -> str:
    found = re.match(r"[A-Za-z0-9][\w.-]*", line)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found and "://" not in line.partition("@")[0] else line


def note(texts: dict[str, str]) -> str:
    """For the operator; "" where every requirement is pinned."""
    found = unpinned(texts)
    if not found:
        return ""
    parts = []
    for path, names in found.items():
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        parts.append(f"{path} ({', '.join(names[:MOST_NAMED])}{more})")
    return (
        f"requirements without an exact version: {', '.join(parts)}. The next build may install other code. To pin"
        " them: `uv pip compile --generate-hashes FILE -o requirements.txt`, or `pip freeze > requirements.txt`"
    )
