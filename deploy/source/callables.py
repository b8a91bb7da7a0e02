"""What a project's code can be served by: the callables in it, found by reading and never by running it."""

import ast
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from ..agent.dataclass import dataclass

# What makes an app, by its name and the package or module that it is imported from: framework, and whether that speaks
# WSGI. A module counts before its package.
MAKERS = {
    ("Flask", "flask"): ("Flask", True),
    ("APIFlask", "apiflask"): ("APIFlask", True),
    ("Bottle", "bottle"): ("Bottle", True),
    ("default_app", "bottle"): ("Bottle", True),
    ("App", "falcon"): ("Falcon", True),
    ("get_wsgi_application", "django"): ("Django", True),
    ("ASGIMiddleware", "a2wsgi"): ("wrapped ASGI", True),
    ("get_asgi_application", "django"): ("Django", False),
    ("ProtocolTypeRouter", "channels"): ("Channels", False),
    ("App", "falcon.asgi"): ("Falcon", False),
    ("App", "falcon.asgi.app"): ("Falcon", False),
    ("FastAPI", "fastapi"): ("FastAPI", False),
    ("Starlette", "starlette"): ("Starlette", False),
    ("Quart", "quart"): ("Quart", False),
    ("Litestar", "litestar"): ("Litestar", False),
    ("BlackSheep", "blacksheep"): ("BlackSheep", False),
    ("Application", "blacksheep"): ("BlackSheep", False),
    ("Sanic", "sanic"): ("Sanic", False),
    ("Datasette", "datasette"): ("Datasette", False),
    ("ASGIApp", "socketio"): ("Socket.IO", False),
    ("AsyncApp", "connexion"): ("Connexion", False),
    ("WsgiToAsgi", "asgiref"): ("wrapped WSGI", False),
    ("WSGIMiddleware", "a2wsgi"): ("wrapped WSGI", False),
}
PLAIN = {("scope", "receive", "send"): ("plain ASGI", False), ("environ", "start_response"): ("plain WSGI", True)}
LEFT_OUT = {
    "tests", "test", "docs", "doc", "examples", "build", "dist", "node_modules", "site-packages", "migrations", "venv",
    "env", "ashore", "scripts",
}  # fmt: skip
USUAL_MODULES = ("wsgi", "asgi", "app", "main", "application", "server", "run")
USUAL_NAMES = ("app", "application", "create_app", "make_app")
HEALTH_PATHS = ("/healthz", "/health", "/health/", "/livez", "/readyz", "/up", "/ping", "/_health", "/status")
DEEPEST, MOST_FILES, MOST_BYTES = 3, 3000, 1_000_000


@dataclass(frozen=True)
class Served:
    """An app that code makes, to be served. target: as `wsgi` or `asgi` names it. path: the file.

    source_root: "" or "src". static: URL prefix and directory of its static files, "" where it has none. made_by: the
    target of the factory that a module calls for it.
    """

    target: str
    path: str
    framework: str
    is_wsgi: bool
    source_root: str = ""
    static: tuple[str, str] = ("", "")
    made_by: str = ""

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def usual(self) -> tuple[int, int, str]:
        """How usual its names are, the most usual first."""
        last = self.module.rpartition(".")[2]
        name = self.target.partition(":")[2].removesuffix("()")
        modules = USUAL_MODULES.index(last) if last in USUAL_MODULES else len(USUAL_MODULES)
        return modules, USUAL_NAMES.index(name) if name in USUAL_NAMES else len(USUAL_NAMES), self.target


@dataclass
class Module:
    """A module of the project as it is written."""

    path: Path  # below the project's directory
    tree: ast.Module

    @cached_property
    def origins(self) -> dict[str, str]:
        """Imported name → where it is from, as "package.module.name" or "package"."""
        found = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    found[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                base = self._package(node.level) if node.level else []
                full = ".".join([*base, *filter(None, [node.module])])
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{full}.{alias.name}".strip(".")
        return found

    @property
    def parts(self) -> list[str]:
        parts = list(self.path.with_suffix("").parts)
        if self.source_root:
            parts = parts[1:]
        return parts[:-1] if parts[-1] == "__init__" else parts

    @property
    def source_root(self) -> str:
        return "src" if self.path.parts[0] == "src" and len(self.path.parts) > 1 else ""

    @property
    def name(self) -> str:
        return ".".join(self.parts)

    def _package(self, level: int) -> list[str]:
        package = self.parts if self.path.name == "__init__.py" else self.parts[:-1]
        return package[: len(package) - level + 1]

    def maker(self, call: ast.expr | None) -> tuple[str, bool] | None:
        """The framework that a call makes an app of, and whether that speaks WSGI."""
        if not isinstance(call, ast.Call):
            return None
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call):
            return self.maker(call.func.value) if call.func.attr == "app" else None  # Datasette(…).app()
        if isinstance(call.func, ast.Name) and call.func.id in self.classes:
            return self.classes[call.func.id]
        module, _, name = self.full_name(call.func).rpartition(".")
        return MAKERS.get((name, module)) or MAKERS.get((name, module.partition(".")[0]))

    def full_name(self, named: ast.expr) -> str:
        """What an expression names, "package.module.name", if its first part is imported; else ""."""
        if isinstance(named, ast.Name):
            return self.origins.get(named.id, "")
        if isinstance(named, ast.Attribute) and (above := self.full_name(named.value)):
            return f"{above}.{named.attr}"
        return ""

    @cached_property
    def classes(self) -> dict[str, tuple[str, bool]]:
        """The module's own classes whose instances are apps, by the signature of their __call__."""
        return {
            node.name: PLAIN[signature(method)[1:]]
            for node in self.tree.body
            if isinstance(node, ast.ClassDef)
            for method in node.body
            if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) and method.name == "__call__"
            if signature(method)[1:] in PLAIN
        }


def callables(directory: Path, modules: list[Module]) -> list[Served]:
    """All that is found in a project's modules, the most usual first."""
    found = [made for module in modules for made in made_in(module, directory)]
    factories = {each.target: each for each in found if each.target.endswith("()")}
    for module in modules:
        found += [each for each in called_in(module, factories) if each.target not in {one.target for one in found}]
    return sorted(found, key=lambda each: each.usual)


def read(directory: Path) -> Iterator[Module]:
    """The modules of a project's own code."""
    count = 0
    for top, directories, files in os.walk(directory):
        below = Path(top).relative_to(directory)
        inside = len(below.parts) < DEEPEST
        directories[:] = sorted(name for name in directories if inside and is_code(Path(top) / name))
        for name in sorted(files):
            path = Path(top) / name
            if name.endswith(".py") and not name.startswith("test_") and count < MOST_FILES:
                count += 1
                with suppress(OSError, ValueError, SyntaxError, RecursionError):  # what cannot be read is no app
                    if path.stat().st_size <= MOST_BYTES:
                        yield Module(below / name, ast.parse(path.read_bytes()))


def is_code(path: Path) -> bool:
    """Whether a directory can have the app's own code: not a virtualenv, not hidden, no tests."""
    return not (
        path.name.startswith(".") or path.name in LEFT_OUT or (path / "pyvenv.cfg").exists() or path.is_symlink()
    )


def assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of a module's assignments, also of those within `if` and `try`."""
    for node in body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and "__main__" not in ast.dump(node.test)):
            yield from assigned(node.body)


def made_in(module: Module, directory: Path) -> Iterator[Served]:
    """The apps that a module makes itself: by a call at its top, or in a function without required arguments."""
    for name, value in assigned(module.tree.body):
        if made := module.maker(value):
            yield of(module, name, made, value, directory)
    for node in module.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and signature(node) in PLAIN:
            yield of(module, node.name, PLAIN[signature(node)], ast.Constant(None), directory)
        if isinstance(node, ast.FunctionDef) and not required(node):
            calls = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call)]
            named = [(call, made) for call in calls if (made := module.maker(call))]
            if named and any(isinstance(inner, ast.Return) and inner.value for inner in ast.walk(node)):
                yield of(module, f"{node.name}()", returned(module, node) or named[0][1], named[0][0], directory)


def returned(module: Module, factory: ast.FunctionDef) -> tuple[str, bool] | None:
    """What a factory returns in the end, if that is clear: a call, or a name with what was last assigned to it."""
    values = [node.value for node in ast.walk(factory) if isinstance(node, ast.Return) and node.value]
    if len(values) != 1:
        return None
    if isinstance(values[0], ast.Name):
        name, inside = values[0].id, [node for node in ast.walk(factory) if isinstance(node, ast.stmt)]
        given = [value for target, value in assigned(sorted(inside, key=lambda node: node.lineno)) if target == name]
        return module.maker(given[-1]) if given else None
    return module.maker(values[0])


def signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    """The names of the arguments, if these are positional only."""
    given = function.args
    return () if given.vararg or given.kwonlyargs else tuple(one.arg for one in (*given.posonlyargs, *given.args))


def required(function: ast.FunctionDef) -> bool:
    given = function.args
    positional = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    return positional > 0 or None in given.kw_defaults


def of(module: Module, name: str, made: tuple[str, bool], call: ast.expr, directory: Path) -> Served:
    framework, is_wsgi = made
    static = static_of(module, call, directory) if framework in ("Flask", "APIFlask") else ("", "")
    target = f"{module.name or module.path.stem}:{name}"
    return Served(target, module.path.as_posix(), framework, is_wsgi, module.source_root, static)


def static_of(module: Module, call: ast.expr, directory: Path) -> tuple[str, str]:
    """Flask's static files: its own default, or what the call names in plain text."""
    given = {word.arg: word.value for word in call.keywords} if isinstance(call, ast.Call) else {}
    texts = {name: value.value for name, value in given.items() if isinstance(value, ast.Constant)}
    if any(name in given and not isinstance(texts.get(name), str) for name in ("static_folder", "static_url_path")):
        return "", ""
    if isinstance(call, ast.Call) and call.args and not is_own_name(call.args[0]):
        return "", ""  # made for another module, whose directory counts
    folder = str(texts.get("static_folder", "static"))
    path = os.path.normpath(module.path.parent / folder)
    prefix = str(texts.get("static_url_path", "/" + os.path.basename(folder))).strip("/")
    if folder.startswith("/") or path.startswith("..") or not prefix or not any((directory / path).glob("*")):
        return "", ""
    return f"/{prefix}/", Path(path).as_posix()


def is_own_name(first: ast.expr) -> bool:
    return isinstance(first, ast.Name) and first.id == "__name__"


def called_in(module: Module, factories: dict[str, Served]) -> Iterator[Served]:
    """Apps that a module gets from a factory of the project."""
    for name, value in assigned(module.tree.body):
        if not isinstance(value, ast.Call):
            continue
        if isinstance(value.func, ast.Name):
            local, _, last = module.origins.get(value.func.id, f"{module.name}.{value.func.id}").rpartition(".")
        elif isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Name):
            local, last = module.origins.get(value.func.value.id, ""), value.func.attr
        else:
            continue
        known = next((each for target, each in factories.items() if target == f"{local}:{last}()"), None)
        if known:
            target = f"{module.name or module.path.stem}:{name}"
            yield Served(
                target,
                module.path.as_posix(),
                known.framework,
                known.is_wsgi,
                known.source_root,
                known.static,
                known.target,
            )


def served_by(directory: Path, target: str) -> Served | None:
    """What `wsgi` or `asgi` names, if its module shows that.

    Where a name gets several values, the last one counts: `app = Middleware(app)` may be anything.
    """
    path = Path(*target.partition(":")[0].split("."))
    for below in (path.with_suffix(".py"), path / "__init__.py"):
        with suppress(OSError, ValueError, SyntaxError, RecursionError):
            module = Module(below, ast.parse((directory / below).read_bytes()))
            name = target.partition(":")[2]
            values = [value for assigned_name, value in assigned(module.tree.body) if assigned_name == name]
            functions = [node for node in module.tree.body if isinstance(node, ast.FunctionDef)]
            factories = [node for node in functions if f"{node.name}()" == name]
            if (values and not module.maker(values[-1])) or (factories and not returned(module, factories[-1])):
                return None
            return {made.target: made for made in made_in(module, directory)}.get(target)
    return None


def to_choose(found: list[Served]) -> list[Served]:
    """Those among which only a person can choose; one where it is clear.

    A module wsgi.py is there to be served, but Channels is there for what WSGI cannot do. A factory stands for what
    other modules make with it.
    """
    channels = [each for each in found if each.framework == "Channels"]
    if len(channels) == 1:
        return channels
    in_wsgi = [each for each in found if each.module.rpartition(".")[2] == "wsgi"]
    if len(in_wsgi) == 1:
        return in_wsgi
    left = [each for each in found if not each.made_by]
    return [each for each in left if each.is_wsgi] or left


def health_path(modules: list[Module]) -> str:
    """A path that is there for health checks, "/" where there is none."""
    routes = set()
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)) and node.args:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                first = node.args[0]
                if name in ("route", "get", "add_url_rule", "path") and isinstance(first, ast.Constant):
                    routes.add("/" + str(first.value).lstrip("/"))
    return next((path for path in HEALTH_PATHS if path in routes), "/")
