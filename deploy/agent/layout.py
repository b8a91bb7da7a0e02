"""The names and paths of an app on a server. Values only."""

PROTOCOL = 1  # to be raised when the two sides of a CI key would no longer understand each other
UV_VERSION = "0.13.8"
KIT = "/usr/local/lib/ashore"
WEBROOT = "/var/www/ashore-acme"  # where names are proved to a certificate authority
CERTIFICATE_HOOK = f"{KIT}/certificate-hook.sh"
ROOM_SCRIPT = f"{KIT}/room.sh"  # which makes what a running release has in /run
DATA_SCRIPT = f"{KIT}/data-limit.sh"
UNDO_SCRIPT = f"{KIT}/undo.sh"
PROVISION = "5"  # to be raised when a site or unit needs something new of `fab provision`


def home(app: str) -> str:
    return f"/srv/{app}"


def release(app: str, release_id: str) -> str:
    return f"/srv/{app}/releases/{release_id}"


def current(app: str) -> str:
    return f"/srv/{app}/current"


def previous(app: str) -> str:
    """The release before, for the static files of pages that were loaded before the switch."""
    return f"/srv/{app}/previous"


def maintenance_directory(app: str) -> str:
    """While it holds a file `on`, visitors get a 503; but those whose address is the name of a file in `let`."""
    return f"/srv/{app}/maintenance"


def provisioned(app: str) -> str:
    """Holds PROVISION, as it was when the server was provisioned for the app; and "acme" and "link-local", if so."""
    return f"/srv/{app}/provisioned"


def data(app: str) -> str:
    return f"/var/lib/{app}"


def data_unit(app: str) -> str:
    """Of the service that sees that the app's data does not fill the disk, and of its timer."""
    return f"ashore-data-{app}"


def venv(app: str, key: str) -> str:
    return f"/srv/{app}/venvs/{key}"


def socket(app: str, release_id: str) -> str:
    """Where the proxy meets a release: a name that root gives to the socket which the app has made, see ROOM_SCRIPT."""
    return f"/run/{app}/{release_id}/http.sock"


def unit(app: str, release_id: str) -> str:
    return f"{app}@{release_id}.service"


def link_local_file(app: str) -> str:
    """What keeps all releases of the app from link-local addresses."""
    return f"/etc/systemd/system/{app}@.service.d/50-ashore.conf"


def unit_file(app: str, release_id: str) -> str:
    return f"/etc/systemd/system/{unit(app, release_id)}"


def certificates(app: str) -> str:
    """`live` in it names the directory of the certificate in use."""
    return f"/srv/{app}/tls"


def journal(app: str) -> str:
    """The settings of the app's own journal."""
    return f"/etc/systemd/journald@{app}.conf"


def journal_socket(app: str) -> str:
    """Who may write to the app's own journal: the app, and no other."""
    return f"/etc/systemd/system/systemd-journald@{app}.socket.d/50-ashore.conf"


def static_name(prefix: str) -> str:
    """What a release calls its link to the directory of a URL prefix: "/a/b/" is ",a,b,"."""
    return prefix.replace("/", ",")


def secrets(app: str) -> str:
    return f"/srv/{app}/secrets.env"


def first_environment(app: str) -> str:
    """What `fab env.set` has set before there was a release, as `env.json`. Hidden, so it goes as all leftovers do."""
    return f"/srv/{app}/.environment"


def uv() -> str:
    return f"{KIT}/uv-{UV_VERSION}"


def ci_user(app: str) -> str:
    """Whom a CI key of the app logs in as."""
    return f"ci-{app}"


def ci_home(app: str) -> str:
    return f"/var/lib/ashore-ci/{app}"


def ci_keys(app: str) -> str:
    return f"{ci_home(app)}/.ssh/authorized_keys"


def ci_record(app: str) -> str:
    """What CI keys may go up to, as an operator last deployed: see `ci.limits`."""
    return f"/var/lib/ashore/{app}/ci.json"


def ci_unit(app: str) -> str:
    """Of the socket behind which the server's side of CI keys stands, and of its services, one a connection."""
    return f"ashore-ci-{app}"


def ci_socket(app: str) -> str:
    return f"/run/ashore-ci/{app}.sock"
