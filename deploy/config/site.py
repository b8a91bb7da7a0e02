"""How visitors reach the app on one host: its names and TLS settings."""

import re
from pathlib import Path
from typing import Any

from ..agent.constants import OWN_LINES, PROXY
from ..agent.dataclass import dataclass
from ..agent.wire import Secret
from ..errors import NOTHING, ConfigError
from .cdn import CDNS
from .paths import OVERRIDES, expanded
from .reader import FILE, Stage

NO_KEY = Secret("")


@dataclass(frozen=True)
class Site:
    """names: served as they are; the first is the main one. aliases: redirected to it.

    tls: "acme", "files" or "off". certificate, key: PEM texts of "files"; "" if the server keeps its own.
    acme_ca: PEM text of the CA of the ACME server itself; "" for a public CA.
    """

    names: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    tls: str = "off"
    hsts_days: int = 0
    acme_email: str = ""
    acme_directory: str = ""
    acme_ca: str = ""
    certificate: str = ""
    key: Secret = NO_KEY
    ended: str = ""  # the day on which that certificate ran out
    trusted_proxies: tuple[str, ...] = ()
    authority: str = ""  # path of the certificate's CA, if only this machine knows it
    client_header: str = "X-Forwarded-For"  # in which trusted_proxies say who the visitor is
    only_proxied: bool = False  # others get no answer
    closed: bool = False  # to visitors who do not log in
    logins: Secret = NO_KEY  # "user:hash" lines; "" if the server keeps its own
    snippet: str = ""  # the project's own lines for the site
    own_port: int = 0  # 0: the usual one
    path: str = ""  # "/blog/": the app is below it
    guest_of: str = ""  # the app that has the domain, if the app is below a path of it

    @property
    def encrypted(self) -> bool:
        return self.tls != "off"

    @property
    def port(self) -> int:
        return self.own_port or (443 if self.encrypted else 80)

    @property
    def host(self) -> str:
        """As a URL has it."""
        name = f"[{self.names[0]}]" if ":" in self.names[0] else self.names[0]
        return f"{name}:{self.own_port}" if self.own_port else name

    @property
    def certified(self) -> bool:
        """Whether the certificate is the app's own."""
        return self.encrypted and not self.guest_of

    def below(self, path: str) -> str:
        """A path of the app, as visitors ask for it."""
        return f"{self.path.rstrip('/')}{path}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses on which the proxy listens only for this site, if its name is a bare address, as for a sandbox."""
        alone = self.encrypted and is_address(self.names[0]) and not self.own_port
        return (self.names[0], "127.0.0.1") if alone else ()

    @property
    def url(self) -> str:
        return f"{'https' if self.encrypted else 'http'}://{self.host}{self.below('/')}"


def is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def site_of(stage: Stage, address: str, named: bool, directory: Path, proxy: str = PROXY) -> Site:
    """The site of a host at `address`. named: given by -H, so it can be reached by that address, too.

    proxy: the name of the app's.
    """
    domains = (stage.domain,) if stage.domain else ()
    own = (address,) if named or not domains else ()
    served = stage.aliases if stage.serve_aliases else ()
    site: dict[str, Any] = {
        "names": (*domains, *own, *served),
        "aliases": () if stage.serve_aliases else stage.aliases,
        "tls": effective(stage),
        "hsts_days": stage.hsts_days,
        "acme_email": stage.acme_email,
        "acme_directory": stage.acme_directory,
        **in_front(stage),
        "authority": stage.authority,
        "own_port": stage.port,
        "path": stage.path,
        "snippet": "" if stage.path else own_lines(directory, proxy),
    }
    if stage.basic_auth:
        site |= {"closed": True, "logins": Secret(logins(directory, stage.basic_auth))}
    if site["tls"] == "acme" and stage.acme_ca:
        site["acme_ca"] = text_of(directory, stage.acme_ca, "acme_ca")
    if site["tls"] == "files":
        site |= pair(stage, directory, (*domains, *own))
    return Site(**site)


def own_lines(directory: Path, proxy: str) -> str:
    """The project's file with lines for the site, in the language of its proxy; "" without one."""
    name = OWN_LINES[proxy]
    path = directory / OVERRIDES / name
    for other in OWN_LINES.values():
        if other != name and (directory / OVERRIDES / other).exists() and not path.exists():
            what = f"{OVERRIDES}/{other} has lines for another proxy than {proxy}"
            hint = f"write them in the language of {proxy} into {OVERRIDES}/{name}, or remove the file"
            raise ConfigError(what, str(directory / OVERRIDES / other), NOTHING, hint)
    try:
        return path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not text"
        raise ConfigError(f"{OVERRIDES}/{name} cannot be read: {reason}", str(path), NOTHING) from None


def in_front(stage: Stage) -> dict[str, Any]:
    """Who is in front of the host."""
    cdn = CDNS.get(stage.cdn)
    return {
        "trusted_proxies": (*(cdn.networks if cdn else ()), *stage.trusted_proxies),
        "only_proxied": stage.cdn_only,
        **({"client_header": cdn.header} if cdn else {}),
    }


# As crypt(3) and Apache's htpasswd write them.
HASHED = r"[^:\s]+:(\$(apr1|5|6|2[aby]|y)\$[!-~]{8,}|\{SSHA\}[!-~]{8,})"


def logins(directory: Path, name: str) -> str:
    """The lines of a file of users and hashed passwords."""
    path = directory / expanded(name, f"basic_auth in {FILE}")
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip() and line[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not text"
        raise ConfigError(f"basic_auth = {name!r} cannot be read: {reason}", str(path), NOTHING, ADD_USER) from None
    for number, line in enumerate(lines, 1):
        if not re.fullmatch(HASHED, line):
            what = f"entry {number} of {name} is not a user and a hashed password, user:$6$…"
            raise ConfigError(what, str(path), NOTHING, ADD_USER)
    if not lines:
        raise ConfigError(f"basic_auth = {name!r} names no user, so nobody could log in", str(path), NOTHING, ADD_USER)
    return "".join(f"{line}\n" for line in lines)


ADD_USER = "to add a user, whose password is asked for: printf 'ada:%s\\n' \"$(openssl passwd -6)\" >>FILE"


def effective(stage: Stage) -> str:
    """Without a domain, the site uses http: authorities issue no certificate for a bare address."""
    return stage.tls if stage.domain or stage.tls == "files" else "off"


def text_of(directory: Path, name: str, key: str) -> str:
    path = directory / expanded(name, f"{key} in {FILE}")
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not a PEM file"
        raise ConfigError(f"{key} = {name!r} cannot be read: {reason}", str(path), NOTHING, PEM) from None


PEM = "use a file in PEM format: text that begins with -----BEGIN"


def pair(stage: Stage, directory: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The certificate with its chain, and its key, after checking that browsers accept them."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    certificate = text_of(directory, stage.certificate, "certificate")
    key = text_of(directory, stage.certificate_key, "certificate_key")
    where = str(directory / expanded(stage.certificate, FILE))
    try:
        leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
    except ValueError:
        raise ConfigError(f"certificate = {stage.certificate!r} contains no certificate", where, NOTHING, PEM) from None
    where_key = str(directory / expanded(stage.certificate_key, FILE))
    try:
        public = load_pem_private_key(key.encode(), None).public_key()
    except TypeError:
        hint = "remove the passphrase: openssl pkey -in KEY -out PLAIN_KEY"
        raise ConfigError("the certificate's key has a passphrase", where_key, NOTHING, hint) from None
    except ValueError:
        what = f"certificate_key = {stage.certificate_key!r} contains no private key"
        raise ConfigError(what, where_key, NOTHING, PEM) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != leaf.public_key().public_bytes(*form):
        hint = "the first certificate in the file must be the site's own, followed by its chain"
        raise ConfigError("certificate and certificate_key do not match", where, NOTHING, hint)
    require_fit(leaf, (*names, *stage.aliases), where)
    return {"certificate": certificate, "key": Secret(key), "ended": ended(leaf)}


def ended(leaf: Any) -> str:
    """The day on which a certificate expired; "" if it is valid. The server decides whether it may be used."""
    from datetime import datetime, timezone

    ends = leaf.not_valid_after_utc
    return f"{ends:%Y-%m-%d}" if ends < datetime.now(timezone.utc) else ""


def require_fit(leaf: Any, names: tuple[str, ...], where: str) -> None:
    """Refuse a certificate that browsers do not accept for one of the names."""
    from cryptography import x509

    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}
    except x509.ExtensionNotFound:
        known = set()
    missing = [name for name in names if not covered(name, known)]
    if missing:
        has = ", ".join(sorted(known)) or "none"
        what = f"the certificate is not for {', '.join(missing)} (it names: {has})"
        raise ConfigError(what, where, NOTHING, "get one for all names, or remove the others from aliases")


def covered(name: str, known: set[str]) -> bool:
    """Whether a name is covered; a wildcard covers one label."""
    return name in known or f"*.{name.partition('.')[2]}" in known
