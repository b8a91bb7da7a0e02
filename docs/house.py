"""The kit's folders and modules, one line each, from their docstrings: for `make house` and developing.md."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "developing.md"
BEGIN, END = "<!-- made by `make house` -->\n", "<!-- end of what `make house` makes -->\n"


def first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def modules(folder: Path, depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """(depth, name, what it is) of a folder's modules, then of its folders."""
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield depth, path.stem, first_line(path)
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").exists():
            yield depth, f"{inner.name}/", first_line(inner / "__init__.py")
            yield from modules(inner, depth + 1)


def tree() -> str:
    rows = list(modules(ROOT / "deploy"))
    width = max(2 * depth + len(name) for depth, name, _ in rows) + 2
    return "".join(f"{'  ' * depth + name:<{width}}{what}".rstrip() + "\n" for depth, name, what in rows)


def sizes() -> str:
    """How long modules are: a report, not a rule. One that is long is cut where its sense has a seam."""
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in (ROOT / "deploy").rglob("*.py")}
    counts = sorted(count for count in lines.values() if count > 1)
    ninth = statistics.quantiles(counts, n=10)[-1]
    longest = max(lines, key=lambda path: lines[path])
    name = longest.relative_to(ROOT).as_posix()
    return (
        f"{len(counts)} modules; lines: median {statistics.median(counts):.0f}, nine in ten up to {ninth:.0f},"
        f" longest {lines[longest]} ({name})\n"
    )


def page() -> str:
    """developing.md with the tree as it is now."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n```\n{tree()}```\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(tree())
    print(sizes(), end="")
