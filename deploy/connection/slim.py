"""A first look at a server, as it is sent: the checks of a plan without what applies it, and the plan without texts.

A look at a server that is as planned needs a quarter of the agent, and fits into the first packets that a new TCP
connection may send. What is left out is found by following names from `agent.look` and from the `check` of each kind of
resource in the plan. A name is kept wherever it could be meant: an attribute keeps all methods of that name.

Left out, too, is what a look does not show: the text of drifts and errors, since after either the whole agent looks
again. An import of ours inside of a function is not followed: a server that is as planned does not need it.
"""

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ..agent import wire
from ..config.paths import caches, forget_old
from .imports import HOME, file_of, source
from .payload import program, within

LOOK, PLAIN = "agent.look", "agent.plain"
ALWAYS = ("check", "title")  # what the look calls of each resource
SHORT = 40  # characters of a text that is sent as it is
ERRORS = {name for name, value in vars(wire).items() if isinstance(value, type) and issubclass(value, wire.Refused)}
LEAVING = (ast.Return, ast.Yield, ast.YieldFrom, ast.Break, ast.Continue)
INDENT = re.compile(r"^(?:    )+", re.M)
DRIFT = ast.Constant(1)
Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Look:
    """sources: module → what is reached of its text. fields: kind → those of its fields that a check reads."""

    sources: dict[str, str]
    fields: dict[str, list[str]]

    @cached_property
    def program(self) -> bytes:
        """What BOOT reads, see `payload.program`."""
        return program(self.sources, LOOK)

    def plan(self, value: Any) -> Any:
        """The packed plan (`wire.pack`), without what no check reads, and with hashes for long texts of files."""
        if isinstance(value, list):
            return [self.plan(item) for item in value]
        if not isinstance(value, dict):
            return value
        read = ("kind", *self.fields[value["kind"]])
        kept = {key: self.plan(item) for key, item in value.items() if key in read}
        text = kept.get("content")
        if value["kind"] == "File" and isinstance(text, str) and len(text) > SHORT:
            kept["content"] = wire.pack(wire.Digest(wire.digest(text)))
        return kept


@cache
def look(kinds: frozenset[type]) -> Look:
    """What looks at plans of these kinds; from the cache of the user, if it is there: to make it takes 0.2 s."""
    path = None
    with suppress(OSError, ValueError, TypeError, RuntimeError):  # no cache, a broken one, or no home: it is made anew
        path = cached_at(kinds)
        read = Look(**json.loads(path.read_text("utf-8")))
        if set(read.fields) == {kind.__name__ for kind in kinds}:
            return read
    made = made_for(kinds)
    with suppress(OSError):
        if path:
            keep(path, made)
    return made


def pack_ahead(plan: wire.Plan) -> None:
    """Make the program that a plan will need, while the connection is still being made."""
    look(kinds_of(plan)).program  # noqa: B018


def keep(path: Path, made: Look) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(asdict(made)), "utf-8")
    os.replace(fresh, path)
    forget_old(path.parent)


def kinds_of(plan: wire.Plan) -> frozenset[type]:
    parts = {type(part) for step in (*plan.steps, *plan.finish) for part in within(step)}
    return frozenset({wire.Plan, wire.Secret, *parts})


def cached_at(kinds: frozenset[type]) -> Path:
    """A file for these kinds, as they and all that they could reach are now."""
    texts = [path.read_bytes() for path in sorted((HOME / "agent").rglob("*.py"))]
    seen = (sys.version_info[:2], sorted(kind.__name__ for kind in kinds), Path(__file__).read_bytes(), texts)
    return caches() / "look" / f"{hashlib.sha256(repr(seen).encode()).hexdigest()[:16]}.json"


def module_of(kind: type) -> str:
    return kind.__module__.partition(".")[2]


def made_for(kinds: frozenset[type]) -> Look:
    reach = Reach()
    homes = [(module_of(kind), kind.__name__) for kind in kinds]
    reach.follow([(LOOK, "main"), *homes], ALWAYS)
    modules = {module for module, _ in reach.names}
    packages = {module.rpartition(".")[0] for module in modules}
    sources = {module: reach.text(module) for module in sorted(modules)}
    fields = {kind.__name__: sorted(reach.fields(kind)) for kind in kinds}
    return Look({**dict.fromkeys(sorted(packages - modules), ""), **sources}, fields)


class Stripped(ast.NodeTransformer):
    """A module without docstrings, annotations, and the text of errors and drifts."""

    def __init__(self) -> None:
        self.inside: list[ast.AST] = []  # the classes and functions around a node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._definition(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for argument in filter(None, every):
            argument.annotation = None
        node.returns = None
        return self._definition(node)

    def _definition(self, node: Definition) -> ast.AST:
        self.inside.append(node)
        self.generic_visit(node)
        self.inside.pop()
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if self.inside and isinstance(self.inside[-1], ast.ClassDef):
            node.annotation = ast.Name("int", ast.Load())  # a field must have one
            return node
        return ast.Assign([node.target], node.value) if node.value else None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "dataclasses":
            return ast.ImportFrom(PLAIN, node.names, 0)
        late = any(isinstance(around, ast.FunctionDef) for around in self.inside)
        return ast.Raise(ast.Name("ImportError", ast.Load())) if late and node.level else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(ast.Name("Exception", ast.Load())) if called(node.exc) in ERRORS else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return DRIFT if called(node) == "Drift" else self.generic_visit(node)


def parsed(module: str) -> ast.Module:
    tree: ast.Module = Stripped().visit(ast.parse(source(module)))
    for node in ast.walk(tree):
        for name in ("body", "orelse"):
            block = getattr(node, name, [])
            if isinstance(block, list):
                setattr(node, name, decided(block))
        if isinstance(node, ast.FunctionDef):
            while drop_unread(node):
                pass
    ast.fix_missing_locations(tree)
    return tree


def decided(block: list[ast.stmt]) -> list[ast.stmt]:
    """A block without what comes after its first `raise` or `return`, and without what can only lead to drift.

    Where a block ends in drift or an error, the whole agent looks again, whatever comes just before that end.
    """
    for number, statement in enumerate(block):
        if isinstance(statement, (ast.Raise, ast.Return)):
            if not drifts(statement):
                return block[: number + 1]
            while number and not any(isinstance(node, LEAVING) for node in ast.walk(block[number - 1])):
                number -= 1
            return [*block[:number], statement]
    return block


def drifts(statement: ast.stmt) -> bool:
    """Whether this raises an error of ours, or returns what drifts."""
    if isinstance(statement, ast.Raise):
        return True
    value = statement.value if isinstance(statement, ast.Return) else None
    return isinstance(value, ast.List) and DRIFT in value.elts


def called(node: ast.AST | None) -> str:
    """The name of a function that is called by it; "" for other nodes."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def drop_unread(function: ast.FunctionDef) -> bool:
    """Leave out what is only made to be told; whether there was any. What asks the machine stays."""
    read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    found = False
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            block = getattr(node, name, [])
            if isinstance(block, list):
                kept = [part for part in block if not is_unread(part, read)]
                found = found or len(kept) < len(block)
                setattr(node, name, kept or [ast.Pass()][: len(block)])
    return found


def is_unread(statement: ast.stmt, read: set[str]) -> bool:
    if not (isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets)):
        return False
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    asks = any(names_in(call.func) & {"self", "system"} or call_takes(call, "system") for call in calls)
    return not (defines(statement) & read or asks)


def call_takes(call: ast.Call, name: str) -> bool:
    return any(isinstance(given, ast.Name) and given.id == name for given in call.args)


def names_in(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def defines(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module or a class gives a value to."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign):
        return {name for target in statement.targets for name in names_in(target)}
    return names_in(statement.target) if isinstance(statement, ast.AnnAssign) else set()


@dataclass
class Reach:
    """What is reached so far. names: of a module, (module, name). attributes: whatever they belong to."""

    modules: dict[str, ast.Module] = field(default_factory=dict)
    names: set[tuple[str, str]] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    built: set[str] = field(default_factory=set)  # functions and classes that are called by name

    def tree(self, module: str) -> ast.Module:
        if module not in self.modules:
            self.modules[module] = parsed(module)
        return self.modules[module]

    def follow(self, roots: Iterable[tuple[str, str]], attributes: Iterable[str]) -> None:
        self.names |= set(roots)
        self.attributes |= set(attributes)
        size = 0
        while size != (size := len(self.names) + len(self.attributes)):
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
                if imported is None:
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

    def kept(self, statement: ast.stmt) -> ast.stmt:
        """A definition with those of its parts that are reached."""
        if isinstance(statement, ast.ClassDef):
            body = [self.kept(part) for part in statement.body if self._wanted(part, statement)]
            return definition(statement, body)
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return definition(statement, [part for part in statement.body if not self._unread(part)])
        return statement

    def _wanted(self, part: ast.stmt, of: ast.ClassDef) -> bool:
        """Of a class: what is called, and the fields that are read; all fields of what is made in this code, too."""
        names = defines(part)
        if isinstance(part, ast.FunctionDef):
            abstract = ast.unparse(part.body[0]) == "raise NotImplementedError"
            return not abstract and (part.name in self.attributes or part.name.startswith("__"))
        return not names or bool(names & self.attributes) or of.name in self.built

    def _unread(self, part: ast.stmt) -> bool:
        """Whether this sets an attribute of `self` that nobody reads."""
        targets = [node for target in getattr(part, "targets", ()) for node in ast.walk(target)]
        return any(isinstance(node, ast.Attribute) for node in targets) and not any(
            isinstance(node, ast.Attribute) and node.attr in self.attributes for node in targets
        )

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
            for statement in self.tree(module_of(each)).body if each.__module__.startswith("deploy.") else ():
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


INDENT = re.compile(r"^(?:    )+", re.M)
