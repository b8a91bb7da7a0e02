"""A module of the agent, without what a look does not show or need.

Docstrings, comments and annotations go; so does the text of drifts and errors, since after either the whole agent looks
again. What a function imports of ours is left out, too: by our own rule, a server that is as planned does not need it.
"""

import ast
from functools import cache

from ...agent import wire
from ..imports import source

ERRORS = {name for name, value in vars(wire).items() if isinstance(value, type) and issubclass(value, wire.Refused)}
UNNEEDED = ("add_methods", "require_fitting")  # of a dataclass: nothing is compared, printed or given wrongly
LEAVING = (ast.Return, ast.Yield, ast.YieldFrom, ast.Break, ast.Continue)
DRIFT = ast.Constant(1)
Definition = ast.FunctionDef | ast.ClassDef


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
        unneeded = isinstance(node.value, ast.Constant) or called(node.value) in UNNEEDED
        return None if unneeded else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if self.inside and isinstance(self.inside[-1], ast.ClassDef):
            node.annotation = ast.Name("int", ast.Load())  # a field must have one
            return node
        return ast.Assign([node.target], node.value) if node.value else None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        late = any(isinstance(around, ast.FunctionDef) for around in self.inside)
        return ast.Raise(ast.Name("ImportError", ast.Load())) if late and node.level else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(ast.Name("Exception", ast.Load())) if called(node.exc) in ERRORS else self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """With `format` where there are quotes within: Python 3.12 writes those as older ones do not read them."""
        self.generic_visit(node)
        return formatted(node) if any(map(has_text, node.values)) else node

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        """Without handlers at the end that raise another error."""
        self.generic_visit(node)
        while node.handlers and isinstance(node.handlers[-1].body[0], ast.Raise):
            node.handlers.pop()
        return node if node.handlers or node.finalbody else [*node.body, *node.orelse]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return DRIFT if called(node) == "Drift" else self.generic_visit(node)


def has_text(part: ast.expr) -> bool:
    """Whether an expression within an f-string has a text in it."""
    inside = ast.walk(part.value) if isinstance(part, ast.FormattedValue) else ()
    return any(isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) for node in inside)


def formatted(node: ast.JoinedStr) -> ast.Call:
    """An f-string as TEXT.format(…)."""
    text, values = "", []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            conversion = f"!{chr(part.conversion)}" if part.conversion > 0 else ""
            spec = f":{ast.literal_eval(part.format_spec.values[0])}" if part.format_spec else ""  # type: ignore[attr-defined]
            text += f"{{{conversion}{spec}}}"
            values.append(part.value)
        else:
            text += ast.literal_eval(part).replace("{", "{{").replace("}", "}}")
    return ast.Call(ast.Attribute(ast.Constant(text), "format", ast.Load()), values, [])


@cache
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
