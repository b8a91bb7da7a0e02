"""What is written in the code and works on localhost only."""

import re
from collections.abc import Iterator

from ...agent.dataclass import dataclass
from ...config.reader import App
from ...stack.finding import Finding
from ...stack.frameworks.base import Reading

NOT_LIVE = re.compile(  # code that visitors do not reach
    r"(^|/)(tests?|docs?|examples?|scripts|migrations|alembic)/|(^|[/_])(test|conftest|dev|local)\w*\.py$"
    r"|(^|/)(setup|noxfile|tasks|fabfile|manage|conf)\.py$"
)
VARIABLE = re.compile(
    r"""(?:environ(?:\.get)?\s*[\[(]|getenv\s*\(|\benv(?:\.\w+)?\s*\(|\bconfig\s*\()\s*["'](\w+)["']|\$\{?(\w+)"""
)
LOCAL_SERVER = re.compile(
    r"\b(postgres(?:ql)?|mysql|mariadb|redis|rediss|mongodb|amqp|amqps)(?:\+\w+)?://(?:[^@\s\"'/]*@)?(?:localhost|127\.0\.0\.1)\b"
)
DEBUG = re.compile(
    r"""(?:\.debug|config\[["']DEBUG["']\])\s*=\s*True\b|\b(?:FastAPI|Starlette|Litestar)\([^)\n]*debug=True"""
)
SERVER_NAME = re.compile(r"""\bSERVER_NAME["']?\]?\s*[=:]\s*["']([^"']+)["']""")
TRUSTED_HOSTS = re.compile(r"""\b(?:allowed_hosts|TRUSTED_HOSTS)["']?\]?\s*=\s*\[([^\]{(]*)\]""")
# Without one of these, a line is not looked at: there may be many.
SIGNS = re.compile(
    r"localhost|127\.0\.0\.1|debug|server_name|allowed_hosts|trusted_hosts|sqlite|filehandler|open\(|mkdir|makedirs|upload",
    re.I,
)
# What is written to, by a relative path.
WRITTEN = (
    re.compile(r"sqlite(?:\+\w+)?:///(?:\./)?([\w][\w./-]*)"),
    re.compile(r"""\bsqlite3?\.connect\(\s*["']([\w][\w./-]*)["']"""),
    re.compile(r"""\bFileHandler\(\s*["']([\w][\w./-]*)["']"""),
    re.compile(r"""\bopen\(\s*["']([\w][\w./-]*)["']\s*,\s*["'][wax]"""),
    re.compile(r"""\b(?:os\.)?(?:makedirs|mkdir)\(\s*["']([\w][\w./-]*)["']"""),
    re.compile(r"""\bUPLOAD\w*["']?\]?\s*=\s*(?:[\w.]+\(.*?)?["']([\w][\w./-]*)["']\)*\s*$"""),
)


@dataclass(frozen=True)
class CodeLine:
    path: str
    number: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"

    @property
    def variable(self) -> str:
        """A variable of the environment that the line reads, and which may give another value."""
        found = VARIABLE.search(self.text)
        return (found[1] or found[2] or "") if found else ""


def on_localhost(app: App, reading: Reading, instance: bool = False) -> list[Finding]:
    """instance: relative SQLite URLs are below the instance directory, as with Flask-SQLAlchemy."""
    return [
        finding
        for path in reading.code
        if not NOT_LIVE.search(path)
        for finding in of_file(app, path, reading.text(path), instance)
    ]


def of_file(app: App, path: str, text: str, instance: bool) -> Iterator[Finding]:
    main = quoted = False
    for number, line in enumerate(text.splitlines() if SIGNS.search(text) else (), 1):
        main = main or line.startswith("if __name__")
        was_quoted, quoted = quoted, quoted ^ bool((line.count('"""') + line.count("'''")) % 2)
        if not (main or was_quoted or quoted) and SIGNS.search(line):
            yield from of_line(app, CodeLine(path, number, re.sub(r"(^|\s)#.*", "", line)), instance)


def of_line(app: App, line: CodeLine, instance: bool) -> Iterator[Finding]:
    if found := LOCAL_SERVER.search(line.text):
        yield from local_server(app, line, found[1])
    if DEBUG.search(line.text):
        what = "debugging is on, which shows visitors the code of a page that fails"
        yield Finding("warning", what, "set it from a variable of the environment", line.where)
    if (
        (found := SERVER_NAME.search(line.text))
        and not line.variable
        and re.match(r"localhost|127\.|[\w.-]+:\d", found[1])
    ):
        what = f"SERVER_NAME is {found[1]}: Flask answers 404 for every other host"
        yield Finding("error", what, "remove it, or read it from the variable DOMAIN", line.where)
    if (found := TRUSTED_HOSTS.search(line.text)) and not line.variable:
        hosts = re.findall(r"""["']([^"']+)["']""", found[1])
        if hosts and all(re.match(r"localhost|127\.|\[::1\]|testserver", host) for host in hosts):
            what = f"only {', '.join(hosts)} may be asked for: every other host is refused"
            yield Finding("error", what, 'add your domain, or os.environ["DOMAIN"]', line.where)
    for pattern in WRITTEN:
        found = pattern.search(line.text)
        if found and not (instance and line.text[found.start() :].startswith("sqlite:")) and not is_data(app, found[1]):
            yield writes(app, found[1], line.where)
            break


def local_server(app: App, line: CodeLine, kind: str) -> Iterator[Finding]:
    variable = line.variable
    if variable in dict(app.env):
        return
    what = f"the app connects to {kind} on localhost, which is the server itself there"
    if variable:
        yield Finding("warning", f"{what}, unless {variable} is set", f"fab env.set {variable}", line.where)
    else:
        yield Finding("warning", what, "read the URL from a variable of the environment, as DATABASE_URL", line.where)


def is_data(app: App, path: str) -> bool:
    path = path.removeprefix("./").rstrip("/")
    return any(path == top or path.startswith(f"{top}/") for top in app.writable)


def writes(app: App, path: str, where: str) -> Finding:
    """A path in the source that the app writes to."""
    path = path.removeprefix("./").rstrip("/")
    top = path.rpartition("/")[0] or path
    listed = ", ".join(f'"{each}"' for each in (*app.writable, top))
    what = f"the app writes to {path}, and its source is read-only on a server"
    return Finding("warning", what, f"writable = [{listed}]", where)
