"""The end of a change, for people: its result, what visitors noticed, the three answers, warnings. Pure.

The three answers: where is it running, what is running it, how do users reach it?
"""

from collections.abc import Sequence
from datetime import datetime, timezone

from ..agent import layout
from ..agent.dataclass import dataclass
from ..agent.events import ProbeResult, ServerSeen, Step
from ..config.reader import App
from ..config.site import Site
from ..plan.facts import Facts, Release
from ..stack.proxies import proxy_of
from ..stack.runners import runner_of
from . import noticed
from .columns import labelled
from .events import Answers
from .lines import Styled

QUESTIONS = {"where": "where is it running?", "what": "what is running it?", "how": "how do users reach it?"}


def counted(done: str, changed: int, ok: int, seconds: float, *, check: bool) -> str:
    """done: the text for success."""
    return f"{done}: {changed} {'would change' if check else 'changed'}, {ok} ok, in {seconds:.1f} s"


def of_probe(probe: ProbeResult) -> Styled:
    """The result of the probe, from before the switch until the old release has stopped."""
    first = f" (the first: {probe['first_failure']})" if probe["failed"] else ""
    text = f"{probe['failed']} of {probe['requests']} requests failed{first}, slowest {probe['slowest_ms']} ms"
    return text, "bold red" if probe["failed"] else "bold green"


def answers(name: str, address: str, facts: Facts, release: Release, app: App) -> Answers:
    """name, address: of the host, in the inventory and on the network."""
    python = ".".join(release.record.get("python", facts.python).split(".")[:2])
    commit = release.record.get("commit", "")
    runs = runner_of(app)
    how = f"{release.site.url} → {proxy_of(app).described(release.site, facts.proxy)} → unix socket → {runs.title}"
    if facts.maintenance:
        how += " (maintenance is on: visitors get a 503 until `fab maintenance off`)"
    return {
        "event": "answers",
        "host": name,
        "url": release.site.url,
        "release": release.id,
        "where": f"{facts.hostname} ({address}), {facts.system}, in {layout.current(app.name)}",
        "what": f"{layout.unit(app.name, release.id)}: {runs.title}, {runs.processes(app, facts.cpus)},"
        f" Python {python}" + (f", commit {commit}" if commit else "") + beside(app, facts.scale),
        "how": how,
    }


def beside(app: App, scale: dict[str, int]) -> str:
    """What runs besides the web server, as the end of a sentence."""
    counts = [(each.name, scale.get(each.name, each.count)) for each in app.processes]
    told = [name if count == 1 else f"{name} × {count}" for name, count in counts]
    told += [f"{each.name} at {each.schedule}" for each in app.timers]
    return f"; and {', '.join(told)}" if told else ""


def answers_text(found: Answers, authority: str, width: int) -> str:
    """authority: the file of this machine's CA, if it issued the certificate; "" if browsers trust it."""
    given = {"where": found["where"], "what": found["what"], "how": found["how"]}
    lines = [labelled(f"{question:<24}", given[key], width) for key, question in QUESTIONS.items()]
    if authority:
        lines += ["the certificate is from this machine's own CA; to avoid the warning:"]
        lines += [f"curl --cacert {authority} {found['url']}"]
        lines += ["or import that file into your browser (Settings → Certificates → Import)"]
    return "\n" + "\n".join(lines)


@dataclass(frozen=True)
class Visit:
    """The response of the front page to this machine. answer: an HTTP status, or why there is none.

    by_address: DNS does not point there. issuer, until: of the certificate; distrust: why browsers warn.
    """

    site: Site
    address: str
    answer: str
    seconds: float
    by_address: bool = False
    issuer: str = ""
    until: str = ""
    distrust: str = ""

    @property
    def answered(self) -> bool:
        return self.answer.isdigit()


def as_step(look: Visit) -> Step:
    good = f"; certificate from {look.issuer}, valid until {look.until}" if look.issuer else ""
    asked = f"at its address {look.address}" if look.by_address else "from here"
    line = f"{asked}, {look.site.url} answers {look.answer} in {1000 * look.seconds:.0f} ms{good}"
    failed = look.answer.startswith("5")
    return {"event": "step", "step": line, "state": "failed" if failed else "ok", "seconds": 0.0, "drift": []}


def doubts(look: Visit, certificate_told: bool) -> list[str]:
    """Problems for visitors. certificate_told: problems of the certificate are already reported."""
    if not look.answered:
        where = f"{look.address} does not answer on port {look.site.port} from here ({look.answer})"
        return [f"note: {where}: is the port open in the provider's firewall?"]
    if look.distrust and not certificate_told:
        return [f"note: browsers do not trust the certificate: {look.distrust}"]
    return []


def certificate_warnings(seen: ServerSeen, site: Site) -> list[str]:
    return noticed.certificate_doubts(seen, site, datetime.now(timezone.utc))


def warnings(seen: ServerSeen, certificate: Sequence[str]) -> list[str]:
    """certificate: what `certificate_warnings` says."""
    notes = [f"note: {line}" for line in noticed.of_releases(seen)]
    return [*notes, *(f"warning: {line}" for line in (*noticed.of_server(seen), *certificate))]
