"""One change of the serving release on one host: what deploy, rollback, restart and the others share."""

from collections.abc import Callable
from typing import Any, TypeVar

from ..agent import layout
from ..agent.dataclass import dataclass, field
from ..agent.events import Event, LastRun, Reply
from ..agent.wire import Plan, Secret
from ..config.reader import App, Config
from ..config.site import Site, site_of
from ..connection.payload import expected
from ..errors import DeployError, HostError, Interrupted, StepFailed
from ..plan.activate import activate
from ..plan.build import copy
from ..plan.decide import By, run_of
from ..plan.facts import Facts, Release
from ..plan.record import as_recorded
from ..screen.screen import Screen
from .dns import NameLookup
from .execute import Count, carry_out, how_left, left_as, title
from .planner import planner_of
from .rollout import Rollout
from .session import Call, Host, Options, agent_of, operator
from .summary import conclude, doubts_of_certificate, require_well, warn

Gathered = TypeVar("Gathered")


@dataclass
class Operation:
    """What these verbs share. Facts are known after `survey`."""

    verb: str
    host: Host
    app: App
    site: Site
    screen: Screen
    options: Options
    rollout: Rollout
    lookup: NameLookup  # runs in the background until it is needed
    who: str = field(default_factory=operator)
    last: LastRun = field(default_factory=LastRun)  # the run before this one, if nobody heard how it ended
    switched: bool = False  # the failed run had already switched: the new release serves
    count: Count = field(default_factory=Count)  # of the last plan

    @property
    def by(self) -> By:
        now, elsewhere = self.rollout.now, self.rollout.elsewhere(self.host)
        return By(self.who, now, self.site, self.host.reached_at, self.options.force, elsewhere=elsewhere)

    def survey(
        self,
        manifest: list[Any] | None = None,
        *,
        activates: bool = True,
        compare: bool = False,
        prepared: bool = True,
    ) -> tuple[Facts, Reply]:
        """Ask what is on the server, and wait for this host's turn to be changed.

        prepared: only on a server that is ready for the app.

        activates: a plan of `plan.activate` is likely to follow, so what it needs is sent along. compare: also ask how
        the manifest differs from the current release's, which a dry run always does.
        """
        title(self.screen, self.verb, self.host, self.options)
        lock = {"verb": self.verb, "who": self.who, "break_lock": self.options.break_lock}
        reply: Any = agent_of(self.host).request(
            {
                "request": "survey",
                "app": self.app.name,
                "app_directory": layout.home(self.app.name),
                "lock": None if self.options.check or self.verb == "ci.key" else lock,
                "wait": self.options.wait,
                "manifest": manifest,
                "compare": compare or self.options.check,
            },
            self.show,
            soon=expected("plan.activate", self.app.proxy) if activates else frozenset(),
        )
        facts = Facts.of(reply, self.app.proxy)
        if prepared:
            planner_of(self).require(facts)
        self.rollout.looked(self.host, facts, self.last)
        return facts, reply

    def show(self, event: Event) -> None:
        if event["event"] == "last":
            self.last = event["run"]
        self.screen.event(self.host.name, event)

    def existing(self, facts: Facts, release_id: str) -> Release:
        return self.by.existing(facts, release_id)

    def copied(self, facts: Facts) -> Release:
        """A new release with the code of the current one."""
        record = {key: value for key, value in facts.record.items() if key not in ("state", "note")}
        return self.by.release(self.verb, facts, record)

    def require_release(self, facts: Facts) -> None:
        if facts.current:
            return
        where = agent_of(self.host).where
        if not facts.good:
            raise HostError(f"{self.app.name} has no release yet", where, "nothing was changed", "fab deploy")
        what = f"no release of {self.app.name} gets traffic: {layout.current(self.app.name)} does not exist"
        hint = "fab rollback switches to the newest good release, fab deploy to a new one; then run this again"
        raise HostError(what, where, "nothing was changed", hint)

    def carry_out(self, plan: Plan, facts: Facts, release: Release, done: str, **upload: Any) -> None:
        run = run_of(self.app, release, facts)
        count = self.count = Count()
        try:
            carry_out(plan, self.host, self.screen, self.options, done, run, count, **upload)
        except (StepFailed, Interrupted) as error:
            self.switched = bool(count.end.get("switched"))
            error.state = error.state or left_as(count, release.id, facts.current, release.id not in facts.records)
            self.rollout.leave(self.host, how_left(count.end, release.id, facts.current))
            raise
        self.rollout.leave(self.host, f"on {release.id}")

    def serve(self, plan: Plan, facts: Facts, release: Release, app: App | None, done: str, **upload: Any) -> None:
        """Run the plan, then show what serves, also if only a step after the switch failed.

        app: None if the three answers are not wanted.
        """
        try:
            self.carry_out(plan, facts, release, done, **upload)
        except StepFailed:
            if self.switched:
                self.conclude(facts, release, app)
            raise
        self.finish(facts, release, app)

    def finish(self, facts: Facts, release: Release, app: App | None) -> None:
        """Tell what serves after a change that went well; VisitorsFail if visitors get errors."""
        answer = self.conclude(facts, release, app)
        if not self.options.check:
            require_well(self.host, facts, release, self.count, answer, self.app.proxy)

    def serve_copy(
        self,
        facts: Facts,
        release: Release,
        environment: Secret,
        done: str,
        leave: dict[str, str] | None = None,
    ) -> None:
        """Create a release with the current code and a changed environment, and switch to it.

        environment: see `plan.build.copy`. leave: release ID → the state to record after success.
        """
        app = as_recorded(self.app, facts.record)
        built = copy(app, release, facts.current, environment, facts.cpus)
        plan = activate(self.verb, app, release, facts, built, leave, self.options.force)
        self.serve(plan, facts, release, None, done)

    def conclude(self, facts: Facts, release: Release, app: App | None) -> str:
        if self.options.check:
            warn(self.screen, self.host, self.count, doubts_of_certificate(release.site, self.count))
            return ""
        return conclude(self.screen, self.host, facts, release, self.count, self.lookup, app)


def change_each(
    call: Call,
    verb: str,
    job: Callable[[Operation, Gathered], None],
    gather: Callable[[Config, App], Gathered],
    served: bool = True,
) -> None:
    """Change the hosts one after the other, see `rollout`. `gather` runs while they connect.

    served: False for a change that leaves no site, so its names and certificate do not matter.
    """
    app = call.config.app_on(call.hosts[0].stage)  # they are all of one stage
    sites = {
        host.key: site_of(host.stage, host.made.host, host.named, call.config.directory, app.proxy)
        if served
        else Site((host.name,))
        for host in call.hosts
    }
    rollout = Rollout(call.hosts, call.session.now, call.session.interrupted)
    gathered = gather(call.config, app)

    def work(host: Host) -> None:
        site = sites[host.key]
        lookup = NameLookup.of((*site.names, *site.aliases))
        job(Operation(verb, host, app, site, call.screen, call.options, rollout, lookup), gathered)

    try:
        call.run(work)
    except DeployError as error:
        if not call.options.check:
            error.state = rollout.state(error)
        raise


def nothing(config: Config, app: App) -> None:
    """The `gather` of a verb that needs nothing from this machine."""
