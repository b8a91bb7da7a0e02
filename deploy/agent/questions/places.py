"""Where visitors find the apps of this server, by what their current releases record."""

import glob
import json
import os
from typing import Any

from ..resources.files import text_of
from ..resources.release.environment import layers_of


def places(homes: str = "/srv") -> list[dict[str, Any]]:
    """Of each app with a current release; shape: `plan.facts.Place`."""
    links = sorted(glob.glob(f"{homes}/*/current"))
    found = [place(os.path.basename(os.path.dirname(link)), os.path.realpath(link)) for link in links]
    return [one for one in found if one["domain"]]


def place(app: str, release: str) -> dict[str, Any]:
    try:
        said = json.loads(text_of(f"{release}/release.json") or "{}")
    except ValueError:
        said = {}
    site, static = said.get("site", {}), said.get("app", {}).get("static", ())
    path = site.get("path", "")
    return {
        "app": app,
        "domain": layers_of(release).get("kit", {}).get("DOMAIN", ""),
        "port": site.get("port", 0),
        "path": path,
        "guest_of": site.get("guest_of", ""),
        "prefixes": [f"{path.rstrip('/')}{prefix}" for prefix, _ in static],
    }
