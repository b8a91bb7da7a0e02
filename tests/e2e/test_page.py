"""The sample app's page as a visitor sees it: Chromium, through Nginx, on a real server."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from standing import DOMAIN, Project, Server

from tests.webapp.browser import browser


@pytest.fixture
def visitor(live: Server) -> Iterator[Chrome]:
    with browser(f"--host-resolver-rules=MAP {DOMAIN} {live.machine.address}") as driver:
        yield driver


def facts(driver: Chrome) -> dict[str, str]:
    names = [element.text for element in driver.find_elements(By.TAG_NAME, "dt")]
    return dict(zip(names, [element.text for element in driver.find_elements(By.TAG_NAME, "dd")], strict=True))


def test_the_page_answers_the_three_questions(live: Server, project: Project, visitor: Chrome):
    current = project.deployed()
    visitor.get(f"http://{DOMAIN}/")
    shown = facts(visitor)
    assert shown["Host"] == live.machine.name and "Debian" in shown["System"]
    assert shown["Release"] == current and shown["Gunicorn"] and shown["Python"].startswith("3.11")
    assert shown["Scheme"] == "http" and shown["Host asked for"] == DOMAIN
    assert "nginx/" in shown["Nginx"]
    assert shown["Your address"] == live.machine.address.rsplit(".", 1)[0] + ".1"
    assert len(shown["Request ID"]) == 32


def test_what_visitors_write_outlives_a_release(live: Server, project: Project, visitor: Chrome):
    project.deployed()
    visitor.get(f"http://{DOMAIN}/")
    visitor.find_element(By.NAME, "name").send_keys("Ada")
    visitor.find_element(By.NAME, "message").send_keys("still here <b>tomorrow</b>")
    visitor.find_element(By.CSS_SELECTOR, "form button").click()
    assert "still here <b>tomorrow</b>" in visitor.find_element(By.CSS_SELECTOR, "#visitors li:target").text
    before = facts(visitor)["Release"]
    project.append("webapp/__init__.py", "\nPAGE = 1\n")
    project.commit()
    project.fab("deploy")
    visitor.get(f"http://{DOMAIN}/")
    assert facts(visitor)["Release"] > before
    assert "still here <b>tomorrow</b>" in visitor.find_element(By.ID, "visitors").text


def test_the_page_s_styles_and_nothing_foreign_are_loaded(live: Server, visitor: Chrome):
    visitor.get(f"http://{DOMAIN}/")
    loaded = visitor.execute_script(
        "return performance.getEntriesByType('resource').map(r => [r.name, r.responseStatus])"
    )
    assert loaded and all(name.startswith(f"http://{DOMAIN}/") and status == 200 for name, status in loaded), loaded
