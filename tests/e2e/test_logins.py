"""Who gets in by SSH in spite of what the kit says, by the configuration of somebody else: found before it is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from paramiko import AuthenticationException, AutoAddPolicy, SSHClient
from standing import Project, Server, serving

OTHERS = "/etc/ssh/sshd_config.d/60-others.conf"
EARLIER = "/etc/ssh/sshd_config.d/05-earlier.conf"
RESTART = "systemctl reset-failed ssh; systemctl restart ssh"
USERS = """
for user in bob eve; do useradd -m -s /bin/sh $user; done
echo bob:tide | chpasswd
groupadd -f swimmers; usermod -aG swimmers bob
"""


@pytest.fixture(scope="module")
def server(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A closed server with a user bob, whose password is "tide", and a user eve, who has none."""
    with serving("logins", snapshot, tmp_path_factory) as made:
        Server(made).script(USERS)
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Iterator[Project]:
    yield Project(tmp_path / "project", server.machine)
    server.script(f"rm -f {OTHERS} {EARLIER}; {RESTART}")


def says(server: Server, text: str, path: str = OTHERS) -> None:
    """Another file of sshd's configuration, which the sshd that runs has read: a reload would not wait for that."""
    server.script(f"printf '{text}' > {path}; sshd -t; {RESTART}")


def password_lets_in(server: Server, user: str, password: str) -> bool:
    client = SSHClient()
    client.set_missing_host_key_policy(AutoAddPolicy())
    only = {"allow_agent": False, "look_for_keys": False}
    try:
        client.connect(server.machine.address, username=user, password=password, timeout=10, **only)
        return True
    except AuthenticationException:
        return False
    finally:
        client.close()


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ("User bob", "users: bob"),
        ("Group swimmers", "users: bob"),
        ("User *,!admin Address 10.0.0.0/8,!10.76.99.0/24", "users: bob"),
        ("LocalPort 22", "users: bob"),
        ("all", "users: bob"),
    ],
)
def test_a_password_that_a_match_block_lets_in_is_found_by_every_provision(
    server: Server, project: Project, conditions: str, said: str
):
    assert not password_lets_in(server, "bob", "tide")
    says(server, f"MaxAuthTries 6\\nMatch {conditions}\\n  PasswordAuthentication yes\\n")
    assert password_lets_in(server, "bob", "tide")
    before = server.state()
    ran = project.fab("provision", status=1)
    assert "sshd accepts logins with only a password" in ran.err and said in ran.err
    assert f"{OTHERS}, line 3: passwordauthentication yes, in `Match {conditions}`" in ran.err
    assert "nothing was changed" in ran.err and "AuthenticationMethods publickey" in ran.err
    assert server.state() == before


def test_root_s_login_by_password_is_found_before_root_has_one(server: Server, project: Project):
    says(server, "Match Address *\\n  PermitRootLogin yes\\n  PasswordAuthentication yes\\n")
    assert "(users: root, bob)" in project.fab("provision", status=1).err


@pytest.mark.parametrize(
    "block",
    [
        "Match User eve\\n  PasswordAuthentication yes\\n",  # she has no password
        "Match User bob\\n  PasswordAuthentication yes\\n  AuthenticationMethods publickey,password\\n",
        "Match User bob\\n  PasswordAuthentication yes\\n  DenyUsers bob\\n",
        "Match User bob\\n  PasswordAuthentication no\\nMatch Group swimmers\\n  PasswordAuthentication yes\\n",
        "Match Group swimmers\\n  PermitRootLogin yes\\n",
    ],
    ids=["no password", "with a key", "denied", "an earlier block", "keys only"],
)
def test_a_match_block_that_lets_no_password_in_is_accepted(server: Server, project: Project, block: str):
    says(server, block)
    project.fab("provision")
    assert not password_lets_in(server, "bob", "tide")
    ran = project.fab("provision")
    assert "0 changed" in ran.out


def test_a_file_that_sshd_reads_before_the_kit_s_is_found_after_a_restart_too(server: Server, project: Project):
    says(server, "PasswordAuthentication yes\\n", EARLIER)
    assert password_lets_in(server, "bob", "tide")
    ran = project.fab("provision", status=1)
    assert f"{EARLIER}, line 1: passwordauthentication yes (users: bob)" in ran.err
    server.script("passwd -q -d bob")
    assert "sshd would use passwordauthentication yes" in project.fab("provision", status=1).err
    server.script("echo bob:tide | chpasswd")


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("AllowUsers admin\\n", "line 1: allowusers admin", "add ci-visitors to that line"),
        ("AllowGroups admin\\n", "line 1: allowgroups admin", "add ci-visitors to that line"),
        ("DenyUsers ci-*\\n", "line 1: denyusers ci-*", "does not match ci-visitors"),
        ("DenyGroups ci-*\\n", "line 1: denygroups ci-*", "does not match ci-visitors"),
        ("Match User *,!admin\\n  PubkeyAuthentication no\\n", "line 2: pubkeyauth", "PubkeyAuthentication yes"),
        ("Match User *,!admin\\n  AllowUsers admin\\n", "line 2: allowusers admin", "add ci-visitors to that line"),
        ("Match User *,!admin\\n  AuthorizedKeysFile /etc/keys/%%u\\n", "line 2: auth", "AuthorizedKeysFile /var/lib/"),
        ("Match User ci-*\\n  AuthenticationMethods publickey,password\\n", "line 2: authe", "Methods publickey`"),
        ("Match User ci-*\\n  ForceCommand internal-sftp\\n", "line 2: forcecommand internal", "forcecommand none"),
        ("Match User ci-*\\n  PubkeyAcceptedAlgorithms ssh-rsa\\n", "line 2: pubkeyacc", "Algorithms +ssh-ed25519"),
    ],
)
def test_a_ci_key_that_would_not_get_in_is_refused_with_what_is_in_the_way(
    server: Server, project: Project, text: str, said: str, hint: str
):
    says(server, text)
    before = server.state()
    ran = project.fab("ci.key", status=1)
    assert "sshd does not let ci-visitors log in" in ran.err and f"{OTHERS}, {said}" in ran.err, ran.err
    assert hint in ran.err and "nothing was changed" in ran.err
    assert server.state() == before


@pytest.mark.parametrize(
    "text",
    [
        "AllowUsers admin ci-visitors\\n",
        "AllowUsers admin *@10.76.*\\n",
        "AuthorizedKeysFile .ssh/authorized_keys /etc/keys/%%u\\nAllowGroups admin ci-*\\n",
        "PubkeyAuthentication no\\nMatch User admin,ci-visitors\\n  PubkeyAuthentication yes\\n",
    ],
)
def test_a_ci_key_that_gets_in_is_told_so_and_does(server: Server, project: Project, text: str):
    says(server, text)
    assert "1 CI key" in project.fab("ci.key").out
    private = project.home / ".ssh" / "ashore-ci-visitors-production"
    ran = project.fab("-i", str(private), "-H", f"ci-visitors@{server.machine.address}", "releases")
    assert "current" in ran.out
    assert "no CI keys" in project.fab("ci.key", "--revoke", "all").out


def test_looking_at_match_blocks_costs_little(server: Server, project: Project):
    says(server, "Match User eve\\n  PasswordAuthentication yes\\nMatch Address 10.0.0.0/8\\n  MaxAuthTries 5\\n")
    project.fab("provision")
    steps = [event for event in project.fab("provision", "--json").events if event["event"] == "step"]
    looked = next(step["seconds"] for step in steps if step["step"] == "SSH: login by key only")
    assert looked < 10  # one `sshd -T` for each user and block would be minutes
