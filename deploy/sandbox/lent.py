"""Settings that a sandbox copies from this machine: apt's mirror, private CAs, package indexes, name servers.

A sandbox must reach what its host reaches, in the same way; nothing here knows the name of any registry.
"""

import configparser
import os
import re
from pathlib import Path

from ..agent.dataclass import dataclass
from ..errors import SandboxError
from .local import run, this_system

DEBIAN_COMPONENTS = {"main", "contrib", "non-free", "non-free-firmware"}
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
MIRROR_VARIABLE = "ASHORE_SANDBOX_MIRROR"
APT_SETTING = re.compile(
    r"Acquire::(?:[a-z]+::Proxy(?:::[^ ]+)?|Check-Valid-Until|Check-Date|Retries|[a-z]+::Timeout) "
)


@dataclass(frozen=True)
class AptSource:
    """One entry of an apt source list."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def deb822_sources(text: str) -> list[AptSource]:
    """The enabled `deb` stanzas of a .sources file."""
    found = []
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields = {
            key.lower(): " ".join(value.split())
            for key, value in re.findall(r"(?m)^([A-Za-z-]+):((?:.*)(?:\n[ \t].*)*)", stanza)
        }
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
            uris, suites, components = (tuple(fields.get(key, "").split()) for key in ("uris", "suites", "components"))
            found.append(AptSource(uris, suites, components, fields.get("signed-by", "")))
    return found


def one_line_sources(text: str) -> list[AptSource]:
    """The `deb` lines of a .list file."""
    found = []
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if match:
            options, uri, suite, components = match.groups()
            signed_by = re.search(r"signed-by=(\S+)", options or "")
            found.append(AptSource((uri,), (suite,), tuple(components.split()), signed_by[1] if signed_by else ""))
    return found


def debian_sources(found: list[AptSource], codename: str, release: str) -> list[AptSource]:
    """Those of Debian's own archive for `codename`, turned into those for `release`.

    Foreign repositories may use Debian's suite names, but not with Debian's components and keyring.
    """
    taken = []
    for source in found:
        suites = tuple(s for s in source.suites if s == codename or re.match(rf"{codename}-(updates|security)$", s))
        components = tuple(c for c in source.components if c in DEBIAN_COMPONENTS)
        ours = not source.signed_by or "debian-archive" in source.signed_by
        if suites and components == source.components and ours:
            renamed = tuple(release + suite.removeprefix(codename) for suite in suites)
            taken.append(AptSource(source.uris, renamed, components))
    return taken


def as_deb822(sources: list[AptSource], keyring: str) -> str:
    stanzas = (
        f"Types: deb\nURIs: {' '.join(s.uris)}\nSuites: {' '.join(s.suites)}\n"
        f"Components: {' '.join(s.components)}\nSigned-By: {keyring}\n"
        for s in sources
    )
    return "\n".join(stanzas)


def sources_for(release: str, apt: Path = Path("/etc/apt")) -> list[AptSource]:
    """Where Debian `release` comes from: by this machine's apt sources, or the mirror that the environment names."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        return [AptSource((mirror,), (release, f"{release}-updates"), ("main",))]
    found: list[AptSource] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            found += one_line_sources(path.read_text(encoding="utf-8"))
        elif path.suffix == ".sources":
            found += deb822_sources(path.read_text(encoding="utf-8"))
    sources = debian_sources(found, this_system().get("VERSION_CODENAME", "?"), release)
    if not sources:
        raise SandboxError(
            "this machine's apt has no Debian archive to build the sandbox from",
            where=str(apt / "sources.list.d"),
            state="nothing was built",
            hint=f"name a Debian mirror: {MIRROR_VARIABLE}=http://MIRROR/debian fab sandbox provision",
        )
    return sources


def host_keyring() -> str:
    for path in KEYRINGS:
        if Path(path).exists():
            return path
    raise SandboxError(
        "Debian's archive keys are not installed on this machine",
        where=KEYRINGS[0],
        state="nothing was built",
        hint="apt-get install debian-archive-keyring",
    )


def apt_settings(dump: str) -> str:
    """The lines of `apt-config dump` that decide how a mirror is reached, as an apt.conf."""
    return "".join(f"{line}\n" for line in dump.splitlines() if APT_SETTING.match(line) and not line.endswith('"";'))


def host_apt_settings() -> str:
    return apt_settings(run(["apt-config", "dump"], failed="could not read apt's settings"))


def pip_indexes(texts: list[str]) -> dict[str, str]:
    """index-url, extra-index-url and trusted-host of some pip.conf, later ones winning; only what http(s) reaches."""
    found: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(text)
        settings = dict(parser["global"]) if parser.has_section("global") else {}
        for key in ("index-url", "extra-index-url"):
            urls = [url for url in settings.get(key, "").split() if url.startswith(("http://", "https://"))]
            if urls:
                found[key] = " ".join(urls)
        if settings.get("trusted-host"):
            found["trusted-host"] = " ".join(settings["trusted-host"].split())
    return found


def index_files(indexes: dict[str, str], private_ca: bool) -> dict[str, str]:
    """pip's and uv's configuration by path. Behind a private CA both must be told to trust the system's CAs."""
    pip = [f"{key} = {value}" for key, value in indexes.items()]
    uv = []
    if "index-url" in indexes:
        uv.append(f'index-url = "{indexes["index-url"]}"')
    if "extra-index-url" in indexes:
        uv.append(f"extra-index-url = {indexes['extra-index-url'].split()}".replace("'", '"'))
    if private_ca:
        pip.append(f"cert = {CA_BUNDLE}")
        uv.append("system-certs = true")
    files = {}
    if pip:
        files["etc/pip.conf"] = "\n".join(["[global]", *pip, ""])
    if uv:
        files["etc/uv/uv.toml"] = "\n".join([*uv, ""])
    return files


def private_cas(folder: Path = Path("/usr/local/share/ca-certificates")) -> dict[str, str]:
    return {path.name: path.read_text(encoding="ascii") for path in sorted(folder.rglob("*.crt"))}


def files_for(release: str) -> dict[str, str]:
    """All that a new sandbox borrows, as text by path below its root; the CAs still have to be added to the bundle."""
    pip_confs = [Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"]
    cas = private_cas()
    files = {f"usr/local/share/ca-certificates/{name}": text for name, text in cas.items()}
    files["etc/apt/sources.list.d/debian.sources"] = as_deb822(sources_for(release), KEYRINGS[0])
    settings = host_apt_settings()
    if settings:
        files["etc/apt/apt.conf.d/90sandbox"] = settings
    texts = [path.read_text(encoding="utf-8") for path in pip_confs if path.is_file()]
    return files | index_files(pip_indexes(texts), bool(cas))


def nameservers(resolv_conf: str) -> list[str]:
    """Those that another machine could ask too: loopback means only this one."""
    found = re.findall(r"(?m)^nameserver\s+(\S+)", resolv_conf)
    return [address for address in found if not address.startswith("127.") and address != "::1"]


def resolv_conf() -> str:
    """Short timeouts: sudo looks the host's own name up, and must not hang for 20 s where there is no network."""
    uplink = Path("/run/systemd/resolve/resolv.conf")  # the servers behind systemd-resolved's 127.0.0.53
    paths = [path for path in (Path("/etc/resolv.conf"), uplink) if path.is_file()]
    servers = next((found for path in paths if (found := nameservers(path.read_text(encoding="utf-8")))), [])
    return "".join(f"nameserver {server}\n" for server in servers) + "options timeout:1 attempts:2\n"
