"""Which TCP ports the server listens on, and which processes do, from /proc."""

import os
from contextlib import suppress


def tcp_sockets() -> str:
    """The kernel's tables, /proc/net/tcp and tcp6, together."""
    found = ""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table, encoding="ascii") as lines:
                found += lines.read()
    return found


def listening(tables: str) -> dict[str, int]:
    """Inode → port of the sockets that listen. tables: see `tcp_sockets`."""
    rows = [line.split() for line in tables.splitlines()]
    return {row[9]: int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 9 and row[3] == "0A"}


def sockets_of(pid: str) -> set[str]:
    """Inodes of the sockets that a process holds."""
    found = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # closed while we looked
                found.add(os.readlink(entry.path)[8:-1])  # socket:[INODE]
    return found


def ports_of(pid: str, tables: str) -> set[int]:
    """The ports that a process listens on."""
    own = sockets_of(pid)
    return {port for inode, port in listening(tables).items() if inode in own}


def owners(sockets: set[str]) -> list[tuple[str, str]]:
    """(program, pid) of each process that holds one of the sockets."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if sockets & sockets_of(pid):
            with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                found.append((comm.read().strip(), pid))
    return found
