"""The shape of the house: who may import whom."""

import ast
import importlib
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from deploy.connection.imports import file_of

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (  # a module imports from those before its own, and within its own
    "errors", "version", "agent", "config", "stack", "source", "plan", "screen", "connection", "ci", "session", "verbs",
    "sandbox", "cli", "__main__",
)  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "deploy").rglob("*.py"):
        parts = path.relative_to(ROOT / "deploy").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            found[name] = path
    return found


@cache
def imports(name: str, path: Path) -> set[str]:
    """Modules that a module imports, ours as names below deploy; what only a type checker imports does not count."""
    package = f"deploy.{name}".split(".") if path.name == "__init__.py" else f"deploy.{name}".split(".")[:-1]
    found = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{target}.{alias.name}"
                found.add(inside if file_of(inside.removeprefix("deploy.")) else target)
    return found


def place(name: str) -> int:
    return FOLDERS.index(name.split(".")[0])


def test_a_folder_imports_only_from_those_before_it():
    for name, path in modules().items():
        for imported in imports(name, path):
            ours = imported.removeprefix("deploy.")
            if imported.startswith("deploy.") and ours:
                assert place(ours) <= place(name), f"{name} imports {ours}"


def test_no_module_imports_one_that_imports_it():
    graph = {
        name: {ours for found in imports(name, path) if (ours := found.removeprefix("deploy.")) in modules()}
        for name, path in modules().items()
    }
    TopologicalSorter(graph).prepare()  # CycleError names them


def test_every_folder_says_what_belongs_in_it():
    for name, path in modules().items():
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{name} has no docstring"


def test_the_last_part_of_an_agent_s_module_s_name_is_its_own():
    last = [name.split(".")[-1] for name in modules() if name.startswith("agent")]
    assert sorted(set(last)) == sorted(last)


def test_the_agent_is_standard_library_and_itself():
    for name, path in modules().items():
        if name.startswith("agent"):
            for imported in imports(name, path):
                top = imported.split(".")[0]
                assert top in sys.stdlib_module_names or imported.startswith("deploy.agent"), f"{name}: {imported}"


def test_the_app_and_the_kit_know_nothing_of_each_other():
    for path in (ROOT / "webapp").rglob("*.py"):
        assert "deploy" not in {name.split(".")[0] for name in imports("webapp", path)}
    for name, path in modules().items():
        assert "webapp" not in {imported.split(".")[0] for imported in imports(name, path)}


def test_the_page_for_developers_shows_the_house_as_it_is():
    house = importlib.import_module("docs.house")
    assert house.PAGE.read_text("utf-8") == house.page(), "make house"


def test_folders_are_small_enough_to_be_seen_at_a_glance():
    counts = Counter(path.parent for path in modules().values() if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > 16} == {}


def test_no_two_files_of_tests_have_one_name():
    """pytest would load only one of them."""
    names = [path.name for path in ROOT.glob("tests/**/test_*.py") if "strangers" not in path.parts]
    assert len(names) == len({*names})
