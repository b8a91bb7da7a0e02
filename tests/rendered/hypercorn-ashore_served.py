# Written by Ashore from templates/python/served.py.j2: edit that, not this. [seal 76b57bdc0922]
# What Hypercorn serves of this release: shop:app, from the source.
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
SCHEMES = {("websocket", b"https"): "wss", ("websocket", b"http"): "ws", ("http", b"https"): "https"}


async def app(scope, receive, send):
    """The app, told who asks and how: by what the proxy says, as nobody else reaches the socket."""
    if scope["type"] != "lifespan":
        headers = dict(scope["headers"])
        address = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        scheme = SCHEMES.get((scope["type"], headers.get(b"x-forwarded-proto")), scope.get("scheme", "http"))
        scope = {**scope, "client": (address, 0) if address else None, "scheme": scheme}
    await served(scope, receive, send)
