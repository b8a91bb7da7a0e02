"""What runs an app. One file per runner, found by its name; nothing else in the kit names one.

A new runner is a module here with a class of `base.Runner` and `RUNNER = ThatClass()`, its name in `constants.RUNNERS`,
and a test of its unit.
"""

from functools import cache
from importlib import import_module

from ...agent import constants
from ...config.reader import App
from .base import Runner


@cache
def runner(name: str = constants.RUNNER) -> Runner:
    found: Runner = import_module(f"{__name__}.{name}").RUNNER
    return found


def runner_of(app: App) -> Runner:
    return runner(app.run_by)
