"""A certificate authority to test with: Debian's pebble, its DNS, and Nginx before it, on a sandbox of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from standing import Server, machine
from visiting import wait_for

from deploy.sandbox import authority

FRONT = """
server {
    listen 443 ssl;
    ssl_certificate /etc/pebble-test/certificate.pem;
    ssl_certificate_key /etc/pebble-test/certificate.key;
    location / {
        if (-f /run/limited) { rewrite ^/order-plz$ /limited last; }
        proxy_pass https://127.0.0.1:14000;
        proxy_set_header Host $http_host;
    }
    location = /limited {
        internal;
        default_type application/problem+json;
        error_page 418 =429 /limited.json;
        return 418;
    }
    location = /limited.json { internal; root /run; default_type application/problem+json; }
}
"""
LIMITED = {
    "type": "urn:ietf:params:acme:error:rateLimited",
    "detail": "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s,"
    " retry after 2099-01-01 12:00:00 UTC: see the documents",
    "status": 429,
}


@dataclass
class Authority:
    """pebble proves names by real requests to port 80; what DNS says to it and to others is said here."""

    server: Server

    @property
    def directory(self) -> str:
        return f"https://{self.server.machine.address}/dir"

    def issues_for(self, seconds: int) -> None:
        """Start pebble, which forgets all it knew; its certificates are good for so long."""
        config = {
            "listenAddress": "127.0.0.1:14000",
            "managementListenAddress": "127.0.0.1:15000",
            "certificate": "/etc/pebble-test/certificate.pem",
            "privateKey": "/etc/pebble-test/certificate.key",
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": seconds,
        }
        text = json.dumps({"pebble": config})
        self.server.script(
            f"cat > /etc/pebble-test/pebble.json <<'END'\n{text}\nEND\n"
            "systemctl stop pebble-test 2>/dev/null || true; systemctl reset-failed pebble-test 2>/dev/null || true\n"
            "systemd-run -q --unit=pebble-test -E PEBBLE_VA_NOSLEEP=1 -E PEBBLE_WFE_NONCEREJECT=0"
            " pebble -config /etc/pebble-test/pebble.json -dnsserver 127.0.0.1:53\n"
        )
        wait_for(lambda: self.server.script("curl -ks https://127.0.0.1:14000/dir", check=False), "pebble")

    def points(self, address: str) -> None:
        """All names point there from now on; "" for nowhere."""
        self.server.script(f'curl -sS -d \'{{"ip":"{address}"}}\' http://127.0.0.1:8055/set-default-ipv4')

    def limit(self, on: bool) -> None:
        self.server.script(
            f"echo '{json.dumps(LIMITED)}' > /run/limited.json; {'touch' if on else 'rm -f'} /run/limited"
        )

    def root(self) -> str:
        """PEM of the CA that its certificates end at."""
        return self.server.script("curl -ks https://127.0.0.1:15000/roots/0")

    def revoked(self, serial: str) -> bool:
        status = self.server.script(f"curl -ks https://127.0.0.1:15000/cert-status-by-serial/{serial.lower()}")
        return json.loads(status)["Status"] == "Revoked"


@contextmanager
def certifying(directory: Path) -> Iterator[Authority]:
    with machine("acme") as made:
        server = Server(made)
        directory.mkdir()
        chain, key = authority.certificate(directory, made.address)
        server.script(
            "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update;"
            " apt-get -qq -y install --no-install-recommends pebble nginx-light >/dev/null;"
            f" mkdir -p /etc/pebble-test; echo '{chain.read_text()}' > /etc/pebble-test/certificate.pem;"
            f" echo '{key.read_text()}' > /etc/pebble-test/certificate.key;"
            f" cat > /etc/nginx/sites-enabled/default <<'END'\n{FRONT}\nEND\nsystemctl restart nginx\n"
            "systemd-run -q --unit=names pebble-challtestsrv -dns01 :53 -http01 '' -https01 '' -tlsalpn01 ''"
            " -defaultIPv6 '' -management 127.0.0.1:8055\n"
        )
        made_authority = Authority(server)
        made_authority.issues_for(90 * 86400)
        yield made_authority
