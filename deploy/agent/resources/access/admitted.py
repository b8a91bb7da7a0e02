"""Checks that sshd lets a user log in by key, before a key is added for that user."""

import os

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Refused, Resource
from .logins import Settings, asked, barred, groups_of, one, responsible
from .sshd_config import SSHD_CONFIG, Login, fits, lines, logins

KEY_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


@dataclass(frozen=True)
class Admitted(Resource):
    """sshd lets a user in by the keys in this file, from anywhere or from some addresses at least.

    types: of the keys, like "ssh-ed25519". The user may not exist yet; its group will have the same name.
    """

    user: str
    keys: str
    types: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"sshd: login of {self.user} by key allowed"

    def check(self, system: System) -> list[Drift]:
        config = lines()
        groups = groups_of(self.user) or (self.user,)
        obstacles = []
        for applying, found in logins(config, [(self.user, groups)], {}).items():
            keyword, hint = self._obstacle(asked(found[0]), found[0])
            if not keyword:
                return []
            line = responsible(config, keyword, applying)
            obstacles.append((f"{line}: {line.keyword} {line.value}" if line else keyword, hint))
        said = "\n".join(dict.fromkeys(where for where, _ in obstacles))
        raise Refused(f"sshd does not let {self.user} log in, with any key", obstacles[0][1], said)

    def _obstacle(self, found: Settings, login: Login) -> tuple[str, str]:
        """(keyword, hint); ("", "") where there is none."""
        own = f"at the end of {SSHD_CONFIG}, add `Match User {self.user}` and below it"
        reload = "then `systemctl reload ssh`, and run this again"
        keyword = barred(found, login, anywhere=True)
        if keyword in ("allowusers", "allowgroups"):
            return keyword, f"add {self.user} to that line, {reload}"
        if keyword:
            return keyword, f"change that line so that it does not match {self.user}, {reload}"
        if one(found, "pubkeyauthentication", "yes") != "yes":
            return "pubkeyauthentication", f"{own} `PubkeyAuthentication yes`, {reload}"
        ways = one(found, "authenticationmethods", "any").split()
        if not {"any", "publickey"} & set(ways):
            return "authenticationmethods", f"{own} `AuthenticationMethods publickey`, {reload}"
        if self.keys not in self._read(found):
            return "authorizedkeysfile", f"{own} `AuthorizedKeysFile {self.keys}`, {reload}"
        for keyword in ("forcecommand", "chrootdirectory"):
            if one(found, keyword, "none") != "none":
                return keyword, f"{own} `{keyword} none`, {reload}"
        taken = one(found, "pubkeyacceptedalgorithms") or one(found, "pubkeyacceptedkeytypes")
        for kind in self.types:
            if taken and not any(fits(name, taken) for name in KEY_ALGORITHMS.get(kind, (kind,))):
                return "pubkeyacceptedalgorithms", f"{own} `PubkeyAcceptedAlgorithms +{kind}`, {reload}"
        return "", ""

    def _read(self, found: Settings) -> list[str]:
        """The files in which sshd looks for keys."""
        home = os.path.dirname(os.path.dirname(self.keys))
        filled = []
        for value in found.get("authorizedkeysfile", ()):
            for path in value.split():
                for mark, text in (("%h", home), ("%u", self.user), ("%%", "%")):
                    path = path.replace(mark, text)
                filled.append(os.path.normpath(os.path.join(home, path)))
        return filled
