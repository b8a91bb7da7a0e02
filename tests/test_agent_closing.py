"""What closes a server: what the machine says, as it was captured, and what we make of it."""

import subprocess
from pathlib import Path

import pytest

from deploy.agent.operators import DAY_SECONDS, DAYS, network_of, noted
from deploy.agent.resources.access.firewall import ConnectionLimit, ports_named
from deploy.agent.resources.access.logins import settings
from deploy.agent.resources.access.sshd import image_of, rsa_bits
from deploy.agent.resources.host.swap import make, wanted_bytes, with_swap
from deploy.agent.resources.host.swap_room import file_system
from deploy.agent.system import System
from deploy.agent.wire import Failed

NOW = 1_795_260_009


def test_the_ports_that_sshd_s_configuration_names_are_found_in_all_their_spellings():
    ports = "#Port 1\nPort 2222\n  port 2223 # why\n"
    assert ports_named(f"{ports}ListenAddress 10.0.0.1:2224\nListenAddress [::1]:2225\nListenAddress ::\n") == {
        2222,
        2223,
        2224,
        2225,
    }
    assert ports_named("PortForwarding 5\nListenAddress 10.0.0.1\n") == set()


def test_sshd_s_settings_may_have_several_values():
    assert settings("port 22\nport 2222\nusepam yes\n") == {"port": {"22", "2222"}, "usepam": {"yes"}}


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
def test_the_size_of_an_rsa_key_is_read_from_its_public_half(tmp_path: Path, bits: int):
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", str(bits), "-N", "", "-f", tmp_path / "key"], check=True)
    assert rsa_bits((tmp_path / "key.pub").read_text()) == bits


def test_a_process_that_executes_itself_anew_is_told_from_one_that_goes_on():
    argv = ["sh", "-c", "echo up; read go; exec cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"  # the shell itself runs, not what was about to become it
        before = image_of(str(process.pid))
        assert before and before == image_of(str(process.pid))
        process.stdin.write(b"go\necho\n")
        process.stdin.flush()
        assert process.stdout.read(1) == b"e"
        assert image_of(str(process.pid)) not in (before, b"")
        process.stdin.close()


def test_an_operator_is_noted_once_a_day_and_forgotten_after_a_month():
    first = noted("", "203.0.113.5", NOW)
    assert first.startswith("add element inet ashore operators { 203.0.113.5 timeout 30d }; delete element")
    assert noted(first, "203.0.113.5", NOW + DAY_SECONDS - 1) == first
    second = noted(first, "203.0.113.5", NOW + DAY_SECONDS)
    assert second == first.replace(str(NOW), str(NOW + DAY_SECONDS))
    both = noted(first, "198.51.100.7", NOW + DAY_SECONDS)
    assert len(both.splitlines()) == 2
    assert "203.0.113.5" not in noted(both, "192.0.2.1", NOW + DAYS * DAY_SECONDS)


def test_an_operator_s_network_is_what_would_be_banned():
    assert "operators6 { 2001:db8:1:2:: timeout" in noted("", "2001:db8:1:2:3:4:5:6", NOW)
    assert "operators6 { fe80:: timeout" in noted("", "fe80::61:73ff:fe68:2%host0", NOW)
    for nobody in ("", "UNKNOWN", "1.2.3.4; flush ruleset"):
        assert network_of(nobody) == "" and noted("", nobody, NOW) == ""


@pytest.mark.parametrize(
    ("memory", "swap", "wanted"),
    [(480, 0, 1 << 30), (1490, 0, 1490 << 20), (1990, 0, 0), (4000, 0, 0), (480, 256, 0), (1024, 0, 1 << 30)],
)
def test_a_small_machine_without_swap_gets_as_much_as_it_has_memory(memory: int, swap: int, wanted: int):
    assert wanted_bytes(f"MemTotal:  {memory * 1024} kB\nSwapTotal:  {swap * 1024} kB\n") == wanted


def test_fstab_gets_one_line_and_keeps_the_others():
    assert with_swap("UUID=1 / ext4 defaults 0 1", "/swapfile") == (
        "UUID=1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n"
    )
    once = with_swap("", "/swapfile")
    assert with_swap(once, "/swapfile") == once
    assert with_swap("#/swapfile none swap\n", "/swapfile").count("/swapfile") == 2


def test_the_file_system_is_that_of_the_nearest_mount():
    mounts = (
        "overlay / overlay rw 0 0\n/dev/a /var ext4 rw 0 0\n/dev/b /variety btrfs rw 0 0\ntmpfs /var tmpfs rw 0 0\n"
    )
    assert file_system(mounts, "/") == "overlay"
    assert file_system(mounts, "/variety/x") == "btrfs"
    assert file_system(mounts, "/var/lib") == "tmpfs"


@pytest.mark.parametrize("whole", [False, True])
def test_a_swap_file_is_root_s_and_one_that_the_kernel_would_take(tmp_path: Path, whole: bool):
    path = tmp_path / "swapfile"
    make(System(), str(path), 4 << 20, whole=whole)
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == 4 << 20
    assert path.read_bytes()[4086:4096] == b"SWAPSPACE2"
    assert list(tmp_path.iterdir()) == [path]


def test_a_swap_file_that_cannot_be_made_leaves_nothing(tmp_path: Path):
    with pytest.raises(Failed, match="mkswap"):
        make(System(), str(tmp_path / "swapfile"), 4096, whole=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "others", "rule"),
    [
        (500, {}, "over 500"),
        (500, {"blog": 40, "wiki": 900}, "over 900"),
        (500, {"blog": 0}, "no limit"),
        (0, {"blog": 40}, "no limit"),
        (60, {"shop": 900, "blog": 40}, "over 60"),  # shop's own file, as the last run left it
    ],
)
def test_the_largest_of_the_apps_limits_of_connections_holds(tmp_path: Path, own: int, others: dict, rule: str):
    for name, number in others.items():
        (tmp_path / f"app-{name}.nft").write_text(f"# first\n# connections_per_address = {number}\ntcp accept\n")
    (tmp_path / "app-older.nft").write_text("# first\ntcp dport { 8443 } accept\n")
    limit = ConnectionLimit(f"{tmp_path}/connections.nft", "# Written.\nct count over %s drop\n", "shop", own)
    limit.apply(System())
    assert rule in (tmp_path / "connections.nft").read_text().splitlines()[1]
    assert limit.check(System()) == []
