"""Runners and proxies are seams: each is known by name in its own file, and nowhere else in the kit."""

import re
from pathlib import Path

import pytest
from test_plans import SHOP

from deploy.agent import constants
from deploy.agent.dataclass import replace
from deploy.agent.resources.release.package import Package
from deploy.agent.resources.serving.traffic import Restarts
from deploy.agent.wire import Failed
from deploy.config.reader import App
from deploy.plan import record
from deploy.stack.proxies import proxy, proxy_of
from deploy.stack.runners import runner
from deploy.stack.runners.base import Runner

DEPLOY = Path(record.__file__).parents[1]
NAMES = [path.stem for seam in ("runners", "proxies") for path in (DEPLOY / "stack" / seam).glob("[a-z]*.py")]


class Cheroot(Runner):
    """A runner that the kit does not have: all that one takes is here."""

    title = "Cheroot"
    package = Package("cheroot", title, (3, 0))
    restarts = Restarts("Serving on", "a process of it")
    about_stop = "Open requests are finished."

    def command(self, app: App, release: str) -> str:
        return f"/srv/{app.name}/releases/{release}/venv/bin/cheroot --bind … ${{WSGI_APP}}"


@pytest.mark.parametrize("name", sorted({*NAMES} - {"base"}))
def test_a_runner_or_a_proxy_is_named_in_its_own_files_only(name: str):
    for path in DEPLOY.rglob("*.py"):
        if path.stem.split("_")[0] == name or path == DEPLOY / "agent" / "constants.py":
            continue
        found = [line for line in path.read_text("utf-8").splitlines() if re.search(name, line, re.I)]
        assert not found, f"{path.relative_to(DEPLOY)} names {name}: {found[0].strip()}"


def test_every_runner_has_a_file_and_a_name_in_deploy_toml():
    files = {path.stem for path in (DEPLOY / "stack" / "runners").glob("[a-z]*.py")}
    assert (
        files - {"base", constants.SERVER_OF_ITS_OWN} == {*constants.RUNNERS}
        and constants.ASGI_RUNNER in constants.RUNNERS
    )
    assert all(runner(name).title.lower() == name for name in constants.RUNNERS)


def test_what_is_used_unless_said_otherwise_is_there():
    assert runner().title.lower() == constants.RUNNER and proxy().name == constants.PROXY


def test_every_proxy_has_a_file_and_its_package_s_name():
    files = {path.stem for path in (DEPLOY / "stack" / "proxies").glob("[a-z]*.py")}
    assert files - {"base"} == {*constants.PROXIES} and constants.PROXY in constants.PROXIES
    assert all(proxy(name).name == name for name in constants.PROXIES) and proxy_of(SHOP) is proxy()


def test_another_runner_gets_a_unit_of_its_own_from_the_same_template(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record, "runner_of", lambda app: Cheroot())
    text, usual = record.unit_text(SHOP), runner().unit(SHOP, "/room.sh")
    assert "ExecStart=/srv/shop/releases/%i/venv/bin/cheroot" in text and "Type=notify" not in text
    assert "gunicorn" not in text.lower() and "Type=notify\nNotifyAccess=main\n" in usual
    made = record.settings(SHOP, 2)
    assert made == {
        "DATA_DIR": "/var/lib/shop",
        "FLASK_APP": "shop:app",
        "WSGI_APP": "shop:app",
        "WEB_CONCURRENCY": "2",
    }


def test_a_virtualenv_without_the_runner_or_with_one_too_old_is_refused(tmp_path: Path):
    package = Cheroot.package
    with pytest.raises(Failed, match=r"requirements\.txt does not install cheroot"):
        package.require(str(tmp_path), "requirements.txt")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cheroot").touch()
    made = tmp_path / "lib" / "python3.11" / "site-packages" / "cheroot-2.1.2.dist-info"
    made.mkdir(parents=True)
    with pytest.raises(Failed, match=r"installs Cheroot 2\.1\.2, but Ashore needs 3\.0 or later"):
        package.require(str(tmp_path), "requirements.txt")
    made.rename(made.with_name("cheroot-3.0.1.dist-info"))
    package.require(str(tmp_path), "requirements.txt")


def test_how_many_requests_a_release_takes_is_told_in_words():
    assert runner().processes(SHOP, 2) == "2 workers × 8 threads"
    assert runner().processes(replace(SHOP, workers=3, worker_class="sync"), 2) == "3 workers, sync"


def test_only_the_planner_asks_whether_a_ci_key_let_us_in():
    for path in DEPLOY.rglob("*.py"):
        asks = re.search(r"\.ci\b(?! import|\.)", path.read_text("utf-8").replace("self.ci", ""))
        assert not asks or path.name in ("planner.py", "program.py"), path
