"""The notice that drain.sh gives before a reload of Nginx: the server's script, run in a directory of its own."""

import os
import subprocess
import time
from pathlib import Path

from deploy.stack.render import render

# Stands before the real program, and looks at each of its ends whether a visitor of this second would be told.
LOOKING = """#!/bin/sh
[ {0} = sleep ] || /bin/{0} "$@"
[ -e "$DRAIN/$(date +%s)" ] || echo "{0} $*: no notice" >>"$DRAIN.missed"
"""


def drain(directory: Path) -> str:
    """Run it once; which commands left a moment without notice."""
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("rm", "sleep"):
        (programs / name).write_text(LOOKING.format(name))
        (programs / name).chmod(0o755)
    script = render("nginx/drain.sh.j2").replace("/run/ashore-drain", str(directory / "drain"))
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "DRAIN": str(directory / "drain")}
    subprocess.run(["sh", "-c", script], env=environment, check=True)
    missed = directory / "drain.missed"
    return missed.read_text() if missed.exists() else ""


def seconds(directory: Path) -> list[int]:
    return sorted(int(path.name) for path in (directory / "drain").iterdir())


def test_visitors_are_told_from_before_a_reload_until_its_old_workers_have_ended_what_they_had(tmp_path: Path):
    before = int(time.time())
    assert drain(tmp_path) == ""
    found = seconds(tmp_path)
    assert found == list(range(found[0], found[0] + 12))
    assert before - 2 <= found[0] <= time.time() - 2


def test_a_reload_right_behind_another_leaves_no_moment_without_notice(tmp_path: Path):
    drain(tmp_path)
    (tmp_path / "drain" / "1700000000").touch()  # left by a reload of long ago
    assert drain(tmp_path) == ""
    assert min(seconds(tmp_path)) >= time.time() - 60
