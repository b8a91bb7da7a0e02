"""Who can log in by SSH, and how: asks sshd itself about each kind of login that its config distinguishes."""

import os
import subprocess

from ...system import ENVIRONMENT, ssh_connection
from ...wire import Failed, Refused
from ..files import text_of
from .sshd_config import SSHD_CONFIG, Chain, Line, Login, fits, glob_fits, lines, logins, words

SSHD = "/usr/sbin/sshd"
BY_PASSWORD = {"password": "passwordauthentication", "keyboard-interactive": "kbdinteractiveauthentication"}
Settings = dict[str, set[str]]


def settings(text: str) -> Settings:
    """Map keyword to its values, from `sshd -T`: a line each."""
    found: Settings = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, set()).add(value)
    return found


def asked(login: Login, first: str = "") -> Settings:
    """sshd's effective settings for a login. first: text that takes precedence over all files."""
    told = f"{first}\nInclude {SSHD_CONFIG}\n" if first else ""
    argv = [SSHD, "-T", *(["-f", "/dev/stdin"] if told else []), "-C", login.specification]
    ran = subprocess.run(argv, input=told.encode(), capture_output=True, env=ENVIRONMENT)
    if ran.returncode:
        detail = ran.stderr.decode(errors="replace").strip()
        raise Failed("sshd does not accept its configuration", "fix the line in sshd's message, then run again", detail)
    return settings(ran.stdout.decode(errors="replace"))


def one(found: Settings, keyword: str, default: str = "") -> str:
    return next(iter(found.get(keyword, {default})))


def own_connection() -> dict[str, str]:
    address, port = ssh_connection()
    return {"addr": address, "host": address, "lport": str(port)} if address else {}


def groups_of(user: str) -> tuple[str, ...]:
    """() for an unknown user."""
    import grp
    import pwd

    try:
        numbers = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return ()
    found = []
    for number in numbers:
        try:
            found.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue  # a number that no group has
    return tuple(found)


def passwords(shadow: str) -> dict[str, bool]:
    """Users with a password, from /etc/shadow → whether it is empty; and root, who may get one."""
    found = {"root": False}
    for line in shadow.splitlines():
        name, _, rest = line.partition(":")
        stored = rest.partition(":")[0]
        if stored == "" or stored.startswith(("$", "_")) or len(stored) == 13:
            found[name] = stored == ""
    return found


def password_keyword(found: Settings, user: str, empty: bool) -> str:
    """The keyword that lets this user log in with only a password; "" if none does."""
    if user == "root" and one(found, "permitrootlogin") != "yes":
        return ""
    if empty and one(found, "permitemptypasswords") != "yes":
        return ""
    for way in one(found, "authenticationmethods", "any").split():
        methods = set(BY_PASSWORD) if way == "any" else {part.partition(":")[0] for part in way.split(",")}
        if not methods <= {*BY_PASSWORD, "none"}:
            continue  # it asks for a key, too
        on = [keyword for method, keyword in BY_PASSWORD.items() if method in methods and one(found, keyword) == "yes"]
        if on and (way == "any" or len(on) == len(methods - {"none"})):
            return on[0]
    return ""


def barred(found: Settings, login: Login, anywhere: bool = False) -> str:
    """The keyword that blocks a user's logins; "" if none does.

    anywhere: AllowUsers for one address only counts as allowed, and DenyUsers for one only does not bar.
    """

    def named(keyword: str) -> bool:
        return any(
            names(pattern, login, keyword, anywhere) for value in found.get(keyword, ()) for pattern in words(value)
        )

    def grouped(keyword: str) -> bool:
        patterns = [pattern for value in found.get(keyword, ()) for pattern in words(value)]
        return any(fits(group, ",".join(patterns)) for group in login.groups)

    if named("denyusers") or (found.get("allowusers") and not named("allowusers")):
        return "denyusers" if named("denyusers") else "allowusers"
    if grouped("denygroups") or (found.get("allowgroups") and not grouped("allowgroups")):
        return "denygroups" if grouped("denygroups") else "allowgroups"
    return "refuseconnection" if one(found, "refuseconnection", "no") == "yes" else ""


def names(pattern: str, login: Login, keyword: str, anywhere: bool) -> bool:
    """Whether USER or USER@HOST of AllowUsers or DenyUsers is this login."""
    from .sshd_config import address_fits

    user, at, host = pattern.partition("@")
    if not glob_fits(login.user, user):
        return False
    if not at or host == "*":
        return True
    if anywhere:
        return keyword == "allowusers"
    where = dict(login.at)
    return address_fits(where["addr"], host) or fits(where["host"].lower(), host.lower())


def responsible(config: list[Line], keyword: str, applying: frozenset[Chain]) -> Line | None:
    """The line that decides: the first in a block that applies, else the first outside of blocks."""
    saying = [line for line in config if line.keyword == keyword]
    if keyword == "kbdinteractiveauthentication":  # its older name
        saying = [line for line in config if line.keyword in (keyword, "challengeresponseauthentication")]
    inside = [line for line in saying if line.blocks in applying]
    return next(iter([*inside, *(line for line in saying if not line.blocks)]), None)


def by_password(first: str = "") -> list[str]:
    """Logins that need only a password, as text: users and line. first: see `asked`."""
    config = lines()
    empty = passwords(text_of("/etc/shadow") or "")
    users = [(name, groups_of(name)) for name in empty]
    said: dict[str, list[str]] = {}
    for applying, found in logins(config, users, own_connection()).items():
        came_to = asked(found[0], first)
        for login in found:
            keyword = password_keyword(came_to, login.user, empty[login.user])
            if keyword and not barred(came_to, login):
                line = responsible(config, keyword, applying)
                block = f", in `{line.blocks[-1]}`" if line and line.blocks else ""
                how = f"{line}: {keyword} yes{block}" if line else f"{keyword} yes, sshd's default"
                said.setdefault(how, []).append(login.user)
    return [f"{how} (users: {', '.join(dict.fromkeys(who))})" for how, who in said.items()]


def require_keys_only(path: str, first: str = "") -> None:
    """Refused if a login needs only a password, despite our file at `path`."""
    if said := by_password(first):
        raise Refused(
            "sshd accepts logins with only a password, despite " + path,
            "remove the line, or add `AuthenticationMethods publickey` to its block, reload sshd, then run again;\n"
            "or lock a password that is not needed: `passwd -l USER`",
            "\n".join(said),
        )
