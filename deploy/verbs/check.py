"""`fab check`: what will not work on a server, and which line fixes it. Asks no server."""

from pathlib import Path

from ..config.reader import App, Config, load, usual_host
from ..errors import NOTHING, DeployError, SourceError
from ..screen.events import FindingShown
from ..screen.screen import Screen
from ..source import pins
from ..source.checks import imported
from ..source.upload import Local, gather
from ..stack.finding import Finding
from ..stack.runners import runner_of

STYLES = {"ok": "green", "note": "", "warning": "yellow", "error": "red"}


def check_project(screen: Screen, directory: Path) -> None:
    """Ends with an error if there is one among the findings."""
    config = load(directory)
    found = list(looked_at(config))
    for finding in found:
        show(screen, finding)
    errors, warnings = (sum(finding.level == level for finding in found) for level in ("error", "warning"))
    counted = ", ".join(text for text in (counted_as(errors, "error"), counted_as(warnings, "warning")) if text)
    if errors:
        what = f"the app will not work on a server as it is: {counted}"
        raise SourceError(what, str(directory), NOTHING, "fix what is listed above; each line says how")
    screen.say(f"checked: {counted or 'nothing to fix'}")


def looked_at(config: Config) -> list[Finding]:
    """What reading the source tells, and then what the app itself does, in a process of its own Python."""
    looking = None
    try:
        local = gather(config, config.app)
    except DeployError as error:
        return [Finding("error", error.what, error.hint, error.where)]
    app, directory = local.app, config.directory
    if app.served and imported.python_of(directory):
        looking = imported.Looking(app, directory, usual_host(config), local.roots)
    found = [of_served(local), *of_others(app), Finding("ok", local.found.title), *local.findings]
    found += [Finding("note", note) for note in config.notes]
    if note := pins.note(local.found.texts):
        found.append(Finding("note", note))
    if looking:
        return found + looking.findings()
    if not app.served:
        return found
    what = "the app is not imported: no virtualenv of it was found here"
    return [*found, Finding("note", what, "python -m venv .venv, and install its packages")]


def of_served(local: Local) -> Finding:
    app, runner = local.app, runner_of(local.app)
    if not app.served:
        return Finding("ok", f"served: `{app.web}`, a server of its own, on $PORT")
    with_framework = f" ({local.framework.title})" if local.framework.title else ""
    speaks = "ASGI" if app.is_asgi else "WSGI"
    return Finding("ok", f"served: {app.served}{with_framework}, {speaks}, by {runner.title}")


def of_others(app: App) -> list[Finding]:
    """What runs beside the web server."""
    processes = [f"{each.name} × {each.count}" if each.count != 1 else each.name for each in app.processes]
    timers = [f"{each.name} ({each.schedule})" for each in app.timers]
    told = ", ".join(filter(None, (*processes, *timers)))
    return [Finding("ok", f"besides: {told}")] if told else []


def show(screen: Screen, finding: Finding) -> None:
    event: FindingShown = {
        "event": "finding",
        "host": "",
        "level": finding.level,
        "what": finding.what,
        "fix": finding.fix,
        "where": finding.where,
    }
    where = f" ({finding.where})" if finding.where else ""
    text = f"{finding.level:>8}  {finding.what}{where}"
    screen.result(event, text + (f"\n          fix: {finding.fix}" if finding.fix else ""))


def counted_as(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" if number else ""
