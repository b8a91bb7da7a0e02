"""Whether the callable that is served is there, by reading the code."""

import ast
import difflib
import re
from collections.abc import Iterator

from ...config.reader import App
from ...stack.finding import Finding
from ...stack.frameworks.base import Reading
from ..callables import callables, read, required

NAMED = re.compile(r"[A-Za-z0-9][\w.-]*")


def missing_callable(app: App, reading: Reading, roots: tuple[str, ...], packages: str) -> list[Finding]:
    """roots: directories of the source that Python searches. packages: the texts of the requirements."""
    module, _, name = app.served.partition(":")
    key = "asgi" if app.asgi else "wsgi"
    path = path_of(module, reading, roots)
    if path:
        return list(of_module(app, key, module, name, path, reading))
    top = module.partition(".")[0]
    if is_installed(top, packages):
        return []
    below = [
        root
        for root in ("", *roots)
        if (reading.directory / root / top).exists() or (reading.directory / root / f"{top}.py").exists()
    ]
    if below and not reading.below(top) and f"{top}.py" not in reading.names:
        what = f"{key} names the module {module}, which is not among the uploaded files"
        return [Finding("error", what, f"git add {top}, or name it in `include`", "deploy.toml")]
    what = f"{key} names the module {module}, which the source does not have"
    return [Finding("error", what, instead(app, reading, key), "deploy.toml")]


def path_of(module: str, reading: Reading, roots: tuple[str, ...]) -> str:
    """The file of a module; "" where the source has none."""
    below = module.replace(".", "/")
    for root in roots:
        for path in (f"{root}/{below}.py", f"{root}/{below}/__init__.py"):
            path = path.removeprefix("./").lstrip("/")
            if path in reading.names:
                return path
    return ""


def is_installed(module: str, packages: str) -> bool:
    """Whether a package of the requirements may have a module: by its name."""
    wanted = re.sub(r"[-_.]+", "-", module).lower()
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in NAMED.findall(packages)}
    return wanted in names or f"django-{wanted}" in names or f"python-{wanted}" in names


def instead(app: App, reading: Reading, key: str) -> str:
    """What could be served, as a line of deploy.toml."""
    found = [each for each in callables(reading.directory, list(read(reading.directory))) if each.path in reading.names]
    if not found:
        return f"fix `{key}` in deploy.toml"
    near = difflib.get_close_matches(app.served, [each.target for each in found], 1, 0.5)
    best = next((each for each in found if each.target in near), found[0])
    return f'{"wsgi" if best.is_wsgi else "asgi"} = "{best.target}"'


def of_module(app: App, key: str, module: str, name: str, path: str, reading: Reading) -> Iterator[Finding]:
    try:
        tree = ast.parse(reading.text(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        yield Finding(
            "error", f"{path} is not Python: {error.args[0]}", "fix that line", f"{path}:{line}" if line else path
        )
        return
    names, anything = top_names(tree)
    called, function = name.endswith("()"), names.get(name.removesuffix("()"))
    bare = name.removesuffix("()")
    if bare not in names:
        if not anything:
            near = difflib.get_close_matches(bare, list(names), 1, 0.5)
            hint = (
                f'{key} = "{module}:{near[0]}{"()" if isinstance(names[near[0]], ast.FunctionDef) else ""}"'
                if near
                else instead(app, reading, key)
            )
            yield Finding("error", f"{path} has no {bare}, which {key} names", hint, path)
    elif called and isinstance(function, ast.FunctionDef) and required(function):
        what = f"{bare}() in {path} needs arguments, and Ashore calls it without"
        yield Finding(
            "error", what, "give them default values, or name a module that makes the app", f"{path}:{function.lineno}"
        )
    elif not called and isinstance(function, ast.FunctionDef) and is_factory(function):
        what = f"{bare} in {path} is a function that makes the app"
        yield Finding("error", what, f'{key} = "{module}:{bare}()"', f"{path}:{function.lineno}")


def is_factory(function: ast.FunctionDef) -> bool:
    """Whether a function makes an app, rather than being one: it can be called without arguments."""
    return not required(function) and any(isinstance(node, ast.Return) and node.value for node in ast.walk(function))


def top_names(tree: ast.Module) -> tuple[dict[str, ast.AST], bool]:
    """The names that a module has, with what they are; whether it may have others, as by a star import."""
    found: dict[str, ast.AST] = {}
    anything = False
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                anything = anything or alias.name == "*"
                found[alias.asname or alias.name.partition(".")[0]] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    found[inner.id] = node
        else:
            waiting += [inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)]
            for handler in getattr(node, "handlers", []):
                waiting += handler.body
            for inner in ast.walk(node) if isinstance(node, (ast.With, ast.For)) else ():
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    found[inner.id] = node
            anything = anything or "globals()" in ast.unparse(node)
        if "__getattr__" in found:
            anything = True
    return found, anything
