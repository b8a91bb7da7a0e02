"""A build command in a release's source, and paths of the source that are data."""

import signal

from standing import Project, Server, in_create_app
from visiting import wait_for

SHOWS = """
@app.get("/made")
def made():
    from pathlib import Path
    return Path("made.txt").read_text() + Path("webapp/__init__.py").read_text()[:20]
"""
# npm needs to see the processors.
BUILDS = (
    "grep -q ^processor /proc/cpuinfo && echo built $(cat number.txt) > made.txt"
    r" && sed -i '1s/^/# built\\n/' webapp/__init__.py"
)


def test_what_is_built_belongs_to_its_release_and_comes_back_with_it(live: Server, project: Project):
    in_create_app(project, SHOWS)
    project.app = f'build_command = "{BUILDS}"'
    project.write_config()
    for number in (1, 2):
        (project.directory / "number.txt").write_text(f"{number}\n")
        project.commit()
        assert "build command: grep" in project.fab("deploy").out
        assert live.get("/made")[1].startswith(f"built {number}\n# built\n")
    first, second = sorted(live.run("ls", "/srv/visitors/releases").split())[-2:]
    assert live.run("cat", f"/srv/visitors/releases/{first}/source/made.txt") == "built 1\n"
    made = live.run("stat", "-c", "%U %G %a", f"/srv/visitors/releases/{second}/source/made.txt").split()
    assert made == ["root", "visitors", "640"]
    assert "nothing new: 0 changed" in project.fab("deploy").out
    project.fab("restart")
    assert live.get("/made")[1].startswith("built 2\n# built\n"), "a copy of the release has what was built"
    project.fab("rollback")
    assert live.get("/made")[1].startswith("built 1\n# built\n")
    # What the build changed is not taken for what was uploaded.
    project.app = ""
    project.write_config()
    project.commit()
    project.fab("deploy")
    assert not live.run("head", "-1", "/srv/visitors/current/source/webapp/__init__.py").startswith("# built")


def sleeps(live: Server) -> bool:
    return "sleep 1000" in live.script("pgrep -ax sleep || true")


def refused(project: Project, live: Server, command: str, more: str = "") -> str:
    """Deploy with a build that goes wrong, and what is said on stderr; the site is as it was, and nothing is left."""
    before, seen = live.current, live.run("ls", "/srv/visitors/releases")
    project.app = f'build_command = "{command}"\n{more}'
    project.write_config()
    said = project.fab("deploy", status=1).err
    assert live.release() == live.current == before
    assert live.run("ls", "/srv/visitors/releases") == seen and live.leftovers() == []
    assert f"state: {before} serves" in said or f"{before} still serves" in said or before in said
    return said


def test_a_build_that_fails_writes_elsewhere_or_never_ends_harms_nothing(live: Server, project: Project):
    project.fab("deploy")
    said = refused(project, live, "echo compiling; echo no such theme >&2; exit 3")
    assert "the build failed: `echo compiling; echo no such theme >&2; exit 3` exited with 3" in said
    assert "no such theme" in said
    for elsewhere in ("/srv/visitors/current/source/x", "/var/lib/visitors/x", "/etc/x", "/usr/local/lib/ashore/x"):
        assert "the build failed" in refused(project, live, f"touch {elsewhere}")
    said = refused(project, live, "sleep 1000", "build_seconds = 1")
    assert "did not end within 1 s and was stopped" in said and "build_seconds" in said
    assert not sleeps(live)
    said = refused(project, live, "ln -s /etc/passwd webapp/static/leak")
    assert "leads outside the source: webapp/static/leak -> /etc/passwd" in said
    assert "static names the directory webapp/static" in refused(project, live, "rm -r webapp/static")


def test_ctrl_c_ends_a_build_and_the_release(live: Server, project: Project):
    project.fab("deploy")
    before = live.current
    project.app = 'build_command = "echo begun; sleep 1000"'
    project.write_config()
    process = project.start("deploy")
    wait_for(lambda: sleeps(live), "the build")
    process.send_signal(signal.SIGINT)
    process.ended()
    assert process.returncode == 130 and live.current == before and live.leftovers() == []
    assert not sleeps(live)


WRITES = """
@app.get("/write")
def write():
    with open("notes/today.txt", "a") as file:
        file.write("x")
    with open("notes/today.txt") as file:
        return file.read()
"""


def test_data_in_the_source_begins_with_what_is_uploaded_and_outlives_releases(live: Server, project: Project):
    in_create_app(project, WRITES)
    (project.directory / "notes").mkdir()
    (project.directory / "notes/today.txt").write_text("begun ")
    project.commit()
    project.fab("deploy")
    assert live.get("/write")[0] == 500
    hint = 'to keep notes as its data: writable = ["notes"]'
    assert hint in project.fab("logs").text
    project.app = 'writable = ["notes"]'
    project.write_config()
    project.fab("deploy")
    assert [live.get("/write")[1], live.get("/write")[1]] == ["begun x", "begun xx"]
    (project.directory / "notes/today.txt").write_text("changed ")
    project.commit()
    project.fab("deploy")
    assert live.get("/write")[1] == "begun xxx"
    assert live.run("cat", "/var/lib/visitors/notes/today.txt") == "begun xxx"
    assert project.fab("run", "cat notes/today.txt").out == "begun xxx"
    live.run("rm", "-r", "/var/lib/visitors/notes")
    assert "1 changed" in project.fab("deploy").out, "the directory is made anew"
    assert live.get("/write")[1] == "changed x"
