"""The keys of deploy.toml, and what each takes: a reader for every value, see `values`."""

from collections.abc import Callable
from typing import Any

from .values import app_name, env, flag, host, inside, network, number, port, static, texts, word

PATH = r"/[A-Za-z0-9._~!&()*+,=:@%/?-]*"  # nothing that means something in a proxy's configuration
APP_KEYS: dict[str, Callable[[Any], Any]] = {
    "name": app_name,
    "wsgi": word(r"[\w.]+:\w+(\(\))?", '"module:callable" or "module:factory()"'),
    "requirements": inside,
    "include": texts(inside),
    "include_anyway": texts(inside),
    "static": static,
    "env": env,
    "health_path": word(PATH, "a path like /healthz"),
    "health_seconds": number(1, 600),
    "warm_paths": texts(word(PATH, "a path like /")),
    "watch_seconds": number(0, 3600),
    "release_command": word(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]*", "one line for /bin/sh"),
    "release_seconds": number(1, 86_400),
    "keep_releases": number(1, 100),
    "worker_class": word(r"gthread|sync|gevent|eventlet", "gthread, sync, gevent or eventlet"),
    "workers": number(0, 256),
    "threads": number(1, 256),
    "timeout_seconds": number(1, 3600),
    "max_body_megabytes": number(1, 10_000),
    "requests_per_second": number(0, 100_000),
    "connections_per_address": number(0, 65_535),  # the most that the proxy takes
    "data_megabytes": number(0, 1_000_000_000),
    "memory_percent": number(1, 100),
    "cpu_percent": number(0, 100_000),
    "tasks_max": number(8, 100_000),
    "tmp_megabytes": number(1, 100_000),
    "outbound": flag,
    "allow_link_local": flag,
    "allow_jit": flag,
    "writable_paths": texts(word(r"/[\w./+-]+", "a path on the server, like /srv/media")),
    "devices": texts(word(r"/dev/[\w./-]+", "a device, like /dev/fuse")),
}
DOMAIN = r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_KEY = r"([^\s,]+ )?SHA256:[A-Za-z0-9+/]{43}=?"
STAGE_KEYS: dict[str, Callable[[Any], Any]] = {
    "hosts": texts(host),
    "domain": word(DOMAIN, "a domain in small letters, like shop.example.com"),
    "aliases": texts(word(rf"(\*\.)?{DOMAIN}", "a domain in small letters")),
    "serve_aliases": flag,
    "tls": word("acme|files|off", '"acme", "files" or "off"'),
    "certificate": word(r".+", "a path on this machine"),
    "certificate_key": word(r".+", "a path on this machine"),
    "acme_email": word(r"[^@\s,]+@[^@\s,]+\.[^@\s,]+", "an e-mail address"),
    "acme_directory": word(r"https://[!-~]+", "an ACME server's directory, https://…"),
    "acme_ca": word(r".+", "a path on this machine"),
    "hsts_days": number(0, 730),
    "trusted_proxies": texts(network),
    "host_keys": texts(word(HOST_KEY, '"SHA256:…" or "HOST SHA256:…", the fingerprint from `ssh-keygen -lf`')),
    "env": env,
    "firewall": flag,
    "open_ports": texts(port),
}
