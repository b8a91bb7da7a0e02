"""What `fab` ends with: 0, 1, 2 for a dry run that found something, 3 for visitors who get errors, 130."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_plans import FACTS, NEW, SITE

from deploy.agent.dataclass import replace
from deploy.errors import DeployError, Interrupted, VisitorsFail
from deploy.plan.facts import Facts, Release
from deploy.session import summary as answers
from deploy.session.execute import Count

ROOT = Path(__file__).resolve().parents[1]
TASKS = """
from fabric import task
from fabric.main import program
from deploy.cli.options import ending, telling
from deploy.errors import DeployError
from deploy.session.session import Session

SESSION = Session()
program.executor_class = ending(SESSION)


@task
def look(c, state="ok", json=False, fail=False, reading=False):
    with telling(c, json, session=SESSION, reading=reading) as screen:
        for host in ("web1", "web2"):
            found = state if host == "web1" else "ok"
            screen.event(host, {"event": "step", "step": "x", "state": found, "seconds": 0, "drift": []})
        if fail:
            raise DeployError("it failed")
        open("done", "w").close()
"""
HOST: Any = SimpleNamespace(name="web1")
RELEASE = Release(NEW, SITE, {})


def ran(directory: Path, *words: str, **streams: Any) -> subprocess.CompletedProcess:
    (directory / "fabfile.py").write_text(TASKS)
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    program = Path(sys.executable).parent / "fab"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([program, *words], cwd=directory, env=environment, text=True, **streams)


def fab(directory: Path, *words: str) -> tuple[int, str]:
    made = ran(directory, *words)
    return made.returncode, made.stdout


def unread() -> int:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_dry_run_ends_with_2_where_something_would_change_on_any_host(tmp_path: Path, more: list[str]):
    assert fab(tmp_path, "look", *more)[0] == 0
    assert fab(tmp_path, "look", "--state", "would change", *more)[0] == 2


def test_the_commands_after_a_dry_run_that_found_something_are_carried_out(tmp_path: Path):
    status, out = fab(tmp_path, "look", "--state", "would change", "look")
    assert status == 2 and out.count("ok  x") == 3


def test_a_failure_counts_more_than_what_would_change(tmp_path: Path):
    assert fab(tmp_path, "look", "--state", "would change", "look", "--fail")[0] == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [([], 0), (["--state", "would change"], 2), (["--fail"], 1), (["--fail", "--json"], 1)],
)
def test_a_change_whose_output_nobody_reads_goes_on_and_ends_with_its_own_status(
    tmp_path: Path, words: list[str], status: int
):
    made = ran(tmp_path, "look", *words, stdout=unread())
    assert made.returncode == status and (tmp_path / "done").exists() == ("--fail" not in words)
    assert made.stderr == ("error: it failed\n" if "--fail" in words else "")


def test_a_status_is_true_where_nobody_reads_the_error_either(tmp_path: Path):
    writer = unread()
    assert ran(tmp_path, "look", "--fail", stdout=writer, stderr=writer).returncode == 1


def test_what_only_reads_ends_once_nobody_reads_its_output(tmp_path: Path):
    made = ran(tmp_path, "look", "--reading", stdout=unread())
    assert made.returncode == 0 and made.stderr == "" and not (tmp_path / "done").exists()


def test_a_change_behind_a_list_that_nobody_reads_is_made(tmp_path: Path):
    assert ran(tmp_path, "look", "--reading", "look", stdout=unread()).returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(("words", "status"), [([], 0), (["--reading"], 1)])
def test_a_list_that_cannot_be_written_is_no_success_and_a_change_is(tmp_path: Path, words: list[str], status: int):
    with Path("/dev/full").open("w") as full:
        made = ran(tmp_path, "look", *words, stdout=full)
    assert made.returncode == status and ("No space left on device" in made.stderr) == bool(status)


def test_json_of_one_command_is_for_all_of_the_line(tmp_path: Path):
    out = ran(tmp_path, "look", "look", "--json").stdout
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["step"] * 4


def test_each_kind_of_failure_has_its_status():
    assert [kind.status for kind in (DeployError, VisitorsFail, Interrupted)] == [1, 3, 130]


def ended(answer: str, failed: int, facts: Facts = FACTS) -> None:
    probe = {"requests": 49, "failed": failed, "first_failure": "502"}
    answers.require_well(HOST, facts, RELEASE, Count(end={"probe": probe}), answer, "nginx")


@pytest.mark.parametrize("answer", ["200", "404", "302", "401", ""])
def test_a_change_that_no_visitor_noticed_is_a_success(answer: str):
    ended(answer, 0)


@pytest.mark.parametrize("answer", ["500", "502"])
def test_a_front_page_that_fails_is_no_success(answer: str):
    with pytest.raises(VisitorsFail, match=f"http://shop.example.com/ answers {answer}") as failure:
        ended(answer, 0)
    assert failure.value.state == f"{NEW} serves" and "fab rollback" in failure.value.hint


def test_requests_that_failed_during_the_change_are_no_success():
    with pytest.raises(VisitorsFail, match=r"9 of 49 requests failed during the change \(the first: 502\)"):
        ended("200", 9)


def test_maintenance_is_meant_to_answer_503():
    ended("503", 0, replace(FACTS, maintenance=True))
    with pytest.raises(VisitorsFail):
        ended("503", 0)
