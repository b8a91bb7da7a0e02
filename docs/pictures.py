"""Make the README's pictures: what the commands print, and the page that they put live. Run by `make pictures`."""

import io
import os
import pty
import re
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deploy import sandbox  # noqa: E402  (the kit is found from here on)
from deploy.sandbox import authority  # noqa: E402
from tests.webapp.browser import browser, set_view  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
NAME = "pictures"
WORDS = ("sandbox", "--name", NAME, "provision", "deploy")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
CONTROLS = re.compile(r"\x1b\[\??[0-9;]*[A-HJKSTfhlnsu]")
VISITORS = (("Grace", "It works on the server, too."), ("Ada", "Fresh from localhost. Hello, world!"))


def at_a_terminal(words: tuple[str, ...]) -> str:
    """The screen that `ashore WORDS` leaves, with its colours; a progress bar, which goes again, is left out."""
    inside, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "110", "LINES": "50", "TERM": "xterm-256color"}
    argv = [sys.executable, "-m", "deploy", *words]
    process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    raw = b""
    try:
        while data := os.read(inside, 1 << 16):
            raw += data
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    if process.wait():
        raise SystemExit(raw.decode(errors="replace"))
    lines = CONTROLS.sub("\r", raw.decode()).replace("\r\n", "\n").split("\n")
    last = [next((part for part in reversed(line.split("\r")) if COLOURS.sub("", part).strip()), "") for line in lines]
    return "\n".join(line for line in last if "━" not in line)


def draw(text: str, path: Path) -> None:
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ ", "bold") + Text("ashore sandbox provision deploy", "bold cyan"))
    console.print(Text.from_ansi(re.sub(r"\n{3,}", "\n\n", text.strip())))
    drawn = console.export_svg(title="ashore")
    path.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.S), "utf-8")  # it would be fetched from afar


def photograph(url: str, path: Path) -> None:
    with browser("--ignore-certificate-errors") as driver:  # the CA is known to this machine, not to Chromium
        for name, message in VISITORS:
            driver.get(url)
            driver.find_element("name", "name").send_keys(name)
            driver.find_element("name", "message").send_keys(message)
            driver.find_element("css selector", "form button").click()
            driver.find_element("css selector", "#visitors li:target")
        set_view(driver, 1280, 1540)
        driver.get(url)
        driver.save_screenshot(str(path))


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    machine = sandbox.reset(NAME, say=print)
    try:
        draw(at_a_terminal(WORDS), PICTURES / "terminal.svg")
        url = f"https://{machine.address}/"
        trusting = ssl.create_default_context(cafile=str(authority.ca_file()))
        with urllib.request.urlopen(url, timeout=10, context=trusting) as answer:
            assert answer.status == 200
        photograph(url, PICTURES / "page.png")
    finally:
        sandbox.destroy(NAME)


if __name__ == "__main__":
    main()
