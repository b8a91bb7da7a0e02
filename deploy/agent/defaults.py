"""What the kit runs an app with and what it puts in front: the names of modules in stack/runners and stack/proxies."""

RUNNER = "gunicorn"
PROXY = "nginx"
