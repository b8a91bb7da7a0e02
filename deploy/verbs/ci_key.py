"""`fab ci.key`: the keys of one app on each host of a stage, and what to put into CI."""

from contextlib import suppress
from pathlib import Path

from ..agent import layout
from ..agent.resources.access.keys import keys_in
from ..ci import keys
from ..config.paths import expanded
from ..config.reader import App
from ..connection.host_keys import as_written, entry_name, fingerprint
from ..connection.ssh import address
from ..errors import ConfigError
from ..screen.events import CiKey
from ..screen.screen import Screen
from ..session.execute import Count, carry_out, title
from ..session.operation import Operation, change_each, nothing
from ..session.session import Call, Host, agent_of


def add_keys(call: Call, public: str) -> None:
    """public: a file, "-" for standard input; "" for a pair that is made once."""
    key = keys.given(public) if public else None
    change_each(call, "ci.key", lambda change, _: add_key(change, key), nothing)


def revoke_keys(call: Call, revoke: str) -> None:
    """On all hosts at once: a host that cannot be reached does not keep the key valid on the others.

    revoke: see `keys.without`.
    """
    app, screen, options = call.app, call.screen, call.options
    missed: list[keys.NoSuchKey] = []

    def revoke_on(host: Host) -> None:
        title(screen, "ci.key", host, options)
        before = known(host, app)
        try:
            left = keys.without(before, revoke, agent_of(host).where)
        except keys.NoSuchKey as error:  # it may have been on another host of the stage only
            missed.append(error)
            return
        gone = tuple(key for key in before if key not in left)
        run = {"app": app.name, "note": ", ".join(f"revoked {key.id[:8]} {key.name}" for key in gone)}
        done = f"{count(left)}; {len(gone)} revoked"
        carry_out(keys.revoking(app, gone, left), host, screen, options, done, run, Count())
        if not options.check:
            put_aside(private_file(app, host.stage.name), gone)
            tell(screen, host, app, left, None)

    call.run(revoke_on)
    if missed and len(missed) == len(call.hosts):
        raise missed[0]


def known(host: Host, app: App) -> tuple[keys.Key, ...]:
    return keys.found(agent_of(host).ask(keys_in, path=layout.ci_keys(app.name)))


def count(wanted: tuple[keys.Key, ...]) -> str:
    return "no CI keys" if not wanted else f"{len(wanted)} CI key{'s' if len(wanted) > 1 else ''}"


def private_file(app: App, stage: str) -> Path:
    return expanded(f"~/.ssh/ashore-ci-{app.name}-{stage}", "fab ci.key")


def add_key(change: Operation, key: keys.Key | None) -> None:
    """key: the key to add; None: create one, unless there is one already."""
    app, host = change.app, change.host
    change.survey(activates=False)
    before = known(host, app)
    private = None
    if key is None and not before:
        private = private_file(app, host.stage.name)
        key = keys.made(private, private.name, keep=not change.options.check)
    new = (key,) if key and key.base64 not in {other.base64 for other in before} else ()
    plan = keys.plan(app, change.site, new, change.options.force)
    run = {"app": app.name, "note": ", ".join(f"added {key.id[:8]} {key.name}" for key in new)}
    wanted = (*before, *new)
    carry_out(plan, host, change.screen, change.options, count(wanted), run, Count())
    if not change.options.check:
        tell(change.screen, host, app, wanted, private)


def put_aside(private: Path, revoked: tuple[keys.Key, ...]) -> None:
    """Rename the file of a revoked key, so that it is not used again."""
    if not revoked or not private.exists():
        return
    with suppress(ConfigError):  # not a readable key: `keys.made` refuses it the next time
        if keys.made(private, "", keep=False).base64 in {key.base64 for key in revoked}:
            private.replace(private.with_name(f"{private.name}.revoked"))


def tell(screen: Screen, host: Host, app: App, wanted: tuple[keys.Key, ...], private: Path | None) -> None:
    known_by = agent_of(host).link.host_key
    host_key = fingerprint(known_by) if known_by else ""
    named = as_written(host.stage, entry_name(host.stage, host.made), host_key)
    login = address(host.made, layout.ci_user(app.name))
    event: CiKey = {
        "event": "ci_key",
        "host": host.name,
        "login": login,
        "host_key": host_key,
        "keys": [{"fingerprint": key.fingerprint, "name": key.name} for key in wanted],
        "private": str(private or ""),
    }
    rows = "\n".join(f"  {key.fingerprint}  {key.name}" for key in wanted)
    stage = "" if host.stage.name == "production" else f" {host.stage.name}"
    how = HOW.format(private=private or "the private key", login=login, host_key=named, stage=stage)
    if wanted or screen.as_json:
        screen.result(event, f"\nkeys that may deploy {app.name} here, as {login}:\n{rows}\n{how}")


HOW = """
in CI, as a secret ASHORE_KEY:   {private}
in deploy.toml, at the stage:    host_keys = ["{host_key}"]
as a step of a workflow:

    - env:
        ASHORE_KEY: ${{{{ secrets.ASHORE_KEY }}}}
      run: |
        install -m 600 /dev/null "$RUNNER_TEMP/key"
        printf '%s\\n' "$ASHORE_KEY" > "$RUNNER_TEMP/key"
        fab -i "$RUNNER_TEMP/key" -H {login}{stage} deploy --wait
"""
