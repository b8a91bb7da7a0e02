"""Makes a process look to the kit like one on Windows, as far as that can be had on Unix: what Unix alone has is gone.

    python tests/as_on_windows.py WORDS   `ashore WORDS`, in such a process

Paths stay those of Unix: Python cannot have the others here.
"""

import asyncio  # noqa: F401  # first all that chooses once, when it is loaded
import getpass  # noqa: F401
import os
import signal
import socket
import subprocess  # noqa: F401
import sys
import time
import warnings
from pathlib import Path

import cryptography.x509  # noqa: F401
import fabric.main  # noqa: F401
import invoke.terminals  # noqa: F401
import jinja2  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
MODULES = "crypt curses fcntl grp nis posix pty pwd readline resource spwd syslog termios tty"
MISSING = {
    os: "chown fchmod fchown fork forkpty fstatvfs getegid geteuid getgid getgroups getloadavg getpgid getuid"
    " initgroups killpg lchown mkfifo mknod nice openpty posix_fallocate pread pwrite sched_getaffinity setgid setsid"
    " setuid statvfs sysconf ttyname uname wait O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_PATH WNOHANG",
    signal: "alarm pthread_kill pthread_sigmask setitimer sigwait ITIMER_REAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL"
    " SIGPIPE SIGQUIT SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH",
    socket: "AF_UNIX SCM_RIGHTS SO_PEERCRED",
    time: "clock_gettime tzset",
}


def become() -> None:
    for name in MODULES.split():
        sys.modules[name] = None  # type: ignore[assignment]  # importing it is an ImportError
    for module, names in MISSING.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "win32"
    # There, a file is in the old code page unless its encoding is given; needs python -X warn_default_encoding.
    warnings.simplefilter("ignore", EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"(deploy|ashore)\.")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from deploy.cli.main import main

    become()
    sys.argv[0] = "ashore"
    main()
