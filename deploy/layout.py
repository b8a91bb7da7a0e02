"""The names and paths of an app on a server. Values only."""

UV_VERSION = "0.13.8"
DEPLOY_USER = "deploy"


def home(app: str) -> str:
    return f"/srv/{app}"


def release(app: str, release_id: str) -> str:
    return f"/srv/{app}/releases/{release_id}"


def current(app: str) -> str:
    return f"/srv/{app}/current"


def data(app: str) -> str:
    return f"/var/lib/{app}"


def venv(app: str, key: str) -> str:
    return f"/srv/{app}/venvs/{key}"


def socket(app: str, release_id: str) -> str:
    return f"/run/{app}/{release_id}/http.sock"


def unit(app: str, release_id: str) -> str:
    return f"{app}@{release_id}.service"


def unit_file(app: str) -> str:
    return f"/etc/systemd/system/{app}@.service"


def site(app: str) -> str:
    return f"/etc/nginx/sites-available/{app}.conf"


def site_link(app: str) -> str:
    return f"/etc/nginx/sites-enabled/{app}.conf"


def nginx_logs(app: str) -> str:
    return f"/var/log/nginx/{app}"


def secrets(app: str) -> str:
    return f"/srv/{app}/secrets.env"


def uv() -> str:
    return f"/usr/local/lib/ashore/uv-{UV_VERSION}"
