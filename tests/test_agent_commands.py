"""A unit's text → the command beside it, and what packages would change."""

import os
import signal

import pytest

from deploy.agent.questions.dependencies import normal, pinned
from deploy.agent.resources.release import commands
from deploy.agent.resources.release.commands import KEPT_BYTES, follow, properties, service_section, transient
from deploy.agent.system import System
from deploy.agent.wire import Cancelled, Stopped

UNIT = r"""# /etc/systemd/system/shop@20260301-120405.service
# Written by Ashore

[Unit]
Description=shop, release %i
[Service]
Type=notify
User=shop
RuntimeDirectory=shop/%i
WorkingDirectory=/srv/shop/releases/%i/source
EnvironmentFile=/srv/shop/secrets.env
EnvironmentFile=/srv/shop/releases/%i/env
ExecStart=/srv/shop/releases/%i/venv/bin/gunicorn \
    --bind unix:x
; a comment
Restart=on-failure
TimeoutStopSec=40
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
CapabilityBoundingSet=
Environment=RATE=5%%

[Install]
WantedBy=multi-user.target

# /etc/systemd/system/shop@.service.d/limit.conf
[Service]
LimitAS=800M
ReadOnlyPaths=/srv/own

# /run/systemd/system/shop@20260301-120405.service.d/50-ashore-data.conf
# Written by Ashore: the data takes too much
[Service]
ReadOnlyPaths=/var/lib/%p
"""
RELEASE = "20260301-120405"


def test_all_of_the_sandbox_is_taken_over_in_order_with_the_drop_ins():
    assert properties(UNIT, RELEASE)[1::2] == [
        "User=shop",
        f"WorkingDirectory=/srv/shop/releases/{RELEASE}/source",
        "EnvironmentFile=/srv/shop/secrets.env",
        f"EnvironmentFile=/srv/shop/releases/{RELEASE}/env",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "CapabilityBoundingSet=",
        "Environment=RATE=5%%",
        "LimitAS=800M",
        "ReadOnlyPaths=/srv/own",  # but not what keeps the app from writing more data: room is made beside it
    ]


def test_what_makes_it_the_service_is_left_out():
    keys = {word.partition("=")[0] for word in properties(UNIT, RELEASE)[1::2]}
    assert not keys & {"Type", "ExecStart", "Restart", "RuntimeDirectory", "TimeoutStopSec", "WantedBy", "Description"}
    assert ("Restart", "on-failure") in service_section(UNIT)


def test_the_command_comes_last_and_the_virtualenv_first():
    argv = transient(UNIT, "shop", RELEASE, "shop-run-7.service", ["/bin/sh", "-c", "x; y"], ("--pipe",))
    assert argv[:2] == ["systemd-run", "--quiet"] and "--pipe" in argv and "--unit=shop-run-7.service" in argv
    assert argv[-4:] == ["--", "/bin/sh", "-c", "x; y"]
    assert any(word.startswith(f"Environment=PATH=/srv/shop/releases/{RELEASE}/venv/bin:") for word in argv)


def test_what_uv_resolves_is_read():
    text = "flask==3.1.3\nMarkupSafe==3.0.2 ; python_version > '3'\ncoverage[toml]==7.6\nmine @ https://example.com/m.whl\n"
    assert pinned(text) == [
        ("flask", "3.1.3"),
        ("markupsafe", "3.0.2"),
        ("coverage", "7.6"),
        ("mine", "https://example.com/m.whl"),
    ]
    assert normal("Flask_Login.x") == "flask-login-x"


def test_beside_the_service_temporary_files_are_made_anew():
    own = UNIT.replace(
        "User=shop\n",
        "User=shop\nPrivateTmp=yes\nBindPaths=-/run/shop/%i/tmp/tmp:/tmp\nTemporaryFileSystem=/tmp:size=9M\n",
    )
    found = properties(own, RELEASE)[1::2]
    assert "TemporaryFileSystem=/tmp:size=9M" in found
    assert not [word for word in found if word.startswith(("PrivateTmp", "BindPaths"))]
    older = properties(UNIT.replace("User=shop\n", "User=shop\nPrivateTmp=yes\n"), RELEASE)[1::2]
    assert "PrivateTmp=yes" in older  # a release from before that


def test_what_a_command_leaves_on_its_outputs_is_not_waited_for_and_what_it_says_is_bounded():
    said: list[str] = []
    script = "sleep 300 & echo $!; head -c 300000 /dev/zero | tr '\\0' x; echo; echo last"
    process = System().start(["sh", "-c", script])
    out, err = follow(process, lambda: None, said.append)
    os.kill(int(said[0]), signal.SIGKILL)
    assert out.endswith("\nlast\n") and len(out) <= KEPT_BYTES and err == ""
    assert said[-1] == "last" and max(len(line) for line in said) <= 2 * KEPT_BYTES


def test_whoever_looks_at_a_command_can_end_it():
    process = System().start(["sleep", "300"])

    def look() -> None:
        process.kill()
        raise Stopped

    with pytest.raises(Cancelled):
        follow(process, look)
    process.wait()


def test_a_command_that_is_only_about_to_become_a_unit_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch):
    process = System().start(["sleep", "300"])
    stopped: list[str] = []

    def stop(unit: str) -> None:
        stopped.append(unit)
        if len(stopped) == 2:  # the first time, systemd did not know it yet
            process.kill()

    monkeypatch.setattr(commands, "stop", stop)
    commands.end(process, "shop-run-1.service")
    assert process.returncode == -signal.SIGKILL and set(stopped) == {"shop-run-1.service"}


def test_what_a_command_of_the_agent_s_leaves_on_its_outputs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("deploy.agent.system.AFTER_SECONDS", 0.1)
    left = System().run(["sh", "-c", "sleep 300 & echo $!"]).strip()
    os.kill(int(left), signal.SIGKILL)
