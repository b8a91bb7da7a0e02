"""Apps whose dependencies are said in other ways than by a requirements.txt, their Pythons, and Debian packages."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import pytest
from keyholder import Holder
from standing import REPO, Project, Server, machine

from deploy.sandbox import disk
from deploy.sandbox.image import ensure

LOCKS = REPO / "tests" / "locks"
SHOWS = """\
import os, sys
from importlib import metadata
import itsdangerous

def app(environ, answer):
    answer("200 OK", [("Content-Type", "text/plain")])
    names = sorted(each.name for each in metadata.distributions())
    return [f"release {os.environ['RELEASE_ID']}; {sys.version_info[:2]}; {names}; {__file__}".encode()]

def main():
    print("shopctl of", __file__)
"""
SDIST = {
    "setup.py": "from setuptools import Extension, setup\n"
    "setup(name='fast', version='1.0', ext_modules=[Extension('fast', ['fast.c'])])\n",
    "PKG-INFO": "Metadata-Version: 2.1\nName: fast\nVersion: 1.0\n",
    "fast.c": "#define PY_SSIZE_T_CLEAN\n#include <Python.h>\n"
    "static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }\n"
    'static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {0}};\n'
    'static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "fast", 0, -1, methods};\n'
    "PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&module); }\n",
}
OF_FAST = "import fast\n\ndef app(environ, answer):\n    answer('200 OK', [])\n    return [b'%d' % fast.answer()]\n"
DPKG = ("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\n")


class App(Project):
    """A project of its own on a machine that several share."""

    def __init__(
        self, directory: Path, server: Server, name: str, files: dict[str, str | bytes], lines: str = ""
    ) -> None:
        super().__init__(directory / name / "project", server.machine)
        self.name, self.server = name, server
        shutil.rmtree(self.directory / "webapp")
        self.write(files)
        self.set(lines)
        self.fab("provision")

    def write(self, files: dict[str, str | bytes]) -> None:
        for path, text in files.items():
            file = self.directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode() if isinstance(text, str) else text)
        self.commit()

    def set(self, lines: str) -> None:
        """Lines of [app]."""
        (self.directory / "deploy.toml").write_text(
            f'[app]\nname = "{self.name}"\nwsgi = "shop:app"\nwatch_seconds = 0\nhealth_seconds = 10\n{lines}\n'
            f'[stages.production]\nhosts = {json.dumps(self.hosts)}\ndomain = "{self.name}.example"\ntls = "off"\n'
        )
        self.commit()

    def page(self) -> str:
        status, text, _ = self.server.get("/", host=f"{self.name}.example")
        assert status == 200, text
        return text

    @property
    def release(self) -> str:
        return os.path.basename(os.readlink(self.machine.root / "srv" / self.name / "current"))

    def virtualenvs(self) -> list[str]:
        found = (self.machine.root / "srv" / self.name / "venvs").iterdir()
        return sorted(path.name for path in found if path.is_dir())


def lock(name: str) -> dict[str, str | bytes]:
    return {path.name: path.read_text() for path in (LOCKS / name).iterdir()}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with machine(f"deps-{request.param[:3]}", release=request.param) as made:
        yield Server(made)


only_once = pytest.mark.debian("bookworm")  # what does not differ between Debian's releases


def test_a_package_with_a_uv_lock_is_installed_once_and_its_next_release_runs_new_code(server: Server, tmp_path: Path):
    project = App(tmp_path, server, "uvlock", {**lock("uv"), "src/shop/__init__.py": SHOWS})
    ran = project.fab("deploy")
    assert "built from uv.lock and gunicorn" in ran.out and "uv.lock has no gunicorn" in ran.out
    first = project.release
    assert f"release {first};" in project.page() and f"/releases/{first}/source/src/shop/" in project.page()
    assert "'itsdangerous'" in project.page() and "'shop'" in project.page() and "packaging" not in project.page()
    assert f"shopctl of /srv/uvlock/releases/{first}/source/src/shop/" in project.fab("run", "shopctl").out
    project.write({"src/shop/__init__.py": SHOWS.replace("release {os", "new code {os")})
    built = project.virtualenvs()
    ran = project.fab("deploy")
    assert re.search(r"ok +virtualenv \w+: built from uv.lock", ran.out) and project.virtualenvs() == built
    assert f"new code {project.release};" in project.page() and project.release != first
    restarted = project.fab("restart")
    assert f"/releases/{project.release}/source/src/shop/" in project.page(), restarted.out
    project.fab("rollback", first)
    assert f"release {first};" in project.page()


@pytest.mark.parametrize(("name", "file"), [("poetry1", "poetry.lock"), ("pipenv", "Pipfile.lock")])
def test_what_another_tool_has_locked_is_installed(server: Server, tmp_path: Path, name: str, file: str):
    project = App(tmp_path, server, name, {**lock(name), "shop.py": SHOWS})
    if "tri" in server.machine.name and name == "pipenv":
        project.set('python = "3.13"')
        assert "requires 3.11" in project.fab("deploy", status=1).err  # the lock is for another Python
        return
    assert "itsdangerous 2.2.0" in project.fab("deploy", "--check").out
    assert f"built from {file}" in project.fab("deploy").out
    assert "'itsdangerous'" in project.page() and "'packaging'" not in project.page()
    assert "0 changed" in project.fab("deploy").out


@only_once
def test_a_stale_lock_is_refused_before_anything_is_sent(server: Server, tmp_path: Path):
    project = App(tmp_path, server, "stale", {**lock("poetry1"), "shop.py": SHOWS})
    before = server.state()
    project.write({"pyproject.toml": (LOCKS / "poetry1" / "pyproject.toml").read_text().replace('"*"', '">=2"')})
    ran = project.fab("deploy", status=1)
    assert "poetry.lock is stale" in ran.err and "poetry lock, then commit" in ran.err
    assert server.state() == before


def sdist() -> bytes:
    """fast-1.0.tar.gz, which takes a compiler."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, text in SDIST.items():
            entry = tarfile.TarInfo(f"fast-1.0/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


def test_packages_for_a_build_are_there_for_the_build_only(server: Server, tmp_path: Path):
    files = {"requirements.txt": "./wheels/fast-1.0.tar.gz\n", "wheels/fast-1.0.tar.gz": sdist(), "shop.py": OF_FAST}
    project = App(tmp_path, server, "compiled", files)
    ran = project.fab("deploy", status=1)
    assert 'add to [app] in deploy.toml: build_apt = ["gcc"]' in ran.err
    before = server.run(*DPKG)
    project.set('build_apt = ["gcc", "no-such-package"]')
    assert "has no package no-such-package" in project.fab("deploy", status=1).err and server.run(*DPKG) == before
    project.set('build_apt = ["gcc"]')
    process, halted = project.halted("virtualenv", "deploy")
    assert halted and "ok" in server.script("command -v gcc > /dev/null && echo ok")
    server.run("kill", "-9", str(halted["pid"]))
    process.ended()
    assert "changed  packages for the build: removed" in project.fab("deploy").out
    assert project.page() == "42"
    assert server.run(*DPKG) == before and "gcc" not in server.script("command -v gcc || true")
    project.write({"shop.py": OF_FAST.replace("%d", "new %d")})
    ran = project.fab("deploy")
    assert "packages for the build gcc, libc6-dev, python3-dev" in ran.out and project.page() == "new 42"
    assert "changed  packages" not in ran.out and not list(
        (server.machine.root / "var/lib/ashore/compiled").glob("build*")
    )


def test_packages_of_an_app_are_installed_by_its_deploy_and_stay(server: Server, tmp_path: Path):
    project = App(tmp_path, server, "library", {"requirements.txt": "itsdangerous\n", "shop.py": SHOWS})
    project.set('apt = ["libpq5"]\nbuild_apt = ["libpq-dev"]')
    ran = project.fab("deploy")
    assert "changed  packages of the app libpq5" in ran.out
    assert "ii  libpq5" in server.run(*DPKG) and "libpq-dev" not in server.run(*DPKG)
    assert "ok  packages of the app libpq5" in project.fab("provision").out
    project.set('apt = ["libpq5", "no-such-library"]')
    assert "has no package no-such-library" in project.fab("deploy", status=1).err
    assert project.page()


def mirror(server: Server) -> None:
    """A mirror of Pythons on the server, with one in it: Debian 12's, as 3.11.9. What is there before stays."""
    tree = disk.image_path(ensure("bookworm", lambda text: None))
    here = server.machine.root / "opt" / "mirror"
    here.mkdir()
    with tarfile.open(here / "python.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(tree / "usr/bin/python3.11", "python/bin/python3.11")
        keep = re.compile(r"(?!.*(/__pycache__|/sitecustomize\.py|/config-[^/]*|/test)$)")
        for path in ("usr/lib/python3.11",):
            archive.add(
                tree / path, "python/lib/python3.11", filter=lambda each: each if keep.match(each.name) else None
            )
    digest = hashlib.sha256((here / "python.tar.gz").read_bytes()).hexdigest()
    entry = {"name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu"}
    entry |= {"major": 3, "minor": 11, "patch": 9, "prerelease": "", "variant": None, "build": "20240107"}
    entry |= {"url": "file:///opt/mirror/python.tar.gz", "sha256": digest}
    (here / "pythons.json").write_text(json.dumps({"cpython-3.11.9-linux-x86_64-gnu": entry}))
    settings = server.machine.root / "etc" / "uv" / "uv.toml"
    settings.parent.mkdir(exist_ok=True)
    had = settings.read_text() if settings.exists() else ""
    settings.write_text(f'python-downloads-json-url = "file:///opt/mirror/pythons.json"\n{had}')


def test_a_python_that_the_server_lacks_comes_from_a_mirror_and_goes_when_nothing_needs_it(
    server: Server, tmp_path: Path
):
    mirror(server)
    project = App(
        tmp_path, server, "managed", {"requirements.txt": "itsdangerous\n", "shop.py": SHOWS}, 'python = "3.11.9"'
    )
    ran = project.fab("deploy")
    assert "changed  Python 3.11.9: installed" in ran.out and "Python 3.11," in ran.out
    assert "release" in project.page() and "(3, 11)" in project.page()
    where = "/usr/local/lib/ashore/python/cpython-3.11.9-linux-x86_64-gnu"
    assert where in server.script("readlink -f /srv/managed/venvs/*/bin/python")
    assert server.script(f"find {where} ! -user root -o -perm /022 ! -type l").strip() == ""
    assert "ok  Python 3.11.9: installed" in project.fab("deploy", "--check").out
    project.set('python = "3.12"')
    ran = project.fab("deploy", status=1)
    assert "uv has no Python 3.12 for this server" in ran.err and "traffic stays on" in ran.err
    project.set("")
    project.fab("deploy")
    server.script(f"touch -d yesterday {where}")
    project.set("keep_releases = 1")
    for number in range(2):
        project.write({"shop.py": f"{SHOWS}# {number}\n"})
        project.fab("deploy")
    assert not (server.machine.root / where.lstrip("/")).exists() and project.page()


CANARY = "canary-5up9"
USES_PRIVATE = """\
import os
import private

def app(environ, answer):
    answer("200 OK", [])
    return [(private.VALUE + str([name for name in os.environ if name.startswith("UV_")])).encode()]
"""


@pytest.fixture
def index(server: Server) -> Iterator[str]:
    """A package index at the sandboxes' bridge that only admits a user with a password: the address of its packages."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as wheel:
        wheel.writestr("private.py", "VALUE = 'private'\n")
        wheel.writestr("private-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: private\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr("private-1.0.dist-info/WHEEL", tag)
        wheel.writestr("private-1.0.dist-info/RECORD", "")
    name = "private-1.0-py3-none-any.whl"
    page = f'<a href="/{name}#sha256={hashlib.sha256(data.getvalue()).hexdigest()}">{name}</a>'.encode()
    known = {"/simple/private/": page, f"/{name}": data.getvalue()}
    password = base64.b64encode(f"me:{CANARY}".encode()).decode()

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = known.get(self.path, b"")
            admitted = self.headers.get("Authorization") == f"Basic {password}"
            self.send_response(401 if not admitted else 200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET" and admitted:
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            pass

    bridge = str(ip_network(f"{server.machine.address}/24", strict=False)[1])
    with ThreadingHTTPServer((bridge, 0), Index) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://{bridge}:{served.server_port}/simple/"
        served.shutdown()


@only_once
def test_the_password_of_a_private_index_is_seen_nowhere(server: Server, index: str, tmp_path: Path):
    files = {"requirements.txt": "private==1.0\n", "shop.py": USES_PRIVATE}
    project = App(tmp_path, server, "ours", files)
    project.write(
        {"variables": f"UV_INDEX=ours={index}\nUV_INDEX_OURS_USERNAME=me\nUV_INDEX_OURS_PASSWORD=wrong-one\n"}
    )
    said = project.fab("env.set", "--file", "variables").text
    ran = project.fab("deploy", status=1)
    assert "a package index wants a user name and a password" in ran.err and "wrong-one" not in ran.text
    project.write({"variables": f"UV_INDEX_OURS_PASSWORD={CANARY}\n"})
    said += project.fab("env.set", "--file", "variables").text
    (project.directory / "variables").unlink()
    project.commit()
    for words in (("deploy", "--check"), ("deploy", "-v"), ("deploy", "--json"), ("env",), ("history", "--json")):
        said += project.fab(*words).text
    assert project.page() == "private[]" and CANARY not in said
    holding = server.script(f"grep -rlsI {CANARY} /srv /etc /var /run /tmp /root /usr/local", check=False).split()
    files_of_root = [path for path in holding if "/journal/" not in path]  # sudo's own line about this search
    assert files_of_root and all(re.fullmatch(r"/srv/ours/\S+/env\.json", path) for path in files_of_root)
    assert {server.run("stat", "-c", "%U %a", path) for path in files_of_root} == {"root 600\n"}


@only_once
def test_a_ci_key_installs_what_an_operator_has_recorded_and_no_more(server: Server, tmp_path: Path):
    files = {"requirements.txt": "itsdangerous\n", "shop.py": SHOWS}
    project = App(tmp_path, server, "bykey", files, 'build_apt = ["tree"]')
    project.fab("deploy")
    project.fab("ci.key")
    ci = Holder(project, project.home / ".ssh" / "ashore-ci-bykey-production", "bykey")
    before = server.run(*DPKG)
    project.write({"shop.py": SHOWS.replace("release {os", "by key {os")})
    ran = ci.fab("deploy")
    assert "changed  packages for the build tree" in ran.out and "changed  packages for the build: removed" in ran.out
    assert project.page().startswith("by key") and server.run(*DPKG) == before
    project.set('build_apt = ["tree", "netcat-openbsd"]')
    assert "netcat-openbsd" in ci.fab("deploy", status=1).err
    project.set('build_apt = ["tree"]\npython = "3.12"')
    assert "a CI key cannot install Python 3.12" in ci.fab("deploy", status=1).err
    (project.directory / "shop.py").unlink()
    project.write({**lock("uv"), "src/shop/__init__.py": SHOWS})
    project.set("")
    assert "built from uv.lock" in ci.fab("deploy").out and "'shop'" in project.page()


BUSY = """\
mkdir -p /var/lib/ashore/another
echo '{"names": ["tree"], "new": []}' > /var/lib/ashore/another/build-packages.json
systemd-run --quiet --unit=another -- flock /run/ashore/app-another.lock sleep infinity
"""


@only_once
def test_packages_that_another_app_is_built_with_stay_until_that_has_ended(server: Server, tmp_path: Path):
    files = {"requirements.txt": "itsdangerous\n", "shop.py": SHOWS}
    project = App(tmp_path, server, "together", files, 'build_apt = ["tree"]')
    server.script(BUSY)
    assert "changed  packages for the build: removed" in project.fab("deploy").out
    assert "tree" in server.script("command -v tree")
    server.run("systemctl", "stop", "another")
    project.write({"requirements.txt": "itsdangerous>=2\n"})
    assert "changed  packages for the build: removed" in project.fab("deploy").out
    assert server.script("command -v tree || true") == ""
    assert not list((server.machine.root / "var/lib/ashore").glob("*/build-packages.json"))


@only_once
def test_settings_of_uv_that_only_root_may_read_are_used_and_not_shown(server: Server, index: str, tmp_path: Path):
    project = App(tmp_path, server, "settings", {"requirements.txt": "private==1.0\n", "shop.py": USES_PRIVATE})
    with_password = index.replace("http://", f"http://me:{CANARY}@")
    server.script(
        f"cp -a /etc/uv/uv.toml /root/uv.toml; chmod 600 /etc/uv/uv.toml; sed -i '/extra-index-url/d' /etc/uv/uv.toml;"
        f" sed -i '1i extra-index-url = [\"{with_password}\"]' /etc/uv/uv.toml"
    )
    said = project.fab("deploy", "-v").text + project.fab("deploy", "--json").text
    server.run("mv", "/root/uv.toml", "/etc/uv/uv.toml")
    assert project.page() == "private[]" and CANARY not in said
    assert server.script(f"grep -rlsI {CANARY} /srv/settings /run || true") == ""
