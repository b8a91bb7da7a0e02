"""`python -m ashore` is `ashore`."""

import sys

from .cli.main import main

sys.argv[0] = "ashore"
main()
