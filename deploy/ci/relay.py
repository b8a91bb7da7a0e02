"""The only program that SSH runs for a CI key: it connects the client to the socket of its app.

`relay.py APP KEY` is the forced command of a line in authorized_keys. The command and variables of the client are
ignored. The relay tells the server's side which key it is, and the client's address.
"""

import os
import socket
import sys
import threading
from contextlib import suppress

BLOCK = 1 << 16


def main(app: str, key: str) -> None:
    origin = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(f"/run/ashore-ci/{app}.sock")
    except OSError as error:
        why = f"the server's side of the CI key does not answer ({error.strerror})"
        sys.exit(f"{why}: an operator has to run `fab ci.key` again")
    heard = False
    with suppress(OSError):
        link.sendall(f"{key} {origin or '-'}\n".encode())
        threading.Thread(target=upward, args=(link,), daemon=True).start()
        while data := link.recv(BLOCK):
            heard = True
            while data:
                data = data[os.write(1, data) :]
    if not heard:
        why = f"the server closed the connection (see there: journalctl -t systemd -t ashore-ci-{app})"
        sys.stderr.write(f"{why}; are there too many connections at the same time?\n")
        sys.stderr.flush()
    os._exit(0 if heard else 1)  # the other thread may be inside a read


def upward(link: socket.socket) -> None:
    with suppress(OSError):
        while data := os.read(0, BLOCK):
            link.sendall(data)
        link.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main(*sys.argv[1:])
