"""The names and paths of an app on a server. Values only."""

UV_VERSION = "0.13.8"
HTTP3_SINCE = "1.25.1"  # of Nginx; with it came another way to say HTTP/2
DEPLOY_USER = "deploy"
WEBROOT = "/var/www/ashore-acme"  # where names are proved to a certificate authority
CERTIFICATE_HOOK = "/usr/local/lib/ashore/certificate-hook.sh"
UNDO_SCRIPT = "/usr/local/lib/ashore/undo.sh"
PROVISION = "3"  # to be raised when a site or unit needs something new of `fab provision`


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
    """Holds PROVISION, as it was when the server was provisioned for the app, and "acme" if certbot is there, too."""
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


def certificates(app: str) -> str:
    """`live` in it names the directory of the certificate in use."""
    return f"/srv/{app}/tls"


def nginx_logs(app: str) -> str:
    return f"/var/log/nginx/{app}"


def secrets(app: str) -> str:
    return f"/srv/{app}/secrets.env"


def uv() -> str:
    return f"/usr/local/lib/ashore/uv-{UV_VERSION}"
