"""The names and paths of an app on a server. Values only."""

UV_VERSION = "0.13.8"
DEPLOY_USER = "deploy"
UNDO_SCRIPT = "/usr/local/lib/ashore/undo.sh"
PROVISION = "2"  # to be raised when a site or unit needs something new of `fab provision`


def home(app: str) -> str:
    return f"/srv/{app}"


def release(app: str, release_id: str) -> str:
    return f"/srv/{app}/releases/{release_id}"


def current(app: str) -> str:
    return f"/srv/{app}/current"


def previous(app: str) -> str:
    """The release before, for the static files of pages that were loaded before the switch."""
    return f"/srv/{app}/previous"


def maintenance(app: str) -> str:
    """While it holds a file `on`, visitors get a 503; but those whose address is the name of a file in `let`."""
    return f"/srv/{app}/maintenance"


def provisioned(app: str) -> str:
    """Holds PROVISION, as it was when the server was provisioned for the app."""
    return f"/srv/{app}/provisioned"


def data(app: str) -> str:
    return f"/var/lib/{app}"


def venv(app: str, key: str) -> str:
    return f"/srv/{app}/venvs/{key}"


def socket(app: str, release_id: str) -> str:
    return f"/run/{app}/{release_id}/http.sock"


def unit(app: str, release_id: str) -> str:
    return f"{app}@{release_id}.service"


def unit_file(app: str, release_id: str) -> str:
    return f"/etc/systemd/system/{unit(app, release_id)}"


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
