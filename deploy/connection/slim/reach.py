"""What of the agent's modules is reached from `agent.look` and from the `check` of the kinds of a plan.

It is found by following names. One is kept wherever it could be meant: an attribute keeps all methods of that name.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from copy import copy

from ...agent.dataclass import dataclass, field
from ..imports import file_of
from .stripped import defines, parsed

PRINTING = ("__repr__", "__str__")
INDENT = re.compile(r"^(?:    )+", re.M)


def module_of(kind: type) -> str:
    return kind.__module__.partition(".")[2]


@dataclass
class Reach:
    """What is reached so far.

    names: of a module, (module, name). attributes: whatever they belong to; own: (class, attribute) of `self`.
    """

    modules: dict[str, ast.Module] = field(default_factory=dict)
    names: set[tuple[str, str]] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    own: set[tuple[str, str]] = field(default_factory=set)
    built: set[str] = field(default_factory=set)  # functions and classes that are called by name

    def tree(self, module: str) -> ast.Module:
        if module not in self.modules:
            self.modules[module] = parsed(module)
        return self.modules[module]

    def follow(self, roots: Iterable[tuple[str, str]], attributes: Iterable[str]) -> None:
        self.names |= set(roots)
        self.attributes |= set(attributes)
        size = 0
        while size != (size := len(self.names) + len(self.attributes) + len(self.own)):
            for module, name in sorted(self.names):
                for statement in self.tree(module).body:
                    if name in defines(statement):
                        self._take(module, statement, name)

    def _take(self, module: str, statement: ast.stmt, name: str) -> None:
        if isinstance(statement, ast.ImportFrom):
            self.names |= {home for home in [self._home(module, statement, name)] if home}
            return
        for node in self.parts(statement):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                imported = self._imported(module, node.value.id) if isinstance(node.value, ast.Name) else None
                if imported is None and isinstance(statement, ast.ClassDef) and ast.unparse(node.value) == "self":
                    self.own.add((statement.name, node.attr))
                elif imported is None:
                    self.attributes.add(node.attr)
                elif imported:
                    self.names.add((imported, node.attr))
            elif isinstance(node, ast.Name):
                self.names.add((module, node.id))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                self.built.add(node.func.id)

    def _home(self, module: str, statement: ast.ImportFrom, name: str) -> tuple[str, str] | None:
        """Where an imported name is defined; its name is "" where it is a module."""
        base = base_of(module, statement)
        original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
        inside = ".".join(filter(None, (base, original)))
        if file_of(inside):
            return inside, ""
        return (base, original) if file_of(base) else None

    def _imported(self, module: str, name: str) -> str | None:
        """The module of ours that a name of this module stands for; "" for one of Python's, None for what is none."""
        for statement in self.tree(module).body:
            if name in defines(statement) and isinstance(statement, ast.Import):
                return ""
            if name in defines(statement) and isinstance(statement, ast.ImportFrom) and statement.level:
                home = self._home(module, statement, name)
                return home[0] if home and not home[1] else None
        return None

    def parts(self, statement: ast.stmt) -> Iterator[ast.AST]:
        """The nodes of what is kept of a statement."""
        waiting: list[ast.AST] = [self.kept(statement)]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += ast.iter_child_nodes(node)

    def kept(self, statement: ast.stmt, of: str = "") -> ast.stmt:
        """A definition with those of its parts that are reached. of: the class that it is in."""
        if isinstance(statement, ast.ClassDef):
            body = [self.kept(part, statement.name) for part in statement.body if self._wanted(part, statement)]
            return definition(statement, body)
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return definition(statement, [part for part in statement.body if not self._unread(part, of)])
        return statement

    def _read(self, name: str, of: str) -> bool:
        """Whether an attribute of a class is asked for, by way of `self` or of anything else."""
        return name in self.attributes or any((each, name) in self.own for each in self._family(of))

    def _family(self, name: str) -> set[str]:
        """A class, and those that it is derived from, or that are derived from it."""
        classes = [part for tree in self.modules.values() for part in tree.body if isinstance(part, ast.ClassDef)]
        bases = {part.name: {base.id for base in part.bases if isinstance(base, ast.Name)} for part in classes}
        found, waiting = set(), [name]
        while waiting:
            found.add(each := waiting.pop())
            waiting += bases.get(each, set()) - found
        derived = {name}
        while more := {each for each, above in bases.items() if above & derived} - derived:
            derived |= more
        return found | derived

    def _wanted(self, part: ast.stmt, of: ast.ClassDef) -> bool:
        """Of a class: what is called, and the fields that are read; all fields of what is made in this code, too."""
        names = defines(part)
        if isinstance(part, ast.FunctionDef):
            abstract = ast.unparse(part.body[0]) == "raise NotImplementedError"
            called = part.name.startswith("__") and part.name not in PRINTING
            return not abstract and (called or self._read(part.name, of.name))
        return not names or of.name in self.built or any(self._read(name, of.name) for name in names)

    def _unread(self, part: ast.stmt, of: str) -> bool:
        """Whether this sets an attribute of `self` that nobody reads."""
        targets = [node for target in getattr(part, "targets", ()) for node in ast.walk(target)]
        names = [node.attr for node in targets if isinstance(node, ast.Attribute)]
        return bool(names) and not any(self._read(name, of) for name in names)

    def text(self, module: str) -> str:
        """What is reached of a module, as source."""
        body = [self.kept(part) for part in self.tree(module).body if self._defines_reached(module, part)]
        used = {node.id for part in body for node in ast.walk(part) if isinstance(node, ast.Name)}
        lines = []
        for part in body:
            if isinstance(part, (ast.Import, ast.ImportFrom)):
                names = [alias for alias in part.names if (alias.asname or alias.name).partition(".")[0] in used]
                if not names:
                    continue
                part = copy(part)
                part.names = names
            lines.append(ast.unparse(part))
        return INDENT.sub(lambda found: " " * (len(found[0]) // 4), "\n" + "\n".join(lines) + "\n")

    def _defines_reached(self, module: str, statement: ast.stmt) -> bool:
        return any((module, name) in self.names for name in defines(statement))

    def fields(self, kind: type) -> set[str]:
        """The fields of a kind that are kept, also those of what it is derived from."""
        found: set[str] = set()
        for each in kind.__mro__:
            for statement in self.tree(module_of(each)).body if module_of(each) and file_of(module_of(each)) else ():
                if isinstance(statement, ast.ClassDef) and statement.name == each.__name__:
                    kept = [part for part in statement.body if self._wanted(part, statement)]
                    found |= {name for part in kept for name in defines(part)}
        return found


def definition(statement: ast.ClassDef | ast.FunctionDef, body: list[ast.stmt]) -> ast.stmt:
    made = copy(statement)
    made.body = body or [ast.Pass()]
    return made


def base_of(module: str, statement: ast.ImportFrom) -> str:
    """The module that an import names."""
    if not statement.level:
        return statement.module or ""
    path = file_of(module)
    parts = module.split(".")
    package = parts if path and path.name == "__init__.py" else parts[:-1]
    return ".".join([*package[: len(package) - statement.level + 1], *filter(None, [statement.module])])
