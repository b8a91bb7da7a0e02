"""What all parts of the kit agree on, on both sides."""

# What runs an app: the names of the modules in stack/runners, and the interfaces by which each calls an app.
RUNNERS = {
    "gunicorn": ("wsgi", "asgi"),
    "uvicorn": ("asgi",),
    "hypercorn": ("asgi",),
    "granian": ("asgi", "wsgi"),
    "waitress": ("wsgi",),
}
RUNNER, ASGI_RUNNER = "gunicorn", "uvicorn"  # unless said otherwise
SERVER_OF_ITS_OWN = "own_server"  # runs one by a command: a module in stack/runners, too
ASGI_WORKERS = {"uvicorn": "uvicorn_worker.UvicornWorker"}  # worker_class in deploy.toml → that of RUNNER
# What visitors connect to: the names of the modules in stack/proxies, and of their packages; and the settings, of [app]
# or of a stage, that each cannot fulfil.
PROXIES: dict[str, tuple[str, ...]] = {"nginx": (), "caddy": ("requests_per_second",)}
# The project's own lines for a site, in the directory of its own templates.
OWN_LINES = {"nginx": "nginx/server.conf", "caddy": "caddy/site.caddy"}
PROXY, OTHER_PROXY = "nginx", "caddy"  # the first one unless said otherwise
RELEASE_ID = r"\d{8}-\d{6}"  # UTC of its building, RELEASE_TIME
RELEASE_TIME = "%Y%m%d-%H%M%S"
