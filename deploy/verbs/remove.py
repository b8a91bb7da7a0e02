"""`fab remove`: remove the app from its servers. It asks first, and keeps the app's data unless `--purge`."""

from collections.abc import Callable

from ..agent import layout
from ..agent.questions.remains import remains
from ..ci import keys
from ..config.reader import App
from ..connection.host_keys import ASKING
from ..errors import NOTHING, ConfigError
from ..plan.places import require_unneeded
from ..plan.remove import removing
from ..screen.columns import size
from ..session.execute import Count, carry_out
from ..session.operation import Operation, change_each, nothing
from ..session.session import Call, agent_of

Ask = Callable[[str], str]
GOES = "its site, releases, certificate, units, logs, CI keys and settings"


def remove(call: Call, purge: bool, ask: Ask | None, yes: bool) -> None:
    """ask: puts a question to the operator; None where nobody is there to answer. yes: it was answered beforehand."""
    if not call.options.check and not yes:
        confirm(call, purge, ask)
    change_each(call, "remove", lambda change, _: remove_from(change, purge), nothing, served=False)


def confirm(call: Call, purge: bool, ask: Ask | None) -> None:
    app, flags = call.app.name, " --purge" if purge else ""
    where = f"fab remove{flags}"
    if ask is None:
        hint = f"fab remove{flags} --yes; `fab remove{flags} --check` shows what would be removed"
        raise ConfigError("remove asks before it removes anything, and there is no terminal", where, NOTHING, hint)
    hosts = ", ".join(f"{host.made.user}@{host.made.host}" for host in call.hosts)
    word = app if purge else "yes"
    with ASKING:  # a host's key may be asked about at the same time
        typed = ask(f"{warning(app, hosts, purge)}Type {word} to go on: ")
    if typed != word:
        raise ConfigError("not confirmed", where, NOTHING, f"type {word} to remove it; --check shows what would go")


def warning(app: str, hosts: str, purge: bool) -> str:
    data = layout.data(app)
    stays = f"Its data in {data} {'is deleted, too: there is no way back.' if purge else 'stays.'}"
    return f"This removes the app {app} from {hosts}: {GOES}.\n{stays} Other apps are not changed.\n"


def remove_from(change: Operation, purge: bool) -> None:
    app, host = change.app, change.host
    facts, _ = change.survey(activates=False, prepared=False)
    require_unneeded(app, facts)
    mounted = facts.place.domain if facts.place and facts.place.path else ""
    plan = removing(app, keys.closed(app.name), purge, change.options.force, mounted)
    run = {"app": app.name, "note": "with its data" if purge else "its data stays"}
    count = Count()
    carry_out(plan, host, change.screen, change.options, "removed", run, count)
    change.rollout.leave(host, "removed")
    if not change.options.check:
        tell(change, app, nothing_was=not count.changed)


def tell(change: Operation, app: App, nothing_was: bool) -> None:
    """What is left on the server."""
    left = agent_of(change.host).ask(remains, app=app.name, data=layout.data(app.name))
    lines = [f"{app.name} is not on this server"] if nothing_was else []
    if left["bytes"] is not None:
        kept = f"{layout.data(app.name)} ({size(left['bytes'])}) and its owner, the user {app.name}"
        lines.append(f"left: {kept}; `fab remove --purge` deletes them, a new `fab provision deploy` uses them again")
    if left["history"]:
        lines.append("left: its history (`fab history`), and what apps share: packages, the proxy, uv, the firewall")
    others = ", ".join(left["apps"])
    lines.append(f"other apps on this server: {others}" if others else EMPTY)
    for line in lines:
        change.screen.say(line, host=change.host.name)


EMPTY = "no app is left on this server: it answers nobody, and SSH by key and the firewall stay as they are"
