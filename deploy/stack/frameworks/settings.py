"""What a module of settings assigns, as far as that can be read without running it.

Knows what settings are usually made of: constants, paths from __file__ on, and variables of the environment by os,
django-environ, python-decouple and the like. All else is UNKNOWN.
"""

import ast
import operator
import posixpath
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from ...agent.dataclass import dataclass, field

TOP = PurePosixPath("/@")  # stands for the directory of the source


class Unknown:
    """A value that only running the code would tell. It is neither true nor false."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()
FALSE_WORDS = ("", "0", "false", "off", "no", "n", "f", "none")
COMPARED: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not, ast.Lt: operator.lt, ast.Gt: operator.gt,
    ast.LtE: operator.le, ast.GtE: operator.ge,
}  # fmt: skip
PLAIN_METHODS = ("split", "strip", "lower", "upper", "replace", "format", "startswith", "endswith", "rstrip", "lstrip")


def as_bool(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip().lower() not in FALSE_WORDS
    return value if isinstance(value, Unknown) else bool(value)


@dataclass
class Settings:
    """The assignments of a module. environment: variables as they will be. asked: the variables that a name depends on.

    load: the text of a module by its path in the source, "" for none.
    """

    environment: Mapping[str, str]
    load: Callable[[str], str]
    values: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    reading: list[str] = field(default_factory=list)

    def read(self, path: str) -> None:
        """path: of a module, in the source. A module that is not Python says nothing."""
        if path in self.reading:
            return
        self.reading.append(path)
        try:
            body = ast.parse(self.load(path)).body
        except (SyntaxError, ValueError, RecursionError):
            return
        self.values["__file__"] = str(TOP / path)
        self.run(body, path)

    def run(self, body: list[ast.stmt], path: str) -> None:
        for node in body:
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                for module in module_paths(path, node.level, node.module or ""):
                    self.read(module)
                self.values["__file__"] = str(TOP / path)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    self.assign(target, node.value)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                self.values[name] = self.added(self.values.get(name, UNKNOWN), self.value(node.value))
            elif isinstance(node, ast.If):
                self.branch(node, path)
            elif isinstance(node, (ast.Try, ast.With)):
                self.run(node.body, path)

    def branch(self, node: ast.If, path: str) -> None:
        test = self.value(node.test)
        if not isinstance(test, Unknown):
            self.run(node.body if test else node.orelse, path)
            return
        before = dict(self.values)
        self.run(node.body, path)
        once, self.values = self.values, dict(before)
        self.run(node.orelse, path)
        for name in {*once, *self.values}:
            if once.get(name, UNKNOWN) != self.values.get(name, UNKNOWN):
                self.values[name] = UNKNOWN

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.values[target.id] = self.value(value)
            names = variables_in(value)
            for used in (node.id for node in ast.walk(value) if isinstance(node, ast.Name)):
                names += self.asked.get(used, [])
            self.asked[target.id] = list(dict.fromkeys(names))
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            holder, key = self.values.get(target.value.id), self.value(target.slice)
            if isinstance(holder, dict) and isinstance(key, str):
                holder[key] = self.value(value)

    def value(self, node: ast.expr) -> Any:
        """What an expression is; UNKNOWN where it cannot be told."""
        try:
            return self.evaluated(node)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
            return UNKNOWN

    def evaluated(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.values.get(name, UNKNOWN)
            case ast.List() | ast.Tuple() | ast.Set():
                return [self.value(item) for item in node.elts if not isinstance(item, ast.Starred)]
            case ast.Dict():
                pairs = zip(node.keys, node.values, strict=True)
                return {str(self.value(key)): self.value(item) for key, item in pairs if key}
            case ast.JoinedStr():
                parts = [
                    self.value(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values
                ]
                return UNKNOWN if any(isinstance(part, Unknown) for part in parts) else "".join(map(str, parts))
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                top = self.value(left)
                return top / str(self.known(right)) if isinstance(top, PurePosixPath) else UNKNOWN
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.added(self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=values):
                return self.combined(isinstance(op, ast.And), values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.known(operand)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return COMPARED[type(op)](self.known(left), self.known(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.known(test) else orelse)
            case ast.Attribute(value=inner, attr="parent"):
                return self.known(inner).parent
            case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
                if dotted(inner) == "os.environ":
                    return self.variable(str(key), [], {})
                return self.known(inner)[key]
            case ast.Subscript(value=ast.Attribute(value=inner, attr="parents"), slice=index):
                return self.known(inner).parents[self.known(index)]
            case ast.Call():
                return self.called(node)
        return UNKNOWN

    def known(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, Unknown):
            raise ValueError("unknown")
        return value

    def added(self, left: Any, right: Any) -> Any:
        if isinstance(left, list) and isinstance(right, list):
            return left + right
        return left + right if isinstance(left, str) and isinstance(right, str) else UNKNOWN

    def combined(self, both: bool, values: list[ast.expr]) -> Any:
        found: Any = UNKNOWN
        for value in values:
            found = self.known(value)
            if bool(found) != both:
                break
        return found

    def called(self, node: ast.Call) -> Any:
        name = dotted(node.func)
        options = {word.arg: word.value for word in node.keywords if word.arg}
        last = name.rpartition(".")[2]
        if asks_environment(name, node):
            default = [*node.args[1:], *([ast.Constant(None)] if last in ("get", "getenv") else [])]
            return self.variable(str(self.known(node.args[0])), default[:1] if default else [], options, cast=last)
        if last in ("Path", "PurePath") and node.args:
            return PurePosixPath(str(self.known(node.args[0])))
        if last in ("str", "fspath", "list", "tuple") and len(node.args) == 1:
            value = self.known(node.args[0])
            return str(value) if last in ("str", "fspath") else list(value)
        if last in ("bool", "strtobool"):
            return bool(self.known(node.args[0])) if last == "bool" else as_bool(self.known(node.args[0]))
        if last == "int":
            return int(self.known(node.args[0]))
        if last in ("abspath", "realpath", "normpath", "dirname", "join"):
            words = [str(self.known(argument)) for argument in node.args]
            if isinstance(node.func, ast.Attribute) and last == "join" and not name.endswith("path.join"):
                return UNKNOWN
            joined = posixpath.join(*words)
            return posixpath.dirname(joined) if last == "dirname" else posixpath.normpath(joined)
        if isinstance(node.func, ast.Attribute):
            inner = self.known(node.func.value)
            if last in ("resolve", "absolute"):
                return inner
            if last == "joinpath":
                return inner.joinpath(*(str(self.known(argument)) for argument in node.args))
            if isinstance(inner, str) and last in PLAIN_METHODS:
                return getattr(inner, last)(*(self.known(argument) for argument in node.args))
        return UNKNOWN

    def variable(self, name: str, rest: list[ast.expr], options: dict[str, ast.expr], cast: str = "") -> Any:
        default = options.get("default") or (rest[0] if rest else None)
        if name in self.environment:
            found: Any = self.environment[name]
        elif default is None:
            self.missing.append(name)
            return UNKNOWN
        else:
            found = self.value(default)
        how = cast_of(cast, [*rest, *options.values()])
        if how == "bool":
            return as_bool(found)
        if how == "list" and isinstance(found, str):
            return [part.strip() for part in found.split(",") if part.strip()]
        return PurePosixPath(found) if how == "path" and isinstance(found, str) else found


def cast_of(method: str, given: list[ast.expr]) -> str:
    """bool, list or path, by the method that reads a variable, or by what it is given."""
    words = {dotted(item.func if isinstance(item, ast.Call) else item).rpartition(".")[2].lower() for item in given}
    for kind, names in (("bool", {"bool", "strtobool"}), ("list", {"list", "csv", "tuple"}), ("path", {"path"})):
        if method.lower() in names or words & names:
            return kind
    return ""


def dotted(node: ast.expr) -> str:
    """The name of what is called, "os.path.join"; parts that are not names are left out."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def asks_environment(name: str, node: ast.Call) -> bool:
    """Whether a call reads a variable: os.getenv, os.environ.get, env("X"), env.bool("X"), config("X"), decouple's."""
    last = name.rpartition(".")[2]
    top = name.partition(".")[0].lower()
    by_name = name in ("os.getenv", "getenv", "os.environ.get", "environ.get", "os.environ.setdefault")
    by_reader = top in ("env", "config", "environ", "get_env", "getenv", "env_var") and last not in ("read_env", "Env")
    constant = bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    return constant and (by_name or by_reader)


def variables_in(node: ast.expr) -> list[str]:
    """Names of the variables of the environment that an expression reads."""
    found = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and asks_environment(dotted(inner.func), inner):
            found.append(str(inner.args[0].value))  # type: ignore[attr-defined]
        if isinstance(inner, ast.Subscript) and isinstance(inner.slice, ast.Constant):
            found += [str(inner.slice.value)] if dotted(inner.value) == "os.environ" else []
    return found


def module_paths(path: str, level: int, module: str) -> list[str]:
    """Where a module that another one imports may be: path of that one, in the source."""
    below = module.replace(".", "/")
    if level:
        above = PurePosixPath(path)
        for _ in range(level):
            above = above.parent
        tops = [str(above)]
    else:
        parents = [str(parent) for parent in PurePosixPath(path).parents]
        tops = parents[::-1]
    found = [posixpath.normpath(posixpath.join(top, below)) for top in tops]
    return [f"{each}{ending}" for each in found for ending in (".py", "/__init__.py")]
