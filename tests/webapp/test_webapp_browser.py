"""The page in a real browser: Debian's Chromium."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import ELEMENT_SECONDS, browser, screenshot, set_view
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from serving import Gunicorn, served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """One server for all: it waits two seconds for the browser's open connections when it stops."""
    directory = tmp_path_factory.mktemp("served")
    (directory / "data").mkdir()
    with served(directory) as server:
        yield server


def fill(driver: Chrome, name: str, message: str) -> None:
    for field, text in (("name", name), ("message", message)):
        driver.find_element(By.NAME, field).send_keys(text)
    driver.find_element(By.CSS_SELECTOR, "form button").click()


def test_a_visitor_signs_and_sees_the_entry(gunicorn: Gunicorn, chromium: Chrome) -> None:
    chromium.get(gunicorn.url)
    fill(chromium, "Ada <b>", "Hello\nfrom Chromium")
    entry = chromium.find_element(By.CSS_SELECTOR, "#visitors li:target")
    assert re.fullmatch(re.escape(gunicorn.url) + r"/#visitor-\d+", chromium.current_url)
    assert entry.find_element(By.TAG_NAME, "h3").text == "Ada <b>"
    assert entry.find_element(By.CLASS_NAME, "message").text == "Hello\nfrom Chromium"


def test_a_refused_visitor_lands_at_the_form_with_the_words_kept(gunicorn: Gunicorn, chromium: Chrome) -> None:
    chromium.get(gunicorn.url)
    fill(chromium, "   ", "Keep me")
    notice = chromium.find_element(By.CSS_SELECTOR, "form [role=alert]")
    in_view = "const box = arguments[0].getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight"
    WebDriverWait(chromium, ELEMENT_SECONDS).until(lambda _: chromium.execute_script(in_view, notice))
    assert chromium.find_element(By.NAME, "message").get_attribute("value") == "Keep me"
    assert chromium.find_element(By.NAME, "name").get_attribute("aria-invalid") == "true"


@pytest.mark.parametrize("width", [320, 390, 768, 961, 1280])
def test_the_page_fits_its_window(gunicorn: Gunicorn, chromium: Chrome, width: int) -> None:
    gunicorn.sign("x" * 60, "y" * 500)
    set_view(chromium, width, 900)
    chromium.get(gunicorn.url)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    edges = "return [...document.querySelectorAll('.hop, .server')].map(box => box.getBoundingClientRect().right)"
    assert max(chromium.execute_script(edges)) <= width


def test_the_browser_has_nothing_to_complain_about(gunicorn: Gunicorn, chromium: Chrome) -> None:
    chromium.get_log("browser")
    chromium.get(gunicorn.url)
    assert chromium.get_log("browser") == []


def test_a_screenshot_has_the_size_asked_for(gunicorn: Gunicorn, tmp_path: Path) -> None:
    screenshot(gunicorn.url, tmp_path / "page.png", 390, 844, dark=True)
    assert struct.unpack(">II", (tmp_path / "page.png").read_bytes()[16:24]) == (390, 844)
