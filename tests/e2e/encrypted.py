"""https as visitors have it, certificates of one's own, and a judge of what a server shows."""

import socket
import ssl
import subprocess
import sys
from http.client import HTTPSConnection
from pathlib import Path

from standing import DOMAIN, Project, Server

ALIAS = "www.visitors.example"


def https(
    server: Server, path: str = "/", host: str = DOMAIN, name: str = "", root: str = ""
) -> tuple[int, dict[str, str]]:
    """Status and headers. name: what the handshake names; root: PEM of the CA that is trusted, or none is."""
    context = ssl.create_default_context(cadata=root) if root else ssl._create_unverified_context()
    connection = HTTPSConnection(server.machine.address, timeout=10, context=context)
    plain = socket.create_connection((server.machine.address, 443), 10)
    connection.sock = context.wrap_socket(plain, server_hostname=name or host)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}
    finally:
        connection.close()


def shown(server: Server, name: str = DOMAIN) -> str:
    """The certificate that visitors are shown, as PEM."""
    context = ssl._create_unverified_context()
    plain = socket.create_connection((server.machine.address, 443), 10)
    with plain, context.wrap_socket(plain, server_hostname=name) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(True))


def serial(pem: str) -> str:
    ran = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True, text=True)
    return ran.stdout.strip().partition("=")[2]


def own_certificate(directory: Path, names: list[str]) -> tuple[Path, Path]:
    """A certificate that is nobody's, and its key."""
    chain, key = directory / "own.pem", directory / "own.key"
    alternatives = ",".join(f"DNS:{name}" for name in names)
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90", "-subj", "/O=Own"]
    files = ["-addext", f"subjectAltName={alternatives}", "-keyout", key, "-out", chain]
    subprocess.run(["openssl", "req", "-x509", *words, *files], check=True, capture_output=True)
    return chain, key


def use_own(project: Project, chain: Path, key: Path, app: str = "") -> None:
    project.tls = "files"
    project.write_config(app, stage=f'certificate = "{chain}"\ncertificate_key = "{key}"\naliases = ["{ALIAS}"]')


def sslyze(server: Server, directory: Path) -> list[str]:
    """What it has against the server, but for the test's CA that no trust store knows."""
    program = Path(sys.executable).parent / "sslyze"
    target = f"{DOMAIN}:443{{{server.machine.address}}}"
    argv = [program, "--mozilla_config=intermediate", f"--json_out={directory}/sslyze.json", target]
    said = subprocess.run(argv, capture_output=True, text=True).stdout
    assert "COMPLIANCE" in said.upper(), said
    return [line.strip() for line in said.partition("COMPLIANCE")[2].splitlines() if "* " in line]
