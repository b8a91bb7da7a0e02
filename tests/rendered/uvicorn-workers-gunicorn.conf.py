# Written by Ashore from templates/gunicorn/gunicorn.conf.py.j2: edit that, not this. [seal fd03a81223f1]
# How Gunicorn runs this release. A version of Gunicorn ignores what it does not know: all from 19.9 on take this file.
import os
import socket

import gunicorn
import gunicorn.util

# What deploy.toml leaves open.
worker_class = "uvicorn_worker.UvicornWorker"
workers = 2
threads = 1
timeout = 30
graceful_timeout = 30

# The app's own settings, above all its hooks.
own = "gunicorn.conf.py"
if os.path.exists(own):
    __file__ = os.path.abspath(own)
    with open(own, encoding="utf-8") as text:
        exec(compile(text.read(), own, "exec"))
if worker_class != "gthread" and threads == 1:
    threads = 1  # with more, other workers become gthread

# What deploy.toml sets.
worker_class = "uvicorn_worker.UvicornWorker"
threads = 1

# What systemd and Nginx rely on. The socket and its mode are on the command line.
daemon = reload = reuse_port = False
pidfile = user = group = certfile = keyfile = None
graceful_timeout = min(graceful_timeout, 30)
worker_tmp_dir = "/dev/shm"  # its heartbeat files are in memory
forwarded_allow_ips = "*"  # whoever reaches the socket is the proxy
control_socket_disable = True
# It is the app's user already. Older versions become that user once more, which systemd does not permit.
gunicorn.util.set_owner_process = lambda *given, **named: None
for log in ("accesslog", "errorlog"):
    if globals().get(log):
        globals()[log] = "-"  # the journal

# Before 20, Gunicorn does not tell systemd that it is ready, and its threads do not run on Python 3.10 and later.
if gunicorn.version_info < (20,):
    worker_class, threads = "sync" if worker_class == "gthread" else worker_class, 1
    app_ready = globals().get("when_ready")

    def when_ready(server):
        if app_ready:
            app_ready(server)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.connect(os.environ["NOTIFY_SOCKET"])
            systemd.send(b"READY=1")
