"""Why a certificate cannot be issued, as text: DNS that points elsewhere, port 80 closed, a rate limit."""

import os
import re

from ...system import System

FETCH_SECONDS = 5


def authority(server: str) -> str:
    """A name for the certificate authority, by its directory's address."""
    host = server.partition("://")[2].partition("/")[0]
    name, _, rest = host.partition(".")
    known = {"acme-v02": "Let's Encrypt", "acme-staging-v02": "Let's Encrypt's staging"}
    return known.get(name, host) if rest == "api.letsencrypt.org" else host


class Facing:
    """How the internet sees a name: its DNS records, and what answers on port 80. seen: name → its addresses."""

    def __init__(self, webroot: str, address: str, system: System) -> None:
        self.webroot, self.system = webroot, system
        self.own = own_addresses(system) | ({address} if address else set())
        self.shown = address or next(iter(sorted(self.own, key=lambda text: (":" in text, text))), "unknown")
        self.seen: dict[str, list[str]] = {}

    def complaint(self, name: str) -> tuple[str, str]:
        """(what, hint) if a request to the authority would fail; ("", "") if it may work."""
        addresses = self.seen[name] = dns(name, self.system)
        point = (
            f"at your DNS provider, point {name} to {self.shown} (an A record), wait a few minutes, then: fab deploy"
        )
        if not addresses:
            return f"DNS has no address for {name}", point
        strange = [address for address in addresses if address not in self.own]
        if strange and not all(self._is_here(name, address) for address in strange):
            kind = "AAAA" if all(":" in address for address in strange) else "A"
            also = " too" if len(strange) < len(addresses) else ""
            what = f"DNS points {name} to {', '.join(strange)}{also}, but this server is {self.shown}"
            if kind == "AAAA":
                point = f"at your DNS provider, remove the AAAA record of {name} or point it here, then: fab deploy"
            return what, point
        return "", ""

    def _is_here(self, name: str, address: str) -> bool:
        """Whether what answers there passes on to us, as a CDN does: it finds a file that we have just made."""
        import secrets

        token = secrets.token_hex(16)
        directory = f"{self.webroot}/.well-known/acme-challenge"
        os.makedirs(directory, exist_ok=True)
        path = f"{directory}/ashore-{token}"
        with open(path, "w", encoding="ascii") as file:
            file.write(token)
        try:
            return token in fetched(address, name, f"/.well-known/acme-challenge/ashore-{token}")
        finally:
            os.unlink(path)


def fetched(address: str, name: str, path: str) -> str:
    """What GET answers over http; "" where it does not."""
    from ..serving.http import connected

    request = f"GET {path} HTTP/1.0\r\nHost: {name}\r\nUser-Agent: ashore\r\n\r\n"
    try:
        with connected((address, 80), FETCH_SECONDS) as connection:
            connection.sendall(request.encode())
            return connection.makefile("rb").read(1 << 16).decode("latin-1")
    except OSError:
        return ""


def dns(name: str, system: System) -> list[str]:
    """The name's addresses by DNS alone: /etc/hosts often has the host's own name, and nobody else reads that."""
    said = system.run(["getent", "-s", "dns", "ahosts", name], accept=(0, 2))  # 2: no such name
    return list(dict.fromkeys(line.split()[0] for line in said.splitlines() if line.strip()))


def own_addresses(system: System) -> set[str]:
    import json

    links = json.loads(system.run(["ip", "-j", "address", "show", "scope", "global"]) or "[]")
    return {found["local"] for link in links for found in link.get("addr_info", ()) if "local" in found}


LOG = "/var/log/letsencrypt/letsencrypt.log"  # of certbot's last run; one for each
PROBLEM = re.compile(r'"type": "urn:ietf:params:acme:error:(\w+)",\s*"detail": "((?:[^"\\]|\\.)*)"')


def problem(log: str) -> tuple[str, str]:
    """The last (type, detail) that the authority itself gave, as RFC 8555 has them, from certbot's log; or ("", "").

    Not from what certbot prints: on Debian 12 it stumbles over a rate limit, and tells of that instead.
    """
    found = [match for match in PROBLEM.findall(log) if match[0] != "badNonce"]
    return found[-1] if found else ("", "")


def retry_after(text: str) -> str:
    """Until when a rate limit holds, as "2026-11-21 12:00:00" in UTC; "" where the authority says nothing of it."""
    found = re.search(r"retry after (\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)", text, re.I)
    return f"{found[1]} {found[2]}" if found else ""


def explained(
    kind: str, detail: str, printed: str, names: tuple[str, ...], seen: dict[str, list[str]], server: str
) -> tuple[str, str]:
    """(what, hint) for a certificate that was not given. kind, detail: see `problem`. printed: what certbot said."""
    named = re.search(r"Domain: *(\S+)", printed)
    name = named[1] if named else names[0]
    who = authority(server)
    where = ", ".join(seen.get(name, [])) or "its address"
    again = "then: fab deploy"
    if kind == "rateLimited":
        until = retry_after(detail)
        when = f" before {until} UTC" if until else " at the moment, usually for some hours"
        return f"{who} accepts no more requests for {name}{when}", f"wait; {again}"
    if kind == "connection":
        hint = f"open ports 80 and 443 to all addresses in your provider's firewall, {again}"
        return f"port 80 of {name} ({where}) cannot be reached from outside", hint
    if kind == "dns":
        return f"{who} finds no address for {name} in DNS", f"check the records at your DNS provider, {again}"
    if kind == "caa":
        hint = f"at your DNS provider, add {who} to the CAA record or remove that record, {again}"
        return f"a CAA record in DNS forbids {who} to issue a certificate for {name}", hint
    if kind in ("unauthorized", "incorrectResponse"):
        what = f"{who} asked {name} on port 80, but another server answered"
        return what, f"is there a CDN, a redirect or another server in front? Point {name} to this server, {again}"
    if not kind and re.search(r"Requesting |ConnectionError|Max retries|CERTIFICATE_VERIFY_FAILED|timed out", printed):
        hint = "can the server connect to it (outgoing firewall)? Are acme_directory and acme_ca right?"
        return f"the server cannot connect to {who} ({server})", hint
    return f"{who} issued no certificate for {name}", f"see its message above; {again}"
