"""Ashore takes a Python web app from localhost to a live server.

    fab sandbox provision deploy      try it on a throwaway server on this machine
    fab provision deploy              work on the stage `production` of deploy.toml
    fab staging deploy                work on another stage
    fab -H root@203.0.113.10 deploy   work on a host given on the command line

`fab --help COMMAND` shows a command's options, `fab explain KEY` explains a key of deploy.toml. Every command can be
run again: it changes only what is not done yet.

Exit status: 0 success; 1 failure; 2 `--check` found something that would change; 3 done, but visitors get errors, or
got some during the change; 130 Ctrl-C. `fab run` and `fab shell` exit with the status of their command.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`namespace` is loaded when it is first asked for: what a fabfile.py imports as `ns`."""
    if name != "namespace":
        raise AttributeError(name)
    from ..session import interrupts

    interrupts.take_over()  # before all else: what follows takes a while to load
    from .program import namespace

    globals()[name] = made = namespace(__doc__ or "")  # an import asks twice
    return made
