"""sshd's configuration as it is written, and which logins it may treat differently."""

from pathlib import Path

import pytest

from deploy.agent.resources.access.logins import barred, password_keyword, passwords, responsible, settings
from deploy.agent.resources.access.sshd import may_differ
from deploy.agent.resources.access.sshd_config import Line, Login, applies, criteria, lines, logins, meets

OWN = "/etc/ssh/sshd_config.d/10-ashore.conf"
BOB, EVE = ("bob", ("bob", "sftp")), ("eve", ("eve", "sudo"))
PASSWORD = "passwordauthentication"
KEYS_ONLY = "passwordauthentication no\nkbdinteractiveauthentication no\npermitrootlogin without-password\n"


def written(directory: Path, text: str, name: str = "sshd_config") -> list[Line]:
    (directory / name).write_text(text)
    return lines(str(directory / name))


def test_lines_are_read_in_order_with_the_files_that_are_included(tmp_path: Path):
    (tmp_path / "b.conf").write_text("Match User bob\n  PasswordAuthentication=yes # why\n")
    (tmp_path / "a.conf").write_text("# comment\nPort 22\n")
    found = written(tmp_path, f'Include "{tmp_path}/*.conf"\n\nUsePAM yes\n')
    assert [(line.keyword, line.number, len(line.blocks)) for line in found] == [
        ("include", 1, 0), ("port", 2, 0), ("match", 1, 1), ("passwordauthentication", 2, 1), ("usepam", 3, 0),
    ]  # fmt: skip
    assert str(found[3]) == f"{tmp_path}/b.conf, line 2" and str(found[3].blocks[0]) == "Match User bob"


def test_a_file_that_is_included_inside_a_block_belongs_to_it(tmp_path: Path):
    (tmp_path / "more").write_text("MaxAuthTries 2\nMatch User bob\nMaxAuthTries 3\n")
    found = written(tmp_path, f"Match Group sftp\nInclude {tmp_path}/more\nMaxSessions 1\n")
    assert [[str(block) for block in line.blocks] for line in found if line.keyword.startswith("max")] == [
        ["Match Group sftp"], ["Match Group sftp", "Match User bob"], ["Match Group sftp"],
    ]  # fmt: skip


def test_criteria_are_read_in_both_spellings():
    assert criteria(["User", "bob,!eve", "Address=10.0.0.0/8"]) == (("user", "bob,!eve"), ("address", "10.0.0.0/8"))
    assert criteria(["all"]) == (("all", ""),)
    assert criteria(["Invalid-User", "LocalPort", "22"]) == (("invalid-user", ""), ("localport", "22"))


@pytest.mark.parametrize(
    ("name", "patterns", "met"),
    [
        ("user", "b?b", True), ("user", "*,!bob", False), ("user", "eve", False),
        ("group", "sftp", True), ("group", "*,!sftp", False), ("group", "wheel", False),
        ("address", "10.0.0.0/8", True), ("address", "10.0.0.0/8,!10.2.0.0/16", False), ("address", "10.2.*", True),
        ("address", "fd00::/8", False), ("localport", "22", True), ("localport", "2222", False),
        ("host", "*.Example.com", True), ("rdomain", "red", False), ("all", "", True), ("invalid-user", "", False),
    ],
)  # fmt: skip
def test_a_login_meets_a_criterion_as_sshd_would_have_it(name: str, patterns: str, met: bool):
    at = (("addr", "10.2.3.4"), ("laddr", "127.0.0.1"), ("lport", "22"), ("host", "a.example.com"), ("rdomain", ""))
    assert meets(Login(*BOB, at), name, patterns) is met


@pytest.mark.parametrize(
    "conditions",
    [
        "User bob", "Group sftp", "Address 10.0.0.0/8", "Address *,!10.0.0.0/8", "Address 10.?.*", "Address fd00::/8",
        "Host *.example.com", "LocalPort 2222", "LocalAddress 10.1.2.3", "RDomain red", "all",
        "User *,!eve Address 10.0.0.0/8,!10.0.0.1 LocalPort 2222 Host b*",
    ],
)  # fmt: skip
def test_there_is_a_login_for_every_block(tmp_path: Path, conditions: str):
    config = written(tmp_path, f"Match {conditions}\nPasswordAuthentication yes\n")
    found = logins(config, [BOB, EVE], {})
    block = config[-1].blocks
    assert any(applying == {block} and applies(login, block) for applying, all_ in found.items() for login in all_)


def test_a_network_inside_another_does_not_hide_it(tmp_path: Path):
    text = "Match Address 10.0.0.0/24\nMaxSessions 1\nMatch Address 10.0.0.0/8\nPasswordAuthentication yes\n"
    config = written(tmp_path, text)
    assert frozenset({config[-1].blocks}) in logins(config, [BOB], {})


def test_users_whom_no_block_tells_apart_are_asked_about_together(tmp_path: Path):
    config = written(tmp_path, "Match User eve\nMaxSessions 1\n")
    many = [(f"user{number}", ()) for number in range(200)]
    found = logins(config, [*many, EVE], {})
    assert sorted(len(all_) for all_ in found.values()) == [1, 200]


def test_without_a_match_sshd_need_not_be_asked(tmp_path: Path):
    ours = Line(OWN, 1, "passwordauthentication", "no")
    assert not may_differ([ours, *written(tmp_path, "PasswordAuthentication yes\n")], OWN)
    assert may_differ([*written(tmp_path, "PasswordAuthentication no\n"), ours], OWN)
    assert may_differ([ours, *written(tmp_path, "Match all\n")], OWN)


def test_users_with_a_password_are_those_whose_hash_something_fits():
    shadow = "root:*:1:\nbob:$y$j9T$x$y:1:\nold:ab01FAX.bQRSU:1:\nnone::1:\nlocked:!$y$x:1:\ndaemon:*:1:\nnew:!:1:\n"
    assert passwords(shadow) == {"root": False, "bob": False, "old": False, "none": True}


@pytest.mark.parametrize(
    ("more", "user", "empty", "keyword"),
    [
        ("", "bob", False, ""),
        ("passwordauthentication yes\n", "bob", False, "passwordauthentication"),
        ("passwordauthentication yes\n", "root", False, ""),
        ("passwordauthentication yes\npermitrootlogin yes\n", "root", False, "passwordauthentication"),
        ("kbdinteractiveauthentication yes\n", "bob", False, "kbdinteractiveauthentication"),
        ("passwordauthentication yes\n", "bob", True, ""),
        ("passwordauthentication yes\npermitemptypasswords yes\n", "bob", True, "passwordauthentication"),
        ("passwordauthentication yes\nauthenticationmethods publickey,password\n", "bob", False, ""),
        ("passwordauthentication yes\nauthenticationmethods publickey password\n", "bob", False, PASSWORD),
        ("passwordauthentication yes\nauthenticationmethods password,keyboard-interactive:pam\n", "bob", False, ""),
    ],
)  # fmt: skip
def test_what_lets_a_password_in(more: str, user: str, empty: bool, keyword: str):
    lines_of = {line.partition(" ")[0]: line for line in (KEYS_ONLY + more).splitlines()}
    assert password_keyword(settings("\n".join(lines_of.values())), user, empty) == keyword


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("", ""), ("allowusers bob", ""), ("allowusers eve", "allowusers"), ("denyusers b*", "denyusers"),
        ("allowusers eve\nallowusers bob@192.0.2.0/24", ""), ("allowusers bob@10.0.0.1", "allowusers"),
        ("allowgroups sftp", ""), ("allowgroups wheel", "allowgroups"), ("denygroups sftp", "denygroups"),
        ("denyusers bob@10.0.0.1", ""), ("refuseconnection yes", "refuseconnection"),
    ],
)  # fmt: skip
def test_who_may_not_log_in_whatever_they_show(text: str, keyword: str):
    login = Login(*BOB, (("addr", "192.0.2.1"), ("host", "host.invalid")))
    assert barred(settings(text), login) == keyword


def test_a_user_who_is_allowed_from_one_address_is_allowed_from_some():
    login = Login(*BOB, (("addr", "192.0.2.1"), ("host", "host.invalid")))
    assert barred(settings("allowusers bob@10.0.0.1"), login, anywhere=True) == ""
    assert barred(settings("denyusers bob@192.0.2.1"), login, anywhere=True) == ""


def test_the_line_that_decides_is_the_first_in_a_block_that_applies(tmp_path: Path):
    text = "UsePAM no\nMatch User eve\nUsePAM no\nMatch User bob\nUsePAM yes\nUsePAM no\n"
    config = written(tmp_path, text)
    assert responsible(config, "usepam", frozenset({config[-1].blocks})).number == 5
    assert responsible(config, "usepam", frozenset()).number == 1
    assert responsible(config, "port", frozenset()) is None
