"""One name, one meaning: no two classes share one, and no function calls, however far down, another of its name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from test_modules import modules

from deploy.connection.imports import file_of

Function = tuple[str, str]  # module, name
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in modules().items()}
FUNCTIONS = {
    (module, node.name): node
    for module, tree in TREES.items()
    for node in tree.body
    if isinstance(node, ast.FunctionDef)
}


def meant(module: str, path: Path) -> dict[str, str | Function]:
    """What the names that a module imports mean: a module, or a function of one. Its own functions, too."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found: dict[str, str | Function] = {}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *filter(None, (node.module or "").split("."))]
            for alias in node.names:
                inside = ".".join([*base, alias.name])
                found[alias.asname or alias.name] = inside if file_of(inside) else (".".join(base), alias.name)
    return found | {name: (home, name) for home, name in FUNCTIONS if home == module}


def calls(function: Function, names: dict[str, str | Function]) -> Iterator[Function]:
    for node in ast.walk(FUNCTIONS[function]):
        found: object = None
        if isinstance(node, ast.Name):
            found = names.get(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = (names.get(node.value.id), node.attr)
        if found in FUNCTIONS:
            yield found  # type: ignore[misc]


def test_no_two_classes_share_a_name():
    homes = defaultdict(list)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_no_function_calls_another_of_its_own_name_however_far_down():
    graph = {function: set(calls(function, names)) for module, path in modules().items()
             for names in [meant(module, path)] for function in FUNCTIONS if function[0] == module}  # fmt: skip
    for start in graph:
        seen: set[Function] = set()
        waiting = [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        same = [function for function in seen if function[1] == start[1] and function != start]
        assert not same, f"{'.'.join(start)} reaches {'.'.join(same[0])}"
