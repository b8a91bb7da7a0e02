"""Nginx's own configuration: what is changed in it, and what is not."""

from pathlib import Path

import pytest

from deploy.agent.resources.release.static import StaticLinks
from deploy.agent.resources.serving.nginx import WorkerConnections, place_of
from deploy.agent.system import System
from deploy.agent.wire import Failed, Refused

DEBIAN = """\
user www-data;
worker_processes auto;
# events { worker_connections 5; }
events {
\tworker_connections 768;
\t# worker_connections 1024;
\t# multi_accept on;
}
http {
\ttypes_hash_max_size 2048; # \xe9t\xe9
}
"""


def resource(tmp_path: Path, text: str = DEBIAN, test: str = "true") -> WorkerConnections:
    (tmp_path / "nginx.conf").write_text(text)
    return WorkerConnections(16384, str(tmp_path / "nginx.conf"), (test,))


def test_only_the_number_is_raised(tmp_path: Path):
    raising = resource(tmp_path)
    assert [drift.what for drift in raising.check(System())] == ["worker_connections"]
    raising.apply(System())
    assert (tmp_path / "nginx.conf").read_text() == DEBIAN.replace("768", "16384")
    assert raising.check(System()) == []


def test_a_larger_number_stays(tmp_path: Path):
    raising = resource(tmp_path, DEBIAN.replace("768", "20000"))
    assert raising.check(System()) == []


def test_what_nginx_does_not_accept_is_put_back_as_it_was(tmp_path: Path):
    raising = resource(tmp_path, test="false")
    (tmp_path / "nginx.conf").chmod(0o600)
    with pytest.raises(Failed):
        raising.apply(System())
    assert (tmp_path / "nginx.conf").read_text() == DEBIAN
    assert (tmp_path / "nginx.conf").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_text_of_one_encoding_keeps_its_bytes(tmp_path: Path):
    raising = resource(tmp_path)
    (tmp_path / "nginx.conf").write_bytes(DEBIAN.encode("latin-1"))
    raising.apply(System())
    assert (tmp_path / "nginx.conf").read_bytes() == DEBIAN.replace("768", "16384").encode("latin-1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "events { include connections.conf; }",
        "events { worker_connections 5; worker_connections 6; }",
        "events { worker_connections 5; } events { worker_connections 6; }",
        "http { worker_connections 5; } events { }",
        "worker_connections 5;",
    ],
)
def test_a_file_of_another_shape_is_left_alone(tmp_path: Path, text: str):
    raising = resource(tmp_path, text)
    with pytest.raises(Refused, match="worker_connections"):
        raising.check(System())
    assert (tmp_path / "nginx.conf").read_text() == text


def test_the_number_is_found_on_one_line_too():
    text = "events{worker_connections   512 ;}"
    assert text[slice(*place_of(text))] == "512"


def test_before_nginx_is_installed_there_is_something_to_do(tmp_path: Path):
    missing = WorkerConnections(16384, str(tmp_path / "nginx.conf"))
    assert [drift.found for drift in missing.check(System())] == ["absent"]


def test_a_release_gets_links_to_its_static_files_once(tmp_path: Path):
    (tmp_path / "source/shop/static").mkdir(parents=True)
    (tmp_path / "source/shop/static/style.css").write_text("body {}")
    links = StaticLinks(str(tmp_path), "root", ((",static,", "shop/static"), (",media,", "media")), "Nginx")
    assert len(links.check(System())) == 2
    links.apply(System())
    assert links.check(System()) == []
    assert (tmp_path / "static/,static,/style.css").read_text() == "body {}"
