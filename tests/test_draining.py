"""Who is still connected to an instance that is to be stopped, by what `ss` lists."""

import pytest

from deploy.agent.resources.serving.retired import connections

HERE = "/run/shop/20260301-120405/"
LISTEN = "u_str LISTEN {} 2048 /run/shop/20260301-120405/own/http.sock 100 * 0"
OPEN = "u_str ESTAB 0 0 /run/shop/20260301-120405/own/http.sock 101 * 102"
OTHERS = "u_str ESTAB 0 0 /run/shop/20260301-120406/own/http.sock 103 * 104\nu_str ESTAB 0 0 * 102 * 101\n\nu_dgr"


@pytest.mark.parametrize(
    ("lines", "queued", "connected"),
    [
        ([], 0, 0),
        ([LISTEN.format(0)], 0, 0),
        ([LISTEN.format(3)], 3, 0),
        ([LISTEN.format(0), OPEN, OPEN], 0, 2),
    ],
)
def test_connections_to_the_sockets_of_one_instance_are_counted(lines: list[str], queued: int, connected: int):
    assert connections("\n".join([OTHERS, *lines]), HERE) == (queued, connected)
