"""What the proxy shows of itself over TLS. /srv/APP/tls/live names the directory of the certificate in use:

live → 3f09ab…/     fullchain.pem, privkey.pem (root only), trusted (a mark: browsers take this one)
self-signed/        what there is before the first, so that the proxy always starts; without the mark
"""

import calendar
import os
import re
import subprocess
import time
from typing import Any

from ...dataclass import dataclass
from ...system import ENVIRONMENT, System
from ...wire import Drift, Refused, Resource, Secret
from ..files import Link, required_ids, text_of
from ..serving.front import Front

RENEWALS = "/etc/letsencrypt/renewal"  # certbot's, a file for each certificate that it renews
SELF_SIGNED_DAYS = 3650
LOOK_SECONDS = 2
LATE_PART = 10  # of its time: 9 days of 90
OPENSSL_TIME = "%b %d %H:%M:%S %Y %Z"
SETTLE_SECONDS, STEADY_SECONDS = 1, 0.2


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. begins, ends: seconds since 1970. names: DNS names and addresses. issuer: its CA's."""

    serial: str
    issuer: str
    begins: float
    ends: float
    names: frozenset[str]

    @property
    def late(self) -> bool:
        """Whether it should have been renewed by now: certbot does so when a third of its time is left, or sooner."""
        return time.time() > self.ends - (self.ends - self.begins) / LATE_PART

    @property
    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.ends))


def read_certificate(path: str) -> Certificate | None:
    """The first certificate of a PEM file; None where there is none to be read."""
    words = [
        "-noout",
        "-serial",
        "-startdate",
        "-enddate",
        "-issuer",
        "-nameopt",
        "multiline,utf8",
        "-ext",
        "subjectAltName",
    ]
    ran = subprocess.run(["openssl", "x509", "-in", path, *words], capture_output=True, env=ENVIRONMENT)
    return certificate(ran.stdout.decode(errors="replace")) if ran.returncode == 0 else None


def certificate(text: str) -> Certificate:
    """From `openssl x509 -noout -serial -startdate -enddate -issuer -nameopt multiline -ext subjectAltName`."""
    found = dict(re.findall(r"^ *(serial|notBefore|notAfter|organizationName|commonName) *= *(.*)$", text, re.M))
    begins, ends = (calendar.timegm(time.strptime(found[key], OPENSSL_TIME)) for key in ("notBefore", "notAfter"))
    names = frozenset(re.findall(r"(?:DNS|IP Address):([^,\s]+)", text))
    issuer = found.get("organizationName") or found.get("commonName", "?")
    return Certificate(found["serial"], issuer, begins, ends, names)


def certificate_of(found: dict[str, Any]) -> Certificate:
    """From what `SSLSocket.getpeercert()` tells."""
    import ssl

    issuer = {key: value for row in found.get("issuer", ()) for key, value in row}
    names = frozenset(name for _, name in found.get("subjectAltName", ()))
    begins, ends = (ssl.cert_time_to_seconds(found[key]) for key in ("notBefore", "notAfter"))
    name = issuer.get("organizationName") or issuer.get("commonName", "?")
    return Certificate(found.get("serialNumber", ""), name, begins, ends, names)


def listing(app: str, directory: str) -> dict[str, Any] | None:
    """For `fab tls`: the certificate in use, and who renews it; None where the app has none."""
    found = read_certificate(f"{directory}/live/fullchain.pem")
    if found is None:
        return None
    renewed = os.path.exists(f"{RENEWALS}/{app}.conf")
    state = "self-signed" if not trusted(directory) else "expired" if found.ends < time.time() else ""
    return {
        "serial": found.serial,
        "issuer": found.issuer,
        "names": sorted(found.names),
        "ends": found.day,
        "state": state or ("late" if found.late else "good"),
        "renewed_by": "certbot" if renewed else "you" if trusted(directory) else "nobody",
        "not_before": (text_of(f"{directory}/.not-before") or "").strip(),
    }


@dataclass(frozen=True)
class Placeholder(Resource):
    """A certificate exists, self-signed if necessary: no proxy starts without one.

    names: that a self-signed one has, for a proxy that takes none without.
    """

    directory: str
    app: str
    names: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return "certificate: present, self-signed at first"

    def check(self, system: System) -> list[Drift]:
        live = f"{self.directory}/live"
        there = all(os.path.exists(f"{live}/{name}") for name in ("fullchain.pem", "privkey.pem"))
        if there and self.names and not trusted(self.directory):
            found = read_certificate(f"{live}/fullchain.pem")
            if not found or not found.names.issuperset(self.names):
                return [Drift("certificate", "self-signed, without names", "self-signed")]
        return [] if there else [Drift("certificate", "none", "self-signed")]

    def apply(self, system: System) -> None:
        made = f"{self.directory}/self-signed"
        os.makedirs(made, 0o750, exist_ok=True)
        os.chown(made, *required_ids("root", self.app))
        days = ["-days", str(SELF_SIGNED_DAYS), "-subj", "/CN=not yet certified"]
        if self.names:
            days += ["-addext", f"subjectAltName={','.join(f'DNS:{name}' for name in self.names)}"]
        keys = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", f"{made}/privkey.pem", "-out", f"{made}/fullchain.pem"]
        system.run(["openssl", "req", "-x509", *keys, *days, *files])
        os.chmod(f"{made}/privkey.pem", 0o600)
        os.chmod(f"{made}/fullchain.pem", 0o644)
        Link(f"{self.directory}/live", "self-signed").apply(system)


@dataclass(frozen=True)
class OwnCertificate(Resource):
    """The operator's own certificate is the one in use. hook: the script that puts one in its place.

    ended: the day on which it ran out, "" while it is good. The one in use stays in use then, since a deploy may be
    what the site needs most; but none is put in its place that browsers refuse.
    """

    directory: str
    app: str
    certificate: str
    key: Secret
    hook: str
    ended: str = ""

    @property
    def title(self) -> str:
        return "your own certificate: in use"

    def check(self, system: System) -> list[Drift]:
        live = f"{self.directory}/live"
        same = text_of(f"{live}/fullchain.pem") == self.certificate and text_of(f"{live}/privkey.pem") == self.key.value
        if same and trusted(self.directory):
            return []
        if self.ended:
            raise Refused(
                f"the certificate expired on {self.ended}",
                "replace the files set by `certificate` and `certificate_key`",
            )
        return [Drift("certificate", "another one", "yours")]

    def apply(self, system: System) -> None:
        import shutil

        brought = f"{self.directory}/.brought"  # the hook removes it, too, should we be killed meanwhile
        shutil.rmtree(brought, ignore_errors=True)
        os.mkdir(brought, 0o700)
        try:
            for name, text in (("fullchain.pem", self.certificate), ("privkey.pem", self.key.value)):
                with open(os.open(f"{brought}/{name}", os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
                    file.write(text)
            system.run(["sh", self.hook, brought, self.app], hint="the previous certificate stays in use")
        finally:
            shutil.rmtree(brought, ignore_errors=True)


def trusted(directory: str) -> bool:
    """Whether the certificate in use is one that browsers take."""
    return os.path.exists(f"{directory}/live/trusted")


@dataclass(frozen=True)
class Presented(Resource):
    """The proxy serves the certificate in use; checked with a connection to it."""

    host: str
    directory: str
    front: Front
    port: int = 443
    seconds: float = 10

    @property
    def title(self) -> str:
        return f"{self.front.title}: serves the certificate of {self.host}"

    def check(self, system: System) -> list[Drift]:
        import ssl

        from ..serving.http import tls

        try:
            with tls(("127.0.0.1", self.port), self.host, LOOK_SECONDS) as connection:
                shown = ssl.DER_cert_to_PEM_cert(connection.getpeercert(True) or b"")
        except OSError as error:
            return [Drift("handshake", error.strerror or str(error), "a certificate")]
        wanted = text_of(f"{self.directory}/live/fullchain.pem") or ""
        # Compared without white space: PEM files have their lines in many ways.
        return [] if "".join(shown.split()) in "".join(wanted.split()) else [Drift("certificate", "old", "new")]

    def apply(self, system: System) -> None:
        if self._comes(SETTLE_SECONDS, system):
            return  # a reload was in progress
        self.front.reread(system)
        self._comes(self.seconds, system)

    def _comes(self, seconds: float, system: System) -> bool:
        """Whether it is shown in time, and steadily: at a reload, old workers go on for a tenth of a second."""
        deadline = time.monotonic() + seconds
        since = None
        while time.monotonic() < deadline:
            since = None if self.check(system) else since or time.monotonic()
            if since and time.monotonic() - since > STEADY_SECONDS:
                return True
            time.sleep(0.02)
        return False
