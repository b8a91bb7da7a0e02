"""Headless Chromium for tests: Debian's `chromium` and `chromium-driver`, driven by Selenium; nothing is downloaded.

with browser() as driver:
    driver.get(url)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # /dev/shm is small in containers
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE_SECONDS = 30
ELEMENT_SECONDS = 10


@contextmanager
def browser(*flags: str) -> Iterator[Chrome]:
    """A fresh browser with an empty profile; `flags` are added to its command line. Finding an element waits for it."""
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium's own sandbox does not work for root
        driver = Chrome(options, ChromeService(CHROMEDRIVER))
        try:
            driver.set_page_load_timeout(PAGE_SECONDS)
            driver.implicitly_wait(ELEMENT_SECONDS)  # a click returns before the page that it leads to is there
            yield driver
        finally:
            driver.quit()


def set_view(driver: Chrome, width: int, height: int, dark: bool = False) -> None:
    """The size in CSS pixels, which may be a phone's, and the colour scheme that the visitor prefers."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})


def screenshot(url: str, path: str | Path, width: int, height: int, dark: bool = False, *flags: str) -> None:
    """Save what a visitor sees at `url` in a window of that many CSS pixels as a PNG file."""
    with browser(*flags) as driver:
        set_view(driver, width, height, dark)
        driver.get(url)
        if not driver.save_screenshot(str(path)):
            raise OSError(f"cannot write {path}")
