"""Where a project's code is in its source: what Python searches for it, in a package's own words. Pure."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from .locked.document import strings, table

USUAL = ("src", "lib", "python")


def roots(project: Mapping[str, Any], read: Mapping[str, str], names: Collection[str]) -> tuple[str, ...]:
    """The directories of the source that are on the path of a project which is a package; "." is its top.

    project: its pyproject.toml. read: texts of setup.py and setup.cfg, as far as they are there.
    """
    said = [*in_project(project), *in_setup(read.get("setup.cfg", ""), read.get("setup.py", ""))]
    found = [root for path in said if (root := path.strip("/").removeprefix("./")) and has_code(root, names)]
    if not found and has_code("src", names):
        found = ["src"]
    # Its top as well: a runner and a release command are started there, and what is beside the package is found.
    return tuple(dict.fromkeys([*found, "."]))


def has_code(directory: str, names: Collection[str]) -> bool:
    return any(name.startswith(f"{directory}/") and name.endswith(".py") for name in names)


def in_project(project: Mapping[str, Any]) -> list[str]:
    """As the build backends are told it: setuptools, Poetry, Hatch, PDM, uv."""
    setuptools = table(project, "tool", "setuptools")
    found = [str(path) for name, path in table(setuptools, "package-dir").items() if not name]
    found += strings(table(setuptools, "packages", "find").get("where"))
    for each in table(project, "tool", "poetry").get("packages", []) or []:
        found += [str(each["from"])] if isinstance(each, dict) and each.get("from") else []
    wheel = table(project, "tool", "hatch", "build", "targets", "wheel")
    found += [path.rpartition("/")[0] for path in strings(wheel.get("packages")) if "/" in path]
    found += [str(source) for source in [*strings(wheel.get("sources")), *table(wheel, "sources")]]
    found += [str(table(project, "tool", "pdm", "build").get("package-dir", ""))]
    found += [str(table(project, "tool", "uv", "build-backend").get("module-root", ""))]
    return found


def in_setup(cfg: str, script: str) -> list[str]:
    found = re.findall(r"^package_dir\s*=\s*\n?\s*=\s*(\S+)", cfg, re.M)
    found += re.findall(r"^where\s*=\s*(\S+)", cfg, re.M)
    found += re.findall(r"package_dir\s*=\s*\{\s*[\"']{2}\s*:\s*[\"']([\w./-]+)[\"']", script)
    return found + re.findall(r"find_packages\(\s*(?:where\s*=\s*)?[\"']([\w./-]+)[\"']", script)
