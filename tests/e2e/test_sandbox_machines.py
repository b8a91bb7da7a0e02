"""Sandboxes for real: booted, rebooted, broken, thrown away. Needs Linux and root; the first run builds the images."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import sandbox
from deploy.errors import SandboxError
from deploy.sandbox import boot, disk, image
from deploy.sandbox.lent import private_cas
from deploy.sandbox.local import Say

CHECKOUT = Path(sandbox.__file__).parents[2]
Boot = Callable[..., sandbox.Machine]


def silent(line: str) -> None:
    """Nobody listens."""


def ssh(machine: sandbox.Machine, *command: str, check: bool = True) -> str:
    """What the command prints there. Any host key will do: that it is the right one is a test of its own."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    login = ["ssh", *options, "-o", "BatchMode=yes", "-i", machine.key_file, f"{machine.user}@{machine.address}"]
    done = subprocess.run([*login, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout.strip()


def boot_id(machine: sandbox.Machine) -> str:
    return ssh(machine, "cat", "/proc/sys/kernel/random/boot_id")


def destroyed(name: str) -> None:
    with contextlib.suppress(SandboxError):
        sandbox.destroy(name)


@pytest.fixture(scope="module")
def machine() -> Iterator[sandbox.Machine]:
    """One for the tests that leave it as they found it."""
    destroyed("t-sandbox")
    yield sandbox.up("t-sandbox", say=silent)
    destroyed("t-sandbox")


@pytest.fixture
def new() -> Iterator[Boot]:
    """Boots machines that end with the test."""
    names = []

    def boot_one(name: str, release: str = "bookworm", *, snapshot: str | None = None, say: Say = silent, **more: int):
        destroyed(name)
        names.append(name)
        return sandbox.up(name, release, say=say, snapshot=snapshot, **more)

    yield boot_one
    for name in names:
        destroyed(name)


def test_a_running_machine_is_up_at_once_and_without_a_word(machine):
    said: list[str] = []
    before = boot_id(machine)
    assert sandbox.up("t-sandbox", say=said.append) == machine
    assert said == [] and boot_id(machine) == before


def test_admin_becomes_root_without_a_password(machine):
    assert ssh(machine, "sudo", "id", "-u") == "0"


def test_passwords_are_not_asked_for(machine):
    assert "passwordauthentication no" in ssh(machine, "sudo", "sshd", "-T")


def test_the_host_key_is_the_one_that_the_machine_shows(machine):
    shown = subprocess.run(
        ["ssh-keyscan", "-t", "ed25519", machine.address], capture_output=True, text=True, check=True
    ).stdout
    printed = subprocess.run(["ssh-keygen", "-lf", "-"], input=shown, capture_output=True, text=True, check=True).stdout
    assert machine.host_key in printed


def test_it_is_a_bare_server_called_by_its_name(machine):
    assert ssh(machine, "hostname") == "t-sandbox"
    assert "t-sandbox" not in ssh(machine, "cat", "/etc/hosts")
    assert ssh(machine, "dpkg-query", "-W", "nginx", "logrotate", check=False) == ""


@pytest.mark.parametrize("release", image.RELEASES)
def test_every_unit_of_a_fresh_machine_works(release, new):
    machine = new(f"t-{release}", release)
    assert ssh(machine, "systemctl", "is-system-running", "--wait") == "running"
    assert f"VERSION_CODENAME={release}" in ssh(machine, "cat", "/etc/os-release")


def test_a_machine_that_fills_its_disk_fills_its_own(new):
    machine = new("t-full", megabytes=500)
    volume = disk.STATE / "volumes" / f"{disk.read_machine('t-full').disk.upper}.img"
    assert "No space left on device" in ssh(machine, "sudo dd if=/dev/zero of=/full bs=1M count=2000 2>&1", check=False)
    assert volume.stat().st_blocks * 512 <= 500 << 20
    ssh(machine, "sudo", "rm", "/full")
    assert ssh(machine, "touch works && echo written") == "written"
    sandbox.destroy("t-full")
    assert not volume.exists() and str(volume) not in Path("/proc/mounts").read_text()


def test_packages_come_from_the_hosts_mirror(machine):
    ssh(machine, "sudo", "apt-get", "update", "-qq", "--error-on=any")
    ssh(machine, "sudo", "apt-get", "install", "-qq", "--no-install-recommends", "tree")
    assert ssh(machine, "tree", "--version").startswith("tree")


def test_the_hosts_private_cas_are_trusted(machine):
    assert "BEGIN CERTIFICATE" in ssh(machine, "cat", "/etc/ssl/certs/ca-certificates.crt")
    for name in private_cas():
        ssh(machine, "openssl", "verify", f"/usr/local/share/ca-certificates/{name}")


def test_units_may_use_systemds_sandboxing(machine):
    settings = (
        *("DynamicUser=yes", "ProtectSystem=strict", "PrivateTmp=yes", "PrivateUsers=yes", "PrivateDevices=yes"),
        *("ProtectProc=invisible", "ProcSubset=pid", "ProtectKernelTunables=yes", "RestrictNamespaces=yes"),
        *("SystemCallFilter=@system-service", "MemoryDenyWriteExecute=yes", "PrivateNetwork=yes", "StateDirectory=t"),
    )
    arguments = [word for setting in settings for word in ("-p", setting)]
    assert ssh(machine, "sudo", "systemd-run", "--quiet", "--wait", "--pipe", *arguments, "id", "-u") != "0"


def test_another_release_than_the_machine_has_is_refused(machine):
    with pytest.raises(SandboxError, match="created with Debian bookworm, not Debian trixie"):
        sandbox.up("t-sandbox", "trixie", say=silent)


def test_a_reboot_keeps_the_disk_and_the_journal(machine):
    before = boot_id(machine)
    ssh(machine, "touch", "kept")
    sandbox.reboot("t-sandbox")
    assert boot_id(machine) != before
    assert ssh(machine, "ls") == "kept"
    assert "-1" in ssh(machine, "sudo", "journalctl", "--list-boots")


def test_a_reboot_from_inside_comes_back(machine):
    before, leader = boot_id(machine), boot.leader("t-sandbox")
    ssh(machine, "sudo", "systemctl", "reboot", check=False)
    assert boot.until(lambda: boot.leader("t-sandbox") != leader, 120)
    sandbox.up("t-sandbox", say=silent)
    assert boot_id(machine) != before


def test_stopping_keeps_the_disk_and_stopping_twice_is_no_error(new):
    machine = new("t-stopped")
    ssh(machine, "touch", "kept")
    assert sandbox.down("t-stopped") is True
    assert sandbox.down("t-stopped") is False
    assert {found.name: found.state for found in sandbox.machines()}["t-stopped"] == "stopped"
    again = sandbox.up("t-stopped", say=silent)
    assert (again.address, again.host_key) == (machine.address, machine.host_key)
    assert ssh(again, "ls") == "kept"


def test_a_reset_machine_is_a_new_one_at_the_same_address(new):
    machine = new("t-reset")
    ssh(machine, "touch", "gone")
    fresh = sandbox.reset("t-reset", say=silent)
    assert fresh.address == machine.address
    assert fresh.host_key != machine.host_key
    assert ssh(fresh, "ls") == ""


def test_a_snapshot_starts_other_machines_and_they_reach_each_other(new):
    first = new("t-first")
    ssh(first, "touch", "from-the-snapshot")
    sandbox.save("t-first", "t-label")
    first = sandbox.up("t-first", say=silent)
    second = new("t-second", snapshot="t-label")
    sandbox.delete_snapshot("t-label")
    ssh(second, "touch", "of-the-second")
    assert ssh(first, "ls") == "from-the-snapshot"
    assert ssh(second, "ls").split() == ["from-the-snapshot", "of-the-second"]
    assert second.host_key != first.host_key
    assert ssh(second, "cat", "/etc/machine-id") != ssh(first, "cat", "/etc/machine-id")
    assert first.host_key in ssh(second, f"ssh-keyscan -t ed25519 {first.address} 2>/dev/null | ssh-keygen -lf -")


def test_a_power_cut_is_survived(new):
    machine = new("t-power")
    ssh(machine, "touch", "kept")
    sandbox.cut_power("t-power")
    assert ssh(sandbox.up("t-power", say=silent), "ls") == "kept"


def test_a_machine_that_ended_is_off_the_network_at_once(new):
    machine = new("t-ended")
    number = machine.address.rpartition(".")[2]
    assert Path(f"/sys/class/net/vb-ashore-{number}").exists()
    sandbox.cut_power("t-ended")
    assert not Path(f"/sys/class/net/vb-ashore-{number}").exists()


def test_a_killed_container_boots_again_and_nobody_lives_on(new):
    machine = new("t-killed")
    before = boot_id(machine)
    (group,) = boot._groups("t-killed")[:1]
    for process in (group / "box/supervisor/cgroup.procs").read_text().split():
        os.kill(int(process), signal.SIGKILL)
    assert boot.until(lambda: not boot.is_running("t-killed"), 5)
    assert boot_id(sandbox.up("t-killed", say=silent)) != before


def test_two_processes_that_want_the_same_machine_get_the_same_one(new):
    code = "from deploy import sandbox; print(sandbox.up('t-both', say=lambda line: None).host_key)"
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE) for _ in range(2)]
    keys = {process.communicate(timeout=300)[0] for process in both}
    assert keys == {f"{new_key}\n".encode() for new_key in [sandbox.up("t-both", say=silent).host_key]}
    destroyed("t-both")


def test_an_interrupted_image_build_leaves_nothing_behind(tmp_path):
    code = (
        "import pathlib, sys; from deploy.sandbox import disk, image; disk.STATE = pathlib.Path(sys.argv[1]);"
        "image.ensure('bookworm', print)"
    )
    build = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=CHECKOUT, start_new_session=True, stderr=subprocess.DEVNULL
    )
    assert boot.until(lambda: any(tmp_path.glob("images/.bookworm-*/root/var/lib/dpkg")), 120)
    os.killpg(build.pid, signal.SIGINT)
    assert build.wait(timeout=120) != 0
    assert list((tmp_path / "images").glob("*")) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@pytest.fixture
def separate_network() -> Iterator[list[str]]:
    """The words before a command that run it in a network of its own, as on another machine."""
    name = "ashore-t-net"
    subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "delete", name], check=True)


def test_the_network_comes_and_goes_whole_even_on_a_host_that_forwards_nothing(separate_network, tmp_path):
    code = (
        "import pathlib, sys; from deploy.sandbox import network; state = pathlib.Path(sys.argv[1]);"
        "getattr(network, sys.argv[2])(state)"
    )

    def network(verb: str) -> None:
        subprocess.run([*separate_network, sys.executable, "-c", code, tmp_path / "n", verb], cwd=CHECKOUT, check=True)

    def inside(*command: str) -> str:
        return subprocess.run([*separate_network, *command], capture_output=True, text=True, check=True).stdout

    # given: a host with a firewall such as Docker's
    inside(
        "nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    )
    inside("sysctl", "-qw", "net.ipv4.ip_forward=0")
    before = inside("nft", "list", "ruleset")
    # when it is brought up, twice
    network("bring_up")
    network("bring_up")
    # then there is a bridge, a way out, and two rules in the other's chain
    assert "10.76.0.1/24" in inside("ip", "address", "show", "ashore0")
    assert inside("nft", "list", "chain", "ip", "filter", "FORWARD").count("ashore sandbox") == 2
    assert inside("sysctl", "-n", "net.ipv4.ip_forward") == "1\n"
    # and when it is taken down, nothing is left of it
    network("take_down")
    assert inside("nft", "list", "ruleset") == before
    assert "ashore0" not in inside("ip", "link")
    assert inside("sysctl", "-n", "net.ipv4.ip_forward") == "0\n"
