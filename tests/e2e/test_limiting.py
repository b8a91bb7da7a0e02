"""What one visitor may take of Nginx, and that the others are served meanwhile."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from standing import DOMAIN, Project, Server, change_app
from visiting import Crowd, elsewhere, wait_for

from deploy.sandbox.network import BRIDGE

HALF = f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\n".encode()  # no empty line: the request goes on
OPEN = f"POST / HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 9\r\n\r\nx".encode()  # a body that does not come


@pytest.fixture
def visitor(live: Server) -> Iterator[str]:
    """An address that nobody else has, on the way to which the server sends its answers."""
    address = f"198.51.100.{live.machine.address.rpartition('.')[2]}"
    with elsewhere(BRIDGE, f"{address}/32"):
        yield address


def asked(live: Server, source: str, path: str = "/healthz", to: str = "") -> int:
    """The status of an answer to a request from this address."""
    connection = HTTPConnection(to or live.machine.address, 80, timeout=15, source_address=(source, 0))
    try:
        connection.request("GET", path, headers={"Host": DOMAIN})
        return connection.getresponse().status
    finally:
        connection.close()


def test_one_address_gets_so_many_connections_and_others_are_served_meanwhile(
    live: Server, project: Project, visitor: str
):
    project.fab("deploy")
    with Crowd(live.machine.address, visitor, 1600, HALF) as crowd:
        wait_for(lambda: crowd.held == 500, "as many connections as one address may hold", 8)
        assert [live.get("/healthz")[0] for _ in range(50)] == [200] * 50
        assert crowd.held > 400
    wait_for(lambda: asked(live, visitor) == 200, "those to be forgotten once they are closed")


def test_without_a_limit_nginx_holds_1600_half_open_requests_and_serves_others(
    live: Server, project: Project, visitor: str
):
    project.write_config("connections_per_address = 0")
    project.fab("provision", "deploy")
    with Crowd(live.machine.address, visitor, 1600, HALF) as crowd:
        wait_for(lambda: crowd.held == 1600, "all connections", 8)
        assert [live.get("/healthz")[0] for _ in range(50)] == [200] * 50
        assert crowd.held > 1400
    project.write_config()
    project.fab("provision", "deploy")
    assert "worker_connections 16384;" in live.run("cat", "/etc/nginx/nginx.conf")
    assert "0 changed" in project.fab("provision").out


def test_one_address_gets_so_many_open_requests_also_without_a_firewall(live: Server, project: Project, visitor: str):
    project.write_config("connections_per_address = 5")
    project.fab("deploy")  # the firewall has its limit from the last provision: 500
    with Crowd(live.machine.address, visitor, 5, OPEN) as crowd:
        wait_for(lambda: crowd.held == 5, "five open requests")
        wait_for(lambda: asked(live, visitor) == 429, "the next request to be refused")
        assert live.get("/healthz")[0] == 200
    wait_for(lambda: asked(live, visitor) == 200, "those to be forgotten once they are closed")
    project.write_config()
    project.fab("deploy")


@contextmanager
def over_ipv6(live: Server) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """The server's address, and three of visitors; the first two are of one /64."""
    number = live.machine.address.rpartition(".")[2]
    network = f"fd76:{number}"
    ours = (f"{network}:0:1::a", f"{network}:0:1::b", f"{network}:0:2::a")
    live.run("ip", "address", "replace", f"{network}::2/48", "dev", "host0", "nodad")
    try:
        with elsewhere(BRIDGE, *(f"{address}/48" for address in ours)):
            yield f"{network}::2", ours
    finally:
        live.run("ip", "address", "delete", f"{network}::2/48", "dev", "host0")


def test_an_ipv6_visitor_counts_by_64_in_requests_per_second(live: Server, project: Project):
    project.write_config("requests_per_second = 1")
    change_app(project, "LIMIT = 6")
    project.fab("deploy")
    with over_ipv6(live) as (server, (first, same, other)):
        both = ThreadPoolExecutor(2)
        wait_for(
            lambda: list(both.map(lambda source: asked(live, source, "/", server), [first, same])) == [429, 429],
            "both to be refused at the same time",
        )
        assert asked(live, other, "/", server) == 200
    project.write_config()
    project.fab("deploy")


def test_an_ipv6_visitor_counts_by_64_in_connections(live: Server, project: Project):
    project.write_config("connections_per_address = 40")
    project.fab("provision", "deploy")
    with over_ipv6(live) as (server, (first, same, other)):
        with Crowd(server, first, 30, HALF) as crowd, Crowd(server, same, 30, HALF) as more:
            wait_for(lambda: crowd.held + more.held == 40, "as many connections as one /64 may hold", 8)
            assert asked(live, other, "/healthz", server) == 200
            with socket.socket(socket.AF_INET6) as late:
                late.settimeout(0.5)
                late.bind((same, 0))
                with pytest.raises(TimeoutError):
                    late.connect((server, 80))
        with Crowd(server, first, 30, OPEN) as crowd, Crowd(server, other, 5, OPEN) as more:
            wait_for(lambda: crowd.held + more.held == 35, "open requests")
    project.write_config()
    project.fab("provision", "deploy")


def test_nginx_that_ran_before_the_kit_came_gets_the_files_that_it_needs(live: Server, project: Project):
    limit = "prlimit --nofile --noheadings --output=SOFT,HARD --pid=$(cat /run/nginx.pid)"
    live.script("prlimit --nofile=1024: --pid=$(cat /run/nginx.pid)")
    assert "nginx: 16384 connections per worker" in project.fab("provision").out
    soft, hard = live.script(limit).split()
    assert int(soft) == min(int(hard), 65536)
    assert "0 changed" in project.fab("provision").out
