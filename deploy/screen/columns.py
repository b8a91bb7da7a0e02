"""Layout of columns and long values, no wider than the terminal, or 80 characters."""

import shutil
import textwrap
from collections.abc import Sequence

GAP = "  "
INDENT = "    "
LEAST_COLUMNS = 20  # a narrower terminal breaks lines by itself
NOTHING = ("", "-")


def columns() -> int:
    """The width of the terminal, or 80 without one."""
    return shutil.get_terminal_size((80, 24)).columns


def laid_out(rows: Sequence[dict[str, str]], names: Sequence[str], width: int) -> tuple[str, list[str]]:
    """The head of a table, and the text of each row, of one line or more.

    Columns that do not fit go below, as "name: value"; so the most important columns must come first.
    """
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    beside: list[str] = []
    for name in names:
        if sum(widths[other] + len(GAP) for other in beside) + widths[name] > width and beside:
            break
        beside.append(name)
    below = names[len(beside) :]

    def line(row: dict[str, str]) -> str:
        return GAP.join(row[name].ljust(widths[name]) for name in beside).rstrip()

    def text(row: dict[str, str]) -> str:
        more = GAP.join(f"{name.lower()}: {row[name]}" for name in below if row[name] not in NOTHING)
        return "\n".join([line(row), *wrapped(more, width, INDENT)])

    return line({name: name for name in names}), [text(row) for row in rows]


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """The lines of a text between the indent and the width; words are not broken."""
    width = max(width, LEAST_COLUMNS)
    wrapper = textwrap.TextWrapper(width, indent, indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text)


def labelled(label: str, text: str, width: int) -> str:
    """A label and a text next to it; further lines of the text are indented."""
    return (label + "\n".join(wrapped(text, width, " " * len(label))).removeprefix(" " * len(label))).rstrip()


def size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
