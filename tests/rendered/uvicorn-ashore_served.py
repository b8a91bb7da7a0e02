# Written by Ashore from templates/python/served.py.j2: edit that, not this. [seal 8df40bcd7136]
# What Uvicorn serves of this release: shop:app, from the source.
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
