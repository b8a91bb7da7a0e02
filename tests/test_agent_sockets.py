"""Sockets that listen, as the kernel tells of them."""

import os
import socket
from pathlib import Path

from deploy.agent.sockets import listening, owners, ports_of, sockets_of, tcp_sockets

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 01004C0A:0016 02004C0A:D431 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 20 4 29 10 -1
"""


def test_sockets_that_listen_are_found_and_connected_ones_are_not():
    assert listening(TCP) == {"4711": 22, "4712": 80}
    assert listening("") == {}


def test_a_process_s_ports_are_those_of_its_own_sockets():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as v6,
    ):
        ports = {server.getsockname()[1], v6.getsockname()[1]}
        assert ports <= ports_of(str(os.getpid()), tcp_sockets())
        assert not ports & ports_of(str(os.getppid()), tcp_sockets())
    assert ports_of("999999999", tcp_sockets()) == set()


def test_the_program_that_holds_a_socket_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        inode = str(os.fstat(server.fileno()).st_ino)
        assert inode in sockets_of(str(os.getpid()))
        assert owners({inode}) == [(Path("/proc/self/comm").read_text().strip(), str(os.getpid()))]
    assert owners({"0"}) == []
