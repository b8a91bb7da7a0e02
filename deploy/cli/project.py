"""The commands for the project itself, as typed: `fab init`, `fab check` and `fab eject`. They ask no server."""

import sys
from pathlib import Path
from typing import Any

from ..agent.constants import PROXY
from ..session.session import Session
from .options import READING, Typed, command, left_out, question


def project_tasks(session: Session) -> list[Any]:
    @command(
        session,
        {"check": "show the file, and write nothing; exit status 2"},
        auto_shortflags=False,
        help={
            "name": "the app's name; by default the project's",
            "wsgi": 'what is served: "module:callable", or "module:factory()"',
            "asgi": "the same, of an app that speaks ASGI",
            "requirements": "the file with the packages that the app needs",
            "health_path": "a path that answers GET with 200",
            "host": "the server, as for ssh: root@203.0.113.10",
            "domain": "the domain that visitors type",
        },
    )
    def init(
        typed: Typed,
        name: str = "",
        wsgi: str = "",
        asgi: str = "",
        requirements: str = "",
        health_path: str = "",
        host: str = "",
        domain: str = "",
    ) -> None:
        """Write deploy.toml for the app in this directory. Asks for what it cannot find out; replaces no file."""
        from ..verbs import init as verb

        given = verb.Given(name, wsgi, asgi, requirements, health_path, host, domain)
        verb.init(typed.screen, Path.cwd(), given, question("fab init"), typed.options.check)

    @command(session, READING, reading=True)
    def check(typed: Typed) -> None:
        """Look at the app without a server: what will not work there, and which line fixes it."""
        from ..verbs import check as verb

        verb.check_project(typed.screen, Path.cwd())

    @command(
        session,
        {},
        positional=[] if left_out("eject", r"(?!-).*", sys.argv) else ["template"],
        help={
            "template": f"a template, such as {PROXY}/site.conf; without one, all are listed",
            "accept": "the changes of Ashore's template are in the copy",
        },
    )
    def eject(typed: Typed, template: str | None = None, accept: bool = False) -> None:
        """Copy one of the templates to ashore/ in this directory, to be edited there. Without a name, list them."""
        from ..verbs.texts import eject as verb

        if template:
            verb.eject(typed.screen, template, accept)
        else:
            verb.list_templates(typed.screen)

    return [init, check, eject]
