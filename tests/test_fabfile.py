"""`fab`, as typed, where no server is needed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from asking import CTRL_D, answered

from deploy.cli import namespace
from deploy.cli.misuse import typed
from deploy.cli.options import stage_names

ROOT = Path(__file__).resolve().parents[1]
FAB = Path(sys.executable).parent / "fab"
GOOD = '[app]\nname = "shop"\nwsgi = "shop:app"\n[stages.production]\nhosts = ["me@127.0.0.1:1"]\n'


def fab(directory: Path, *words: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.CompletedProcess:
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "COLUMNS": "200"}
    ran = subprocess.run(
        [FAB, "-r", ROOT, *words],
        cwd=directory,
        env=environment,
        stdin=stdin,
        capture_output=True,
        text=True,
        start_new_session=True,  # without a terminal, which a password could be asked at
    )
    assert "Traceback" not in ran.stderr
    return ran


def in_four_parts(text: str) -> dict[str, str]:
    """The lines of an error by their labels, all of which are there."""
    lines = text[text.index("error: ") :].splitlines()
    parts = {
        label: line[7:] for line in lines if (label := line[:7].strip()) in ("error:", "where:", "state:", "hint:")
    }
    assert [*parts] == ["error:", "where:", "state:", "hint:"] and all(parts.values()), text
    return parts


def test_list_names_every_command_with_what_it_is_for(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    text = fab(tmp_path, "--list").stdout
    assert text.startswith("Ashore takes a Python web app from localhost to a live server.")
    assert json.loads(fab(tmp_path, "--list", "--list-format=json").stdout)
    for name in ("provision", "deploy", "logs", "production", "sandbox.up (sandbox)", "sandbox.down", "sandbox.list"):
        assert re.search(rf"^  {re.escape(name)} +\w.{{20,}}", text, re.M), f"{name}\n{text}"


@pytest.mark.parametrize("stream", [0, 1])
def test_a_closed_stream_is_an_empty_one(tmp_path: Path, stream: int):
    words = [FAB, "-r", ROOT, "deploy"]
    ran = subprocess.run(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(stream))
    assert ran.returncode == 1 and ran.stderr.startswith("error: there is no deploy.toml here")


def test_a_list_of_commands_that_nobody_reads_is_no_failure(tmp_path: Path):
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run([FAB, "-r", ROOT, "--list"], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("words", [("--list",), ("--help", "deploy"), ("explain", "workers")])
def test_output_that_cannot_be_written_is_told(tmp_path: Path, words: tuple[str, ...]):
    with open("/dev/full", "w") as full:
        ran = subprocess.run([FAB, "-r", ROOT, *words], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 1
    assert in_four_parts(ran.stderr)["error:"] == "the output cannot be written: No space left on device"


@pytest.mark.parametrize("words", [("explain",), ("explain", "workers", "--json"), ("--list",)])
def test_a_command_that_succeeds_has_said_all_of_it_at_its_end(tmp_path: Path, words: tuple[str, ...]):
    """Also to a pipe, which Python writes to only when there is much, or at its end."""
    whole = fab(tmp_path, *words)
    assert whole.returncode == 0 and whole.stdout.endswith("\n") and len(whole.stdout) > 100


@pytest.mark.parametrize("verb", ["provision", "deploy", "logs"])
def test_without_a_config_each_verb_says_so_and_fails(tmp_path: Path, verb: str):
    ran = fab(tmp_path, verb)
    assert ran.returncode == 1
    assert in_four_parts(ran.stderr)["error:"] == "there is no deploy.toml here"


def test_a_broken_config_is_told_with_its_line_even_when_a_stage_is_named(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD + "[stages.staging]\nhosts = ]\n")
    ran = fab(tmp_path, "staging", "deploy")
    told = in_four_parts(ran.stderr)
    assert ran.returncode == 1 and "deploy.toml is not TOML" in told["error:"] and "at line 7" in told["error:"]
    assert fab(tmp_path, "--list").returncode == 0


def test_no_requirements_file_is_told_with_what_to_do(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    (tmp_path / "shop.py").write_text("app = 1\n")
    ran = fab(tmp_path, "deploy")
    assert "requirements.txt" in ran.stderr and "pip freeze" in ran.stderr and "nothing was changed" in ran.stderr


def test_an_error_with_json_is_one_event(tmp_path: Path):
    ran = fab(tmp_path, "deploy", "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["event"] == "error"


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ("deplyo", "there is no command deplyo", "did you mean deploy?"),
        ("stagin deploy", "there is no command stagin", "did you mean staging?"),
        ("env.st X", "there is no command env.st", "did you mean env.set?"),
        ("deploy --chek", "deploy has no option --chek", "did you mean --check?"),
        ("maintenance", "maintenance needs 'state'", "fab --help maintenance"),
        ("logs -n", "the option -n needs a value", "fab --help logs"),
        ("logs -n many", "'many' is not a whole number", "fab --list"),
        ("history -n -5", "-5", "-n 0 shows all"),
        ("explain tsl", "there is no key tsl in deploy.toml", "did you mean tls?"),
        ("explain health path", "explain takes one key, and path is not a command", "fab --help explain"),
        ("rollback yesterday", "there is no command yesterday", "fab --help rollback"),
        ("sandbox --disk 1", "a disk of 1 MB is too small", "at least 500"),
        ("sandbox --name No", "'No' is not a valid sandbox name", "of a-z, 0-9 and -"),
        ("maintenance maybe", "maintenance takes on or off, not maybe", "fab maintenance on"),
        ("-h depoy", "there is no command depoy", "did you mean deploy?"),
        ("--list sandbx", "there is no group of commands sandbx", "did you mean sandbox?"),
        ("--list -F bogus", "--list-format takes flat, nested or json, not bogus", "nested"),
        ("deploy -- x", 'arguments after "--" are not supported', "fab run"),
        ("-S /nope deploy", "/nope cannot be read: No such file", "-S is the SSH config file"),
        ("-f fabric.txt deploy", "a config file of SSH or Fabric cannot be read", "-f the Fabric config file"),
        ("--prompt-for-sudo-password deploy", "--prompt-for-sudo-password: nothing was typed", "at a terminal"),
        ("--prompt-for-login-password deploy", "--prompt-for-login-password: nothing was typed", "at a terminal"),
        ("-H root@shop:abc releases", "-H should be user@host, user@host:port", "separate several hosts with commas"),
        ("env.set", "env.set needs a name or a file", "fab env.set NAME asks"),
        ("env.set FOO hunter2", "env.set takes one name, in capital letters, and no value", "asks for the value"),
        ("env.set --file /tmp", "/tmp cannot be read: Is a directory", "NAME=value"),
        ("env.set --file ~nobody-here/x", "there is no home directory ~nobody-here", "write the absolute path"),
        ("ci.key --public ~nobody-here/x", "there is no home directory ~nobody-here", "write the absolute path"),
    ],
)
def test_a_wrong_command_line_is_told_in_four_parts_with_the_nearest_name(
    tmp_path: Path, words: str, what: str, hint: str
):
    (tmp_path / "deploy.toml").write_text(GOOD + '[stages.staging]\nhosts = ["me@127.0.0.1:1"]\n')
    ran = fab(tmp_path, *words.split())
    told = in_four_parts(ran.stderr)
    assert ran.returncode == 1 and what in told["error:"] and hint in told["hint:"]
    assert told["state:"] == "nothing was changed" and "hunter2" not in ran.stderr


def test_a_key_is_explained_where_there_is_no_config_and_in_one_that_is_broken(tmp_path: Path):
    for text in ("", "[app\n"):
        if text:
            (tmp_path / "deploy.toml").write_text(text)
        for words in (["tls"], ["stages.production.tls"], []):
            ran = fab(tmp_path, "explain", *words)
            assert ran.returncode == 0 and ran.stderr == "" and "certificate" in ran.stdout
            assert ("has an error: deploy.toml is not TOML" in ran.stdout) == bool(text)
    (event,) = (json.loads(line) for line in fab(tmp_path, "explain", "--json", "app.workers").stdout.splitlines()[:-1])
    assert (event["key"], event["default"], event["now"]) == ("workers", 0, {})


@pytest.mark.parametrize("name", sorted({name.partition(".")[0] for name in namespace.task_names} - {*stage_names()}))
def test_a_stage_with_the_name_of_a_command_is_told_by_what_reads_the_file(tmp_path: Path, name: str):
    (tmp_path / "deploy.toml").write_text(GOOD.replace("production", name))
    told = in_four_parts(fab(tmp_path, "releases").stderr)
    assert told["error:"].startswith(f"'{name}' cannot be the name of a stage") and told["where:"].endswith("line 4")
    assert f"Work on the stage {name}" not in fab(tmp_path, "--list").stdout


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("maintenance maybe", "fab maintenance maybe"),
        ("-H root@web1 staging deploy --wait", "fab -H root@web1 staging deploy --wait"),
        ("env.set TOKEN", "fab env.set TOKEN"),
        ("env.set TOKEN tide", "fab env.set TOKEN …"),
        ("staging env.set TOKEN=tide --wait", "fab staging env.set …"),
        ("run mysql -ptide", "fab run …"),
        ("deploy -- tide", "fab deploy -- …"),
    ],
)
def test_an_error_shows_the_command_line_without_what_may_be_secret(words: str, shown: str):
    assert typed(words.split()) == shown


@pytest.mark.parametrize("line", ["Port abc", "ProxyJump jump:abc"])
def test_a_port_of_ssh_s_configuration_that_is_no_number_is_told(tmp_path: Path, line: str):
    (tmp_path / "deploy.toml").write_text(GOOD.replace("me@127.0.0.1:1", "me@web1"))
    (tmp_path / "ssh_config").write_text(f"Host web1\n  {line}\n")
    told = in_four_parts(fab(tmp_path, "-S", "ssh_config", "releases").stderr)
    assert "an invalid port for me@web1" in told["error:"] and "ssh -G me@web1" in told["hint:"]


def test_what_is_piped_in_for_a_variable_is_text(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    (tmp_path / "value").write_bytes(b"\xff")
    with (tmp_path / "value").open("rb") as value:
        ran = fab(tmp_path, "env.set", "FOO", stdin=value)
    told = in_four_parts(ran.stderr)
    assert ran.returncode == 1 and told["error:"].endswith("is not UTF-8 text")
    assert told["state:"] == "nothing was changed"


def test_ctrl_d_where_a_variable_is_asked_for_is_an_error(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    words = [str(FAB), "-r", str(ROOT), "env.set", "FOO"]
    status, said = answered(words, tmp_path, "FOO: ", CTRL_D, HOME=str(tmp_path))
    assert status == 1
    told = in_four_parts(re.sub(r"\x1b\[[\d;]*m", "", said))
    assert told["error:"] == "no value of FOO was typed" and told["state:"] == "nothing was changed"


def test_one_json_on_the_command_line_is_for_all_of_its_commands(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD + "[stages.staging]\nhosts = [\n")
    ran = fab(tmp_path, "-H", "root@127.0.0.1:1", "staging", "deploy", "--json")
    assert ran.returncode == 1 and ran.stderr == ""
    assert "is not TOML" in json.loads(ran.stdout)["what"]


def test_the_commands_without_json_are_documented(tmp_path: Path):
    program = "import fabfile; print(*(name for name in fabfile.ns.task_names if 'json' not in arguments(name)))"
    arguments = "arguments = lambda name: [argument.name for argument in fabfile.ns[name].get_arguments()]"
    words = [sys.executable, "-c", program.replace("fabfile; ", f"fabfile; {arguments}; ", 1)]
    ran = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    without = set(ran.stdout.split())  # in a directory without deploy.toml, no stage is a command
    text = (ROOT / "docs" / "json.md").read_text("utf-8").partition("`--json`; ")[2].partition(". ")[0]
    assert without == set(re.findall(r"`([a-z.]+)`", text)), text


@pytest.mark.parametrize("option", ["-R", "--dry"])
@pytest.mark.parametrize("command", ["restart", "deploy", "env.list", "sandbox.reset", "ci.key"])
def test_fabric_s_dry_run_is_refused_since_it_would_not_be_one(tmp_path: Path, option: str, command: str):
    (tmp_path / "deploy.toml").write_text(GOOD)
    ran = fab(tmp_path, option, command)
    told = in_four_parts(ran.stderr)
    assert ran.returncode == 1 and "Fabric's dry run" in told["error:"] and "--check" in told["hint:"]
    assert told["state:"] == "nothing was changed"


LOADED = re.compile(r"^import time: .* \|.* (\S+)$")


@pytest.mark.parametrize(
    "module",
    [
        "deploy.errors",
        "deploy.config.values",
        "deploy.session.execute",
        "deploy.session.operation",
        "deploy.plan.decide",
    ],
)
def test_ctrl_c_while_the_kit_is_loaded_ends_with_one_line(tmp_path: Path, module: str):
    """From the first line of the fabfile on; before that, Python is loading Fabric."""
    silent = socket.create_server(("127.0.0.1", 0))  # so that it is still connecting by then
    (tmp_path / "deploy.toml").write_text(GOOD.replace(":1", f":{silent.getsockname()[1]}"))
    (tmp_path / "requirements.txt").write_text("gunicorn\n")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPROFILEIMPORTTIME": "1"}
    process = subprocess.Popen(
        [FAB, "-r", ROOT, "deploy"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as at a terminal
    )
    assert process.stderr
    said, ours = [], False
    for line in process.stderr:
        loaded = LOADED.match(line.rstrip())
        if not loaded:
            said.append(line)
        elif loaded[1] == "package":  # the head of the table
            continue
        elif loaded[1] == module:
            process.send_signal(signal.SIGINT)
            ours = True
    assert ours and process.wait(30) == 130, said
    assert "".join(said).startswith(("interrupted: nothing was changed\n", "error: interrupted\nstate: nothing")), said
    assert "Traceback" not in "".join(said)


def test_a_command_s_options_are_explained(tmp_path: Path):
    text = fab(tmp_path, "--help", "logs").stdout
    for option in ("-f, --follow", "-n", "--since", "--release", "--nginx", "--json"):
        assert option in text
