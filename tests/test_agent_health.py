"""Why a new release does not answer as it should: what it answers, and what that comes to."""

import os
import pwd
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from deploy.agent.engine import put_right
from deploy.agent.resources.serving import health
from deploy.agent.resources.serving.health import Healthy, Reachable, as_visitor, settled_hint
from deploy.agent.resources.serving.http import Answer, http_answer
from deploy.agent.resources.serving.reasons import advice, hint_for, missing_module
from deploy.agent.system import System
from deploy.agent.wire import Failed
from deploy.stack.proxies.nginx import PROXY

REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"
PAGE = b"<!doctype html>\n<style>\nh1 {}\n</style>\n<title>500 Internal Server Error</title>\n<h1>Oh</h1>"
BROKEN = b"HTTP/1.0 500 INTERNAL SERVER ERROR\r\nContent-Type: text/html\r\n\r\n" + PAGE


@contextmanager
def app(path: Path, *answers: bytes) -> Iterator[str]:
    """A socket that gives these answers in turn, the last one for ever."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path / "http.sock"))
    listening.listen()

    def serve() -> None:
        waiting = list(answers)
        while True:
            try:
                visitor, _ = listening.accept()
            except OSError:
                return
            with visitor:
                visitor.recv(4096)
                visitor.sendall(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    threading.Thread(target=serve, daemon=True).start()
    yield str(path / "http.sock")
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


@pytest.fixture(autouse=True)
def as_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as Nginx's user, who may not reach a test's directory, or not exist."""
    monkeypatch.setattr(health, "as_visitor", lambda ask, seconds, user: ask())


UNIT = "shop@20260301-120405.service"


def waited(path: str, seconds: float = 30, *, started: bool = True) -> Failed:
    system = System()
    system.memory.started |= {UNIT: 0.0} if started else {}
    with pytest.raises(Failed) as failure:
        Healthy(UNIT, path, "/healthz", "shop.example.com", seconds).apply(system)
    return failure.value


def test_a_redirect_says_where_to_and_an_error_its_first_line(tmp_path: Path):
    with app(
        tmp_path, REDIRECT, BROKEN, b'HTTP/1.0 503 Oh\r\nContent-Type: application/json\r\n\r\n{"db": "<none>"}'
    ) as at:
        answers = [http_answer(at, "shop.example.com", "/", 5) for _ in range(3)]
    assert answers[0] == Answer("302", "/login")
    assert answers[1] == Answer("500", "", "500 Internal Server Error")
    assert answers[2] == Answer("503", "", '{"db": "<none>"}')
    assert Answer.of(answers[1].lines) == answers[1]


def test_a_steady_redirect_ends_the_wait_long_before_its_end(tmp_path: Path):
    began = time.monotonic()
    with app(tmp_path, REDIRECT) as at:
        failed = waited(at, seconds=60)
    assert time.monotonic() - began < 30
    assert "answers GET /healthz with 302 to /login, not with 200" in failed.what
    assert failed.hint.startswith("it redirects to /login: set health_path in deploy.toml")
    assert "fab logs --release 20260301-120405" in failed.hint


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), Failed("Too many open files")])
def test_where_no_process_can_be_made_to_ask_that_is_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def full(ask: object, seconds: float, user: str) -> str:
        raise error

    monkeypatch.setattr(health, "as_visitor", full)
    assert "(last answer: Too many open files)" in waited(str(tmp_path / "http.sock"), 0.2).what


def test_a_user_that_cannot_be_looked_up_is_told_of(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pwd, "getpwnam", {}.__getitem__)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Failed, match="the user www-data cannot be found"):
        as_visitor(lambda: "", 1)


def test_the_site_is_reached_once_it_has_answered_though_a_kept_connection_may_lead_to_the_dead_release(
    monkeypatch: pytest.MonkeyPatch,
):
    answers = ["500", "200", "500"]
    monkeypatch.setattr(health, "http_status", lambda *_: answers.pop(0))
    system, site = System(), Reachable("shop.example.com", "/healthz", 10, 80, PROXY.front)
    put_right(site, system)
    assert answers == ["500"]


def test_a_release_that_serves_and_does_not_answer_is_to_be_restarted(tmp_path: Path):
    assert "fab restart" in waited(str(tmp_path / "http.sock"), 0.1, started=False).hint
    assert "fab restart" not in waited(str(tmp_path / "http.sock"), 0.1).hint


def test_a_refusal_at_first_does_not_end_the_wait(tmp_path: Path):
    with app(tmp_path, REDIRECT, b"HTTP/1.0 404 No\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n") as at:
        Healthy("shop@1.service", at, "/", "shop.example.com", 20).apply(System())


def test_an_app_that_is_not_ready_is_waited_for_to_the_end_and_its_words_are_shown(tmp_path: Path):
    with app(tmp_path, BROKEN) as at:
        failed = waited(at, seconds=0.3)
    assert "within 0.3 s (last answer: 500: 500 Internal Server Error)" in failed.what
    assert not Answer("429").settled and not Answer("503").settled and Answer("404").settled


@pytest.mark.parametrize(
    ("status", "said"), [("400", "ALLOWED_HOSTS"), ("401", "login"), ("404", "no such path"), ("405", "health_path")]
)
def test_each_refusal_has_its_advice(status: str, said: str):
    assert said in settled_hint(Answer(status), "shop.example.com")
    assert "health_path" in settled_hint(Answer(status), "shop.example.com")


def release(tmp_path: Path, *files: str) -> str:
    tmp_path.mkdir(exist_ok=True)
    record = '{"app": {"wsgi": "shop:app", "requirements": "requirements.txt"}}'
    (tmp_path / "release.json").write_text(record)
    for file in files:
        path = tmp_path / "source" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return str(tmp_path)


def test_a_missing_package_is_to_be_added_to_the_requirements(tmp_path: Path):
    made = release(tmp_path, "shop.py", "static/redis/logo.svg")
    assert (
        missing_module("redis.asyncio", made)
        == "add the package that contains the module redis.asyncio to requirements.txt"
    )


def test_a_missing_module_of_the_app_leads_to_wsgi(tmp_path: Path):
    assert 'wsgi = "src.shop:app"' in missing_module("shop", release(tmp_path, "src/shop/__init__.py"))


def test_a_module_that_was_not_deployed_leads_to_git_include_and_wsgi(tmp_path: Path):
    for module, made in (
        ("shop", release(tmp_path / "a", "other.py")),
        ("shop.pay", release(tmp_path / "b", "shop.py")),
    ):
        assert missing_module(module, made).startswith(f"the deployed files have no module {module}: is it in git")


def test_only_python_s_own_words_lead_to_that_advice():
    said = "Traceback (most recent call last)\nModuleNotFoundError: No module named 'redis'"
    assert advice("shop", "1", said) == "add the package that contains the module redis to the requirements"
    assert hint_for("shop@1.service", said).endswith("\nfab logs --release 1")
    assert hint_for("shop@1.service", "ValueError: 7") == "fab logs --release 1"


def test_an_error_page_that_drips_is_not_waited_for(tmp_path: Path):
    listening, ended = socket.socket(socket.AF_UNIX), threading.Event()
    listening.bind(str(tmp_path / "http.sock"))
    listening.listen()

    def drip() -> None:
        visitor, _ = listening.accept()
        with visitor, suppress(OSError):
            visitor.sendall(b"HTTP/1.0 500 Oh\r\nContent-Type: text/plain\r\n\r\nfirst\n")
            while not ended.wait(0.05):
                visitor.sendall(b"x")

    threading.Thread(target=drip, daemon=True).start()
    found: list[Answer] = []
    path = str(tmp_path / "http.sock")
    asking = threading.Thread(target=lambda: found.append(http_answer(path, "x", "/", 0.5)), daemon=True)
    asking.start()
    asking.join(60)
    still = asking.is_alive()
    ended.set()
    listening.close()
    assert not still and found == [Answer("500", "", "first")]


def test_who_asks_as_a_visitor_has_nothing_of_ours_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for change in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, change, lambda wanted: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(health, "VISITOR", pwd.getpwuid(os.getuid()).pw_name)

    def still_open() -> str:
        return " ".join(str(number) for number in range(3, 1000) if is_open(number))

    with (tmp_path / "lock").open("w") as lock:
        assert is_open(lock.fileno()) and str(lock.fileno()) not in as_visitor(still_open, 30).split()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
