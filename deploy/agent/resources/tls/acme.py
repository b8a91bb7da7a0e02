"""Certificates from an authority, after it has validated the names (ACME, by certbot)."""

import os
import re
import time
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource
from ..files import replace, text_of
from .certificates import RENEWALS, Certificate, read_certificate, trusted
from .proving import LOG, Facing, authority, explained, problem, retry_after

LIVE = "/etc/letsencrypt/live"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Issued(Resource):
    """A certificate for all `names` that browsers take, renewed by certbot's timer.

    webroot: where the names are proved. hook: the script that puts a certificate in its place. address: the server's
    own, as its operator reaches it; "" where that is not known. anew: a new one with a new key, whatever there is.
    """

    app: str
    names: tuple[str, ...]
    directory: str
    webroot: str
    hook: str
    server: str
    email: str = ""
    address: str = ""
    anew: bool = False

    @property
    def title(self) -> str:
        return f"certificate for {', '.join(self.names)}: issued"

    def check(self, system: System) -> list[Drift]:
        if self.anew:
            return [] if self in system.memory.done else [Drift("key", "old", "new")]
        found = read_certificate(f"{self.directory}/live/fullchain.pem")
        missing = self._missing(found)
        if found is None or not trusted(self.directory):
            return [Drift("certificate", "self-signed", f"from {authority(self.server)}")]
        if missing:
            return [Drift("certificate", f"not for {', '.join(missing)}", "for all names")]
        if text_of(f"{LIVE}/{self.app}/fullchain.pem") != text_of(f"{self.directory}/live/fullchain.pem"):
            return [Drift("certificate", f"from {found.issuer}", f"from {authority(self.server)}, renewed by certbot")]
        if found.ends < time.time():
            return [Drift("certificate", f"expired on {found.day}", "new")]
        if found.late:
            return [Drift("certificate", f"expires on {found.day}, not renewed", "new")]
        return []

    def _missing(self, found: Certificate | None) -> list[str]:
        return [name for name in self.names if found is None or name not in found.names]

    def apply(self, system: System) -> None:
        self._require_time(system)
        facing = Facing(self.webroot, self.address, system)
        for name in self.names:
            self._fail_if(facing.complaint(name))
        argv = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--webroot", "-w", self.webroot]
        argv += ["--cert-name", self.app, "--key-type", "ecdsa", "--elliptic-curve", "secp256r1"]
        argv += ["--server", self.server, "--deploy-hook", f"/bin/sh {self.hook}", "--renew-with-new-domains"]
        argv += ["-m", self.email] if self.email else ["--register-unsafely-without-email"]
        argv += ["--force-renewal"] if self.anew or self._stale() else ["--keep-until-expiring"]
        argv += [word for name in self.names for word in ("-d", name)]
        system.operator.progress(0, f"{authority(self.server)} validates {self.names[0]}")
        try:
            system.run(argv)
        except Failed as failed:
            kind, detail = problem(text_of(LOG) or "")
            what, hint = explained(kind, detail, failed.detail, self.names, facing.seen, self.server)
            until = retry_after(detail) if kind == "rateLimited" else ""
            if until:
                self._note(f"{until}\n")
            raise Failed(what, hint, detail or failed.detail, self._state()) from None
        with suppress(FileNotFoundError):
            os.unlink(f"{self.directory}/.not-before")
        if not self.anew and self.check(system):  # certbot had it already, and so did not call the hook
            system.run(["sh", self.hook, f"{LIVE}/{self.app}", self.app])
        system.memory.done.add(self)

    def _stale(self) -> bool:
        """Whether certbot has one that it would keep, and we know better: it has run out, or is from a test."""
        found = read_certificate(f"{LIVE}/{self.app}/fullchain.pem")
        renewal = text_of(f"{RENEWALS}/{self.app}.conf") or ""
        foreign = bool(renewal) and f"server = {self.server}\n" not in renewal
        return found is not None and (foreign or found.late)

    def _require_time(self, system: System) -> None:
        """A rate limit that the authority told us of is not tried again before its end."""
        until = (text_of(f"{self.directory}/.not-before") or "").strip()
        if until and time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) < until:
            hint = f"run `fab deploy` after {until} UTC"
            raise Failed(
                f"{authority(self.server)} accepts no more requests before {until} UTC", hint, "", self._state()
            )

    def _note(self, until: str) -> None:
        with open(f"{self.directory}/.not-before", "w", encoding="ascii") as file:
            file.write(until)

    def _fail_if(self, complaint: tuple[str, str]) -> None:
        if complaint[0]:
            raise Failed(*complaint, "", self._state())

    def _state(self) -> str:
        """How the site stands without the new certificate."""
        found = read_certificate(f"{self.directory}/live/fullchain.pem")
        if not trusted(self.directory) or found is None:
            return "the site answers over http; over https browsers warn, because its certificate is self-signed"
        if found.ends < time.time():
            return f"the site answers over https, but browsers warn: its certificate expired on {found.day}"
        return f"the site answers over https with its current certificate, valid until {found.day}"


@dataclass(frozen=True)
class NotRenewed(Resource):
    """certbot does not renew for the app: its certificate comes from elsewhere, or it has none."""

    app: str

    @property
    def title(self) -> str:
        return "certbot: no renewal for this app"

    def check(self, system: System) -> list[Drift]:
        found = os.path.exists(f"{RENEWALS}/{self.app}.conf")
        return [Drift("renewal", "by certbot", "none")] if found else []

    def apply(self, system: System) -> None:
        system.run(["certbot", "delete", "--non-interactive", "--cert-name", self.app])


@dataclass(frozen=True)
class Revoked(Resource):
    """The certificate with this serial number is revoked, because somebody else may have its key."""

    app: str
    serial: str
    server: str

    @property
    def title(self) -> str:
        return f"certificate {self.serial}: revoked"

    def check(self, system: System) -> list[Drift]:
        return [Drift("certificate", "valid", "revoked")] if self._kept() else []

    def _kept(self) -> str:
        """certbot's archive keeps what it got; those that were revoked are removed from it."""
        archive = f"/etc/letsencrypt/archive/{self.app}"
        for entry in sorted(os.listdir(archive)) if os.path.isdir(archive) else []:
            if re.fullmatch(r"cert\d+\.pem", entry):
                found = read_certificate(f"{archive}/{entry}")
                if found and found.serial == self.serial:
                    return f"{archive}/{entry}"
        return ""

    def apply(self, system: System) -> None:
        path = self._kept()
        argv = ["certbot", "revoke", "--non-interactive", "--cert-path", path, "--reason", "keycompromise"]
        system.run([*argv, "--no-delete-after-revoke", "--server", self.server])
        number = re.sub(r"\D", "", os.path.basename(path))
        for kind in ("cert", "chain", "fullchain", "privkey"):
            with suppress(FileNotFoundError):
                os.unlink(f"{os.path.dirname(path)}/{kind}{number}.pem")


@dataclass(frozen=True)
class TrustedAuthority(Resource):
    """The server trusts the CA of a private ACME server."""

    name: str
    certificate: str

    @property
    def path(self) -> str:
        return f"/usr/local/share/ca-certificates/{self.name}.crt"

    @property
    def title(self) -> str:
        return f"CA {self.path}: trusted by the server"

    def check(self, system: System) -> list[Drift]:
        known = self.certificate.strip() in (text_of(BUNDLE) or "")
        return [] if known and text_of(self.path) == self.certificate else [Drift("CA", "not trusted", "trusted")]

    def apply(self, system: System) -> None:
        replace(self.path, self.certificate.encode(), 0o644, 0, 0)
        system.run(["update-ca-certificates"])


@dataclass(frozen=True)
class Untrusted(Resource):
    """The server no longer trusts the CA of a private ACME server. name: as in `TrustedAuthority`."""

    name: str

    @property
    def title(self) -> str:
        return f"CA {self._path}: not trusted by the server"

    @property
    def _path(self) -> str:
        return TrustedAuthority(self.name, "").path

    def check(self, system: System) -> list[Drift]:
        return [Drift("CA", "trusted", "not trusted")] if os.path.exists(self._path) else []

    def apply(self, system: System) -> None:
        os.unlink(self._path)
        system.run(["update-ca-certificates"])
