"""What accepts visitors' connections. One file per proxy, found by its name; nothing else in the kit names one.

A new proxy is a module here with a class of `base.Proxy` and `PROXY = ThatClass()`, its name in `constants.PROXIES`,
its templates, and a test of its files.
"""

from functools import cache
from importlib import import_module

from ...agent import constants
from ...config.reader import App
from .base import Proxy


@cache
def proxy(name: str = constants.PROXY) -> Proxy:
    found: Proxy = import_module(f"{__name__}.{name}").PROXY
    return found


def proxy_of(app: App) -> Proxy:
    return proxy(app.proxy)
