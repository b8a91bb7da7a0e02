"""The keys of deploy.toml: each is a field with its default, what it takes, its topic, and what it means below.

docs/config.md and the comments of deploy.toml are written from here (`make config-docs`), and `fab explain` shows it.
The first paragraph is the comment. RUNNER and ASGI_RUNNER stand for the names of what usually runs an app, PROXY for
the name of what is in front.
"""

from ..agent.constants import (
    ASGI_RUNNER,
    ASGI_WORKERS,
    OTHER_PROXY,
    PROXIES,
    PROXY,
    RUNNER,
    RUNNERS,
    SERVER_OF_ITS_OWN,
)
from ..agent.dataclass import dataclass, field
from .cdn import CDNS
from .keys import BOTH, PROVISION, attributes, key
from .processes import Process, Timer, target_of
from .values import (
    LINE,
    app_name,
    debian_packages,
    env,
    flag,
    host,
    inside,
    inside_or_none,
    network,
    number,
    one_of,
    redirects,
    static,
    texts,
    word,
    writable,
)
from .values import (
    port as open_port,
)

PATH = r"/[A-Za-z0-9._~!&()*+,=:@%/?-]*"  # nothing that means something in a proxy's configuration
DOMAIN = r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
CALLABLE = word(r"([\w.]+:\w+(\(\))?)?", '"module:callable" or "module:factory()"')
REQUIREMENT = word(
    r"[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?((==|>=|<=|~=|!=|<|>)[\w.*+!-]+,?)*", 'a package, like "psycopg[binary]>=3.2"'
)
HOST_KEY = r"([^\s,]+ )?SHA256:[A-Za-z0-9+/]{43}=?"

APP, FILES, ENVIRONMENT, HEALTH, RELEASES = "App", "Files", "Environment", "Health check", "Releases"
WORKERS, VISITORS, RESOURCES, PERMISSIONS = "Workers", "Limits for visitors", "Limits for the app", "Permissions"
SERVERS, NAMES, TLS, FIREWALL = "Servers", "Domain", "TLS", "Firewall"


@dataclass(frozen=True)
class App:
    """The program: the table [app]."""

    name: str = field(metadata=attributes(app_name, APP, example="shop", applied_by=BOTH))
    """The app's name. Its user, its directories (/srv/NAME, /var/lib/NAME) and its unit (NAME@RELEASE.service) are
    named after it.

    A name of the kit or of the system is refused, and so is one that a user, group, directory or unit of another
    program on the server has.
    """
    wsgi: str = key("", CALLABLE, APP, example="shop:app", unset="none: `asgi` is set")
    """What is served, of an app that speaks WSGI (Flask, Django): "module:callable", or "module:factory()" if a
    function makes the app.

    Exactly one of `wsgi` and `asgi` is set, unless the app is a server of its own: see [processes.web].
    """
    asgi: str = key("", CALLABLE, APP, example="shop:app", unset="none: `wsgi` is set")
    """What is served, of an app that speaks ASGI (FastAPI, Starlette, Quart): "module:callable", or "module:factory()"
    if a function makes the app.
    """
    runner: str = key("", one_of((*RUNNERS,)), APP, example=ASGI_RUNNER, unset=f"{RUNNER}; with `asgi` {ASGI_RUNNER}")
    """The program that runs the app. It is added to the app's packages if `requirements` does not list it."""
    proxy: str = key(PROXY, one_of((*PROXIES,)), APP, example=OTHER_PROXY, applied_by=BOTH)
    """The program that accepts visitors' connections on the server, and passes their requests to the app.

    All apps of a server have the same. A change for an app that is alone on its server takes effect with `fab provision
    deploy`, and the site is down for about a second. OTHER_PROXY has no `requests_per_second` and no
    HTTP/3, and counts connections but not open requests for `connections_per_address`.
    """
    requirements: str = key(
        "",
        inside_or_none,
        FILES,
        example="requirements.txt",
        unset="a lock, requirements.txt or pyproject.toml, if there is one",
    )
    """The file that says which packages the app needs: a lock, a requirements file or pyproject.toml. The runner is
    added if it lists none.

    Locks are uv.lock, poetry.lock, pdm.lock, pylock.toml and Pipfile.lock. "pyproject.toml" means the lock beside it,
    if there is one. The files that it includes by -r and -c count, too. If it has hashes, uv installs nothing without a
    matching hash. A deploy lists the requirements without an exact version.
    """
    extra_requirements: tuple[str, ...] = key(
        (), texts(REQUIREMENT), FILES, example=["setuptools<81", "psycopg[binary]"]
    )
    """Packages that are installed besides those of `requirements`, such as the driver of a database."""
    extras: tuple[str, ...] = key(
        (), texts(word(r"[A-Za-z0-9][\w.-]*", "the name of an extra")), FILES, example=["prod"]
    )
    """Which of the project's optional dependencies are installed ([project.optional-dependencies])."""
    install_project: bool = key(True, flag, FILES, example=False)
    """Whether the project itself is installed if it is a package, so that its version and its commands are there.

    A project is a package if its pyproject.toml has a table [build-system]. Its code is always that of the release.
    """
    python: str = key(
        "",
        word(r"(3\.\d{1,2}(\.\d{1,2})?)?", 'a version of Python like "3.12"'),
        FILES,
        example="3.12",
        unset="the server's own, if it is one that the project accepts",
    )
    """The version of Python. If the server has another one, uv installs it.

    If it is not set, these files of the project count: .python-version, runtime.txt, `requires-python` in
    pyproject.toml. The server's own Python is used if it is among the accepted versions.
    """
    python_mirror: str = key(
        "", word(r"((https|file)://[!-~]+)?", "a URL, https://…"), FILES, example="https://mirror.example.com/python"
    )
    """Where uv downloads Python from. The mirror has the files of python-build-standalone's releases."""
    apt: tuple[str, ...] = key((), debian_packages, FILES, example=["libpq5"], applied_by=BOTH)
    """Debian packages that the app needs while it runs, such as libraries."""
    build_apt: tuple[str, ...] = key((), debian_packages, FILES, example=["gcc", "libpq-dev"])
    """Debian packages that are needed only while the app's packages are built. They are removed after the build.

    A compiler gets the headers of Python and of the C library, too. What was installed before is not removed.
    """
    include: tuple[str, ...] = key((), texts(inside), FILES, example=["shop", "dist"], unset="all that Git tracks")
    """Which files and directories of the project are uploaded. A path that Git does not track is uploaded, too.

    In a Git repository, what Git tracks below these paths is uploaded. If Git tracks nothing below a path, such as
    dist with the output of a build, all of it is uploaded, even if Git ignores it; a note says so. Another note lists
    what Git ignores below these paths. `["."]` is the whole project.
    """
    include_anyway: tuple[str, ...] = key((), texts(inside), FILES, example=["tests/test.key"])
    """Files to upload although they look like a private key, an .env file or a database.

    A deploy refuses such files. Without Git, it leaves them out and says so.
    """
    static: tuple[tuple[str, str], ...] = key((), static, FILES, example={"/static/": "shop/static"})
    """URL prefixes that PROXY serves by itself, each from a directory of the project.

    Hidden files are not served. The path of a directory has only letters, digits and . _ + @ - / in it.
    """
    precompressed: bool = key(True, flag, FILES, example=False)
    """Whether a deploy compresses the files of `static` once, so that PROXY need not do so in each request.

    Text of 1000 bytes and more gets a .gz, and a .br if the server has the command `brotli` (`apt = ["brotli"]`); those
    that the project has are used.
    """
    env: tuple[tuple[str, str], ...] = key(
        (), env, ENVIRONMENT, example={"LANGUAGE": "en", "DJANGO_SECRET_KEY": "$SECRET_KEY"}
    )
    """The app's environment variables. No secrets here: set them on the server, with `fab env.set NAME`.

    A value can refer to other variables: `$NAME` or `${NAME}`. `$$` is a plain `$`. `fab env` lists all variables.
    """
    health_path: str = key("/", word(PATH, "a path like /healthz"), HEALTH, example="/healthz")
    """The path of the health check. A new release gets traffic only after it answers GET on this path with 200."""
    health_seconds: int = key(30, number(1, 600), HEALTH, example=60)
    """How many seconds a new release has to pass the health check."""
    warm_paths: tuple[str, ...] = key(("/",), texts(word(PATH, "a path like /")), HEALTH, example=["/", "/search"])
    """Paths that the kit requests a few times before a release gets traffic. `[]`: none.

    So no visitor waits for what an app does only once, such as loading templates or connecting to a database. The
    answers do not matter.
    """
    watch_seconds: int = key(10, number(0, 3600), HEALTH, example=60)
    """How many seconds a new release is watched after the switch. If it fails, traffic is switched back. 0: not at all.

    It fails if it answers more requests with errors (5xx) than the old release did, or if its processes end.
    """
    build_command: str = key("", LINE, RELEASES, example="npm ci && npm run build")
    """A command that builds files of a release, such as style sheets or translations, before it starts.

    It runs in the release's source, where it can write, with the packages of `requirements` and the environment of the
    release, in a sandbox with network access and without the app's data. What it makes is part of the release: it is
    read-only afterwards, and a rollback brings it back. It runs again for each deploy of changed files or settings.
    Programs that it needs, such as npm, come by `apt` (they stay) or `build_apt` (they are installed for each build).
    """
    build_seconds: int = key(900, number(1, 86_400), RELEASES, example=1800)
    """How many seconds `build_command` may take."""
    release_command: str = key("", LINE, RELEASES, example="flask db upgrade")
    """A command that runs once for each new release, before it gets traffic, such as a database migration. If it
    fails, the old release keeps serving.

    It runs as the app's user in the app's sandbox, with the environment of the new release.
    """
    release_seconds: int = key(300, number(1, 86_400), RELEASES, example=900)
    """How many seconds `release_command` may take."""
    keep_releases: int = key(5, number(1, 100), RELEASES, example=10)
    """How many good releases are kept on the server besides the current one, for `fab rollback`.

    As many releases that were rolled back are kept, too.
    """
    worker_class: str = key(
        "gthread", one_of(("gthread", "sync", "gevent", "eventlet", *ASGI_WORKERS)), WORKERS, example="sync"
    )
    """The class of RUNNER's workers. If the app is not thread-safe, set "sync" and more `workers`.

    "gevent" and "eventlet" need the package of that name in `requirements`. The class of the name of
    ASGI_RUNNER runs an ASGI app under RUNNER. Other runners have no classes.
    """
    workers: int = key(0, number(0, 256), WORKERS, example=4)
    """How many worker processes run. 0: one for each CPU of the server. An app that keeps what its visitors share, such
    as open WebSockets, in its own memory needs 1.
    """
    threads: int = key(8, number(1, 256), WORKERS, example=16)
    """How many threads each worker has for a WSGI app. Of RUNNER's classes, only "gthread" has threads."""
    timeout_seconds: int = key(30, number(1, 3600), WORKERS, example=120)
    """How many seconds a request may take. Open requests get the same time when a release is replaced."""
    stream_drain_seconds: int = key(30, number(0, 86_400), WORKERS, example=300)
    """How many seconds open WebSockets and event streams stay on the old release after a switch. A deploy does not wait
    for them: the old release is stopped in the background.

    Then they are closed, and clients that connect again reach the new release. At most two old releases keep running
    in this way; an older one is stopped at once.
    """
    max_body_megabytes: int = key(10, number(1, 10_000), VISITORS, example=100)
    """The largest request that PROXY accepts, in megabytes."""
    stream_uploads: bool = key(False, flag, VISITORS, example=True)
    """Whether PROXY passes an upload on while it arrives. false: it keeps the upload in a file until it is complete.

    true is for uploads of gigabytes: they need no space on PROXY's disk, and the app can store them as they come. But a
    slow upload then keeps a worker or a thread of the app busy. See `max_body_megabytes` and `timeout_seconds`.
    """
    redirects: tuple[tuple[str, str], ...] = key(
        (), redirects, VISITORS, example={"/old": "/new", "/blog/": "https://blog.example.com/"}
    )
    """Paths that have moved: PROXY sends visitors on, permanently (308). The query is kept.

    A path that ends with / stands for all paths below it, and so must its target. A target is a path, or a URL.
    """
    block_scans: bool = key(True, flag, VISITORS, example=False)
    """Whether PROXY answers 404 to what only scanners ask for: /wp-login.php, /.env, /.git/, /cgi-bin/, *.php.

    Such requests do not reach the app. `static` and `redirects` are not affected. false: if the app has such paths.
    """
    stream_idle_seconds: int = key(3600, number(1, 86_400), VISITORS, example=600)
    """After how many seconds without data PROXY closes a WebSocket or an event stream.

    What counts as one is the request: a WebSocket's, or one with `Accept: text/event-stream`, as browsers send it for
    an EventSource. For other responses, `timeout_seconds` applies.
    """
    requests_per_second: int = key(0, number(0, 100_000), VISITORS, example=20)
    """How many requests one address may make in a second, with bursts of twice as many. 0: no limit, as behind a CDN.

    Requests above the limit get status 429. Static files do not count. For IPv6, an address is a /64 network. A CDN
    has few addresses for all visitors, so there must be no limit behind one.
    """
    connections_per_address: int = key(500, number(0, 65_535), VISITORS, example=2000, applied_by=BOTH)
    """How many connections and how many open requests one address may have. 0: no limit, as behind a CDN.

    Connections above the limit get no answer, requests above it get status 429. For IPv6, an address is a /64
    network. 500 is enough for 80 browsers behind one router. The firewall counts connections for the whole server: the
    largest number of the server's apps applies. Requests are counted for each site. With `firewall = false`, only
    requests are counted. The addresses in `trusted_proxies` have no limit.
    """
    data_megabytes: int = key(0, number(0, 1_000_000_000), RESOURCES, example=2000, applied_by=PROVISION)
    """How many megabytes of data the app may have in /var/lib/NAME. Above that, it can only read. 0: half of the disk.

    To make room: `fab run "rm …"`. The size is measured every 20 s, so the app can exceed the limit
    for that long.
    """
    memory_percent: int = key(75, number(1, 100), RESOURCES, example=50)
    """How much of the server's memory one running release may use, in percent.

    Above the limit, the kernel ends one of its processes (MemoryMax= of systemd).
    """
    cpu_percent: int = key(0, number(0, 100_000), RESOURCES, example=150)
    """How much CPU time one running release may use, in percent of one CPU. 0: no limit (CPUQuota= of systemd)."""
    tasks_max: int = key(512, number(8, 100_000), RESOURCES, example=1000)
    """How many processes and threads one running release may have together (TasksMax= of systemd)."""
    tmp_megabytes: int = key(256, number(1, 100_000), RESOURCES, example=1000)
    """The size of /tmp, of /var/tmp and of /dev/shm, in megabytes for each of them.

    These directories are the app's own, in memory, and empty at each start. They count against `memory_percent`. For
    larger temporary files, set TMPDIR in `[app.env]` to a directory below /var/lib/NAME.
    """
    outbound: bool = key(True, flag, PERMISSIONS, example=False)
    """Whether the app may connect to other servers: databases, mail, APIs. false: no network access.

    Without network access, the app still answers on its own socket.
    """
    allow_link_local: bool = key(False, flag, PERMISSIONS, example=True, applied_by=BOTH)
    """Whether the app may connect to link-local addresses. At 169.254.169.254, clouds serve its credentials."""
    allow_jit: bool = key(False, flag, PERMISSIONS, example=True)
    """Whether the app may write memory and execute it, as PyPy, Numba and other just-in-time compilers need."""
    writable: tuple[str, ...] = key(
        (), writable, PERMISSIONS, example=["media", "db.sqlite3"], unset='["instance"] if the app uses that directory'
    )
    """Paths in the source that are data, so the app may write them: directories, or a file such as a SQLite database.

    They are kept in /var/lib/NAME, and each release has links to them. What is uploaded there is copied to
    /var/lib/NAME if the path does not exist there yet, so it is not replaced by later deploys. PROXY serves such a
    directory if `static` names it.
    """
    writable_paths: tuple[str, ...] = key(
        (), texts(word(r"/[\w./+-]+", "a path on the server, like /srv/media")), PERMISSIONS, example=["/srv/media"]
    )
    """Paths on the server that the app may write, besides /var/lib/NAME. You set their owner and mode."""
    devices: tuple[str, ...] = key(
        (), texts(word(r"/dev/[\w./-]+", "a device, like /dev/fuse")), PERMISSIONS, example=["/dev/fuse"]
    )
    """Devices on the server that the app may use."""
    mount: str = ""  # the stage's path without its last /

    web: str = ""  # the command of [processes.web], or of the Procfile's web
    processes: tuple[Process, ...] = ()  # the others
    timers: tuple[Timer, ...] = ()

    @property
    def is_asgi(self) -> bool:
        """Whether it is called by ASGI. A runner or workers that only do that mean it for `wsgi`, too."""
        return bool(self.asgi) or self.worker_class in ASGI_WORKERS or RUNNERS.get(self.runner) == ("asgi",)

    @property
    def served(self) -> str:
        return self.asgi or self.wsgi

    @property
    def target(self) -> str:
        """What names the app's code: what is served, or what a known server is told to serve in the web command."""
        return self.served or target_of(self.web)

    @property
    def run_by(self) -> str:
        """The name of its runner."""
        if self.web:
            return SERVER_OF_ITS_OWN
        return self.runner or (ASGI_RUNNER if self.is_asgi and self.worker_class not in ASGI_WORKERS else RUNNER)


@dataclass(frozen=True)
class Stage:
    """Where the app runs and how visitors reach it: a table [stages.NAME]. Paths start in the project's directory."""

    name: str
    hosts: tuple[str, ...] = field(
        metadata=attributes(texts(host), SERVERS, example=["root@shop.example.com"], applied_by=BOTH)
    )
    """The servers of the stage, as for ssh. The user is root, or may use sudo."""
    domain: str = key(
        "",
        word(DOMAIN, "a domain in small letters, like shop.example.com"),
        NAMES,
        example="shop.example.com",
        unset="the host's address, without https",
        applied_by=BOTH,
    )
    """The domain that visitors type. With it, the site has https. DNS must point the domain to the host.

    http is redirected to https. Each app on a server needs a domain of its own, or a `port` or `path`.
    """
    port: int = key(0, number(1, 65535), NAMES, example=8443, unset="80; with a certificate 443", applied_by=BOTH)
    """The port that visitors use, if it is not the usual one. The firewall opens it. One app uses a port.

    With a domain and a certificate, the site has https there; otherwise http. So several apps can run on a host without
    a domain. "acme" still needs port 80, for the validation of the domain.
    """
    path: str = key(
        "",
        word(r"/([A-Za-z0-9_.-]+/)+", 'a path that begins and ends with /, like "/blog/"'),
        NAMES,
        example="/blog/",
        unset="the whole domain",
    )
    """The path below which visitors find the app, on a domain that other apps use, too. The app needs no change.

    The domain, its certificate and its TLS settings are those of the app that has the whole domain, or of the first one
    with a path on it; `tls` says whether it has https. The app gets the path as SCRIPT_NAME (WSGI) or root_path (ASGI),
    so the URLs that Flask, Django and FastAPI build contain it. `static` is below it, too.
    """
    aliases: tuple[str, ...] = key(
        (), texts(word(rf"(\*\.)?{DOMAIN}", "a domain in small letters")), NAMES, example=["www.shop.example.com"]
    )
    """Other domains of the site. Visitors are redirected to `domain`. The certificate covers them, too."""
    serve_aliases: bool = key(False, flag, NAMES, example=True)
    """Whether the app itself answers at the aliases. false: they are redirected.

    A wildcard (`*.example.com`) needs `serve_aliases = true` and `tls = "files"`.
    """
    tls: str = key("acme", word("acme|files|off", '"acme", "files" or "off"'), TLS, example="files", applied_by=BOTH)
    """Where the certificate comes from. "acme": from Let's Encrypt, free and renewed automatically. "files": your own.
    "off": no certificate and no https, for a host behind another proxy.

    "acme" asks the certificate authority of `acme_directory`. "files" needs `certificate` and `certificate_key`. With
    "off", name the other proxy in `trusted_proxies`. Without a domain, "acme" is "off".
    """
    certificate: str = key("", word(r".+", "a path on this machine"), TLS, example="certificates/shop.pem")
    """With `tls = "files"`: a PEM file on this machine with the certificate, followed by its chain.

    `fab deploy` installs a new one.
    """
    certificate_key: str = key("", word(r".+", "a path on this machine"), TLS, example="certificates/shop.key")
    """With `tls = "files"`: a PEM file on this machine with the key of the certificate, without a passphrase."""
    acme_email: str = key("", word(r"[^@\s,]+@[^@\s,]+\.[^@\s,]+", "an e-mail address"), TLS, example="you@example.com")
    """The e-mail address to which the certificate authority can write."""
    acme_directory: str = key(
        "https://acme-v02.api.letsencrypt.org/directory",
        word(r"https://[!-~]+", "an ACME server's directory, https://…"),
        TLS,
        example="https://acme-staging-v02.api.letsencrypt.org/directory",
    )
    """The URL of the certificate authority that "acme" asks, by default Let's Encrypt's."""
    acme_ca: str = key("", word(r".+", "a path on this machine"), TLS, example="certificates/our-ca.pem")
    """A PEM file on this machine with the CA of the ACME server's own certificate, if that CA is a private one.

    The hosts of the stage trust this CA from then on.
    """
    hsts_days: int = key(7, number(0, 730), TLS, example=365)
    """How many days browsers refuse to visit the domain without https (HSTS). 0: none. It cannot be undone: if
    https fails, browsers that have visited the site cannot reach it until the days are over.

    A year is usual, once you are sure that https works.
    """
    trusted_proxies: tuple[str, ...] = key((), texts(network), TLS, example=["10.0.0.0/8"], applied_by=BOTH)
    """The addresses or networks of another proxy, through which visitors reach the host, such as a load balancer.

    Its X-Forwarded-For and X-Forwarded-Proto are trusted. Those of all others are ignored.
    """
    cdn: str = key("", one_of(tuple(CDNS)), TLS, example="cloudflare", applied_by=BOTH)
    """The CDN in front of the host. Ashore knows the networks that it publishes: what comes from there is trusted to
    say who the visitor is, and whether by https.

    `trusted_proxies` adds networks to them. With "acme", the CDN must pass on `/.well-known/acme-challenge/`.
    """
    cdn_only: bool = key(False, flag, TLS, example=True)
    """Whether only visitors that come through `cdn` or `trusted_proxies` get an answer. Others get none, so nobody can
    go around what the CDN checks.

    The validation of the domain by a certificate authority is still answered.
    """
    basic_auth: str = key("", word(r".+", "a path on this machine"), NAMES, example="staging.htpasswd")
    """A file on this machine with users and hashed passwords, one `user:hash` a line: visitors must log in by them, as
    for a staging site. `printf 'ada:%s\\n' "$(openssl passwd -6)" >>staging.htpasswd` adds a user.

    `health_path` (unless that is the front page) and the validation of the domain stay open, and so does the site for
    the server itself.
    """
    host_keys: tuple[str, ...] = key(
        (),
        texts(word(HOST_KEY, '"SHA256:…" or "HOST SHA256:…", the fingerprint from `ssh-keygen -lf`')),
        SERVERS,
        example=["SHA256:0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"],
        unset="asked at the first connection",
        applied_by=(),
    )
    """The fingerprints of the hosts' SSH keys, as `ssh-keygen -lf` shows them.

    With several hosts, name the host of each: "web1.example.com SHA256:…", as in `hosts`, without the user and with the
    port if it has one. An entry without a host is accepted for every host, and for a jump host.
    """
    env: tuple[tuple[str, str], ...] = key((), env, ENVIRONMENT, example={"LANGUAGE": "de"})
    """Environment variables of this stage. They override those of `[app.env]`."""
    firewall: bool = key(True, flag, FIREWALL, example=False, applied_by=PROVISION)
    """Whether the kit sets up the server's firewall. false: you do (ufw, firewalld), and the kit removes its own.

    There is one firewall for the whole server.
    """
    open_ports: tuple[str, ...] = key(
        (), texts(open_port), FIREWALL, example=["8443/tcp", "60000-61000/udp"], applied_by=PROVISION
    )
    """Which ports the firewall opens for this app, besides SSH, 80 and 443."""
    key_file: str = ""
    authority: str = ""  # path of the CA that its certificate is from, where only this machine knows it
    pin: bool = True  # write a host key that was accepted into known_hosts


TABLES = {"app": App, "processes.NAME": Process, "timers.NAME": Timer, "stages.NAME": Stage}
