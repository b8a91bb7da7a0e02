"""The default runner and proxy: names of modules in stack/runners and stack/proxies."""

RUNNER = "gunicorn"
PROXY = "nginx"
