"""`ashore`: the program that an installation brings. Fabric's, with the kit's commands in it and no fabfile."""

import sys

from ..session import interrupts


def main() -> None:
    """Run the command line; ends the process."""
    interrupts.take_over()  # before all else: what follows takes a while to load
    from .program import installed

    installed().run()
    sys.exit(0)
