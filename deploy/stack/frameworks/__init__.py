"""What an app is made with. One file per framework, found by its name; nothing else in the kit names one.

A new framework is a module here with a class of `base.Framework` and `FRAMEWORK = ThatClass()`, a line in NAMES, and a
test. What it says is read from the source and never run.
"""

from importlib import import_module

from ...config.reader import App
from .base import Framework, Reading

NAMES = ("django", "flask")  # the first that recognises the source counts
PLAIN = Framework()


def framework_of(app: App, reading: Reading) -> Framework:
    found: list[Framework] = [import_module(f"{__name__}.{name}").FRAMEWORK for name in NAMES]
    return next((each for each in found if each.recognises(app, reading)), PLAIN)
