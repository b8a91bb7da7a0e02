# Written by Ashore from templates/python/served.py.j2: edit that, not this. [seal 3dfe696ce9b6]
# What Granian serves of this release: shop:app, from the source.
import importlib
import os
import sys
import traceback

sys.path.insert(0, os.getcwd())
try:
    app = importlib.import_module("shop").app
except Exception:
    traceback.print_exc()
    sys.exit(3)  # with another status, some runners start a process that failed again and again

served = app


def app(environ, start_response):
    """The app, told who asks and how: by what the proxy says, as nobody else reaches the socket."""
    environ["REMOTE_ADDR"] = environ.get("HTTP_X_FORWARDED_FOR", "")
    if environ.get("HTTP_X_FORWARDED_PROTO") == "https":
        environ["wsgi.url_scheme"] = "https"
    return served(environ, start_response)
