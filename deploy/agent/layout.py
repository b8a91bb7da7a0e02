"""The names and paths of an app on a server. Values only."""

PROTOCOL = 1  # increase it if the two sides of a CI key become incompatible
UV_VERSION = "0.13.8"
UNITS = "/etc/systemd/system"
KIT = "/usr/local/lib/ashore"
WEBROOT = "/var/www/ashore-acme"  # for the validation of names by a certificate authority
CERTIFICATE_HOOK = f"{KIT}/certificate-hook.sh"
ROOM_SCRIPT = f"{KIT}/room.sh"  # creates a running release's files in /run; stops an older one in the background
DATA_SCRIPT = f"{KIT}/data-limit.sh"
UNDO_SCRIPT = f"{KIT}/undo.sh"
PROCESS_SCRIPT = f"{KIT}/process.sh"  # the beginning and end of processes and of timers' jobs
PORT_SCRIPT = f"{KIT}/port.sh"  # the port of an app that is a server of its own
PROVISION = "7"  # increase it if a site or unit needs something new from `fab provision`


def home(app: str) -> str:
    return f"/srv/{app}"


def release(app: str, release_id: str) -> str:
    return f"/srv/{app}/releases/{release_id}"


def current(app: str) -> str:
    return f"/srv/{app}/current"


def previous(app: str) -> str:
    """The link to the previous release, for static files of pages that were loaded before the switch."""
    return f"/srv/{app}/previous"


def maintenance_directory(app: str) -> str:
    """While it contains a file `on`, visitors get a 503, except addresses that are names of files in `let`."""
    return f"/srv/{app}/maintenance"


def provisioned(app: str) -> str:
    """A file with PROVISION at the time of the last provision; and "acme" and "link-local", if used."""
    return f"/srv/{app}/provisioned"


def data(app: str) -> str:
    return f"/var/lib/{app}"


def data_unit(app: str) -> str:
    """The name of the service that limits the app's data, and of its timer."""
    return f"ashore-data-{app}"


def venv(app: str, key: str) -> str:
    return f"/srv/{app}/venvs/{key}"


def socket(app: str, release_id: str) -> str:
    """The socket that the proxy uses: a second name that root gives to the app's socket, see ROOM_SCRIPT."""
    return f"/run/{app}/{release_id}/http.sock"


def unit(app: str, release_id: str) -> str:
    return f"{app}@{release_id}.service"


def process_unit(app: str, release_id: str, name: str, number: int) -> str:
    """One process of a release beside its web server. Of the app's own template, so drop-ins for that hold for it."""
    return f"{app}@{release_id}.{name}.{number}.service"


def job_unit(app: str, release_id: str, name: str) -> str:
    """What a timer of a release runs."""
    return f"{app}@{release_id}.{name}.service"


def timer_unit(app: str, release_id: str, name: str) -> str:
    return f"{app}@{release_id}.{name}.timer"


def own_name(app: str, release_id: str) -> str:
    """A file that each release with processes has: below `current`, it tells which release that is."""
    return f"{release(app, release_id)}/{release_id}"


def scale_file(app: str) -> str:
    """How many of which process `fab scale` wants: JSON of {name: count}."""
    return f"/srv/{app}/scale.json"


def link_local_file(app: str) -> str:
    """The drop-in that blocks link-local addresses for all releases of the app."""
    return f"/etc/systemd/system/{app}@.service.d/50-ashore.conf"


def unit_file(app: str, release_id: str) -> str:
    return f"{UNITS}/{unit(app, release_id)}"


def certificates(app: str) -> str:
    """`live` in it names the directory of the certificate in use."""
    return f"/srv/{app}/tls"


def journal(app: str) -> str:
    """The settings of the app's own journal."""
    return f"/etc/systemd/journald@{app}.conf"


def journal_socket(app: str) -> str:
    """The drop-in that lets only the app write to its own journal."""
    return f"/etc/systemd/system/systemd-journald@{app}.socket.d/50-ashore.conf"


def logins(app: str) -> str:
    """The users and hashed passwords by which visitors log in, see `basic_auth`."""
    return f"/srv/{app}/logins"


def static_name(prefix: str) -> str:
    """What a release calls its link to the directory of a URL prefix: "/a/b/" is ",a,b,"."""
    return prefix.replace("/", ",")


def secrets(app: str) -> str:
    return f"/srv/{app}/secrets.env"


def first_environment(app: str) -> str:
    """Variables that `fab env.set` has set before the first release, as `env.json`. Hidden, so it is pruned later."""
    return f"/srv/{app}/.environment"


def uv() -> str:
    return f"{KIT}/uv-{UV_VERSION}"


def ci_user(app: str) -> str:
    """The user of the app's CI keys."""
    return f"ci-{app}"


def ci_home(app: str) -> str:
    return f"/var/lib/ashore-ci/{app}"


def ci_keys(app: str) -> str:
    return f"{ci_home(app)}/.ssh/authorized_keys"


def ci_record(app: str) -> str:
    """The limits of CI keys: see `ci.limits`."""
    return f"/var/lib/ashore/{app}/ci.json"


def ci_unit(app: str) -> str:
    """The name of the socket unit of CI keys, and of its services, one per connection."""
    return f"ashore-ci-{app}"


def ci_socket(app: str) -> str:
    return f"/run/ashore-ci/{app}.sock"
