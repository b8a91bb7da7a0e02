"""The interface of a proxy."""

import posixpath
import re
from abc import ABC, abstractmethod
from importlib import import_module
from urllib.parse import unquote

from ...agent.constants import PROXIES
from ...agent.resources.config_files import ConfigFiles
from ...agent.resources.files import File
from ...agent.resources.serving.front import Front
from ...agent.resources.serving.rivals import Rival
from ...agent.resources.serving.services import Service
from ...agent.wire import Resource
from ...config.reader import App
from ...config.schema import PATH
from ...config.site import Site


class Proxy(ABC):
    """The program that accepts visitors' connections, and passes their requests to the current release.

    name: of its main package, its unit and its option of `fab logs`. rival: as other proxies see it. front: its values
    for steps. user: of its workers. access_line: a regular expression for a line of its access log, see `traffic.Log`.
    log_files: in the directory of an app. paths: directories in which a deploy changes its files. names_placeholder:
    whether a self-signed certificate needs the site's names in it.
    """

    name: str
    rival: Rival
    packages: tuple[str, ...]
    front: Front
    user: str
    access_line: str
    log_files: tuple[str, ...] = ("access.log", "error.log")
    site_template: str
    paths: tuple[str, ...]
    names_placeholder = False

    @property
    def rivals(self) -> tuple[Rival, ...]:
        """The other proxies that may have its ports."""
        others = (import_module(f"{__package__}.{name}").PROXY for name in PROXIES if name != self.name)
        return tuple(other.rival for other in others)

    @property
    def title(self) -> str:
        return self.front.title

    def logs(self, app: str) -> str:
        """The directory of its log files for an app: access.log and error.log."""
        return f"/var/log/{self.name}/{app}"

    def access_log(self, app: str, site: Site) -> str:
        """The file with the requests of the app, and `line_of` finds its lines there."""
        return f"{self.logs(app)}/access.log"

    def line_of(self, site: Site) -> str:
        return self.access_line

    # Steps of `fab provision` for all apps, in this order.

    @abstractmethod
    def free(self, app: App) -> tuple[Resource, ...]:
        """Its ports are available, and no other site is the default server."""

    @abstractmethod
    def confined(self, force: bool) -> tuple[Resource, ...]:
        """Its sandbox, configured before the package is installed, which starts it."""

    @abstractmethod
    def scripts(self, force: bool) -> tuple[Resource, ...]:
        """Programs of the kit that its unit starts."""

    @abstractmethod
    def rotated(self, force: bool) -> tuple[Resource, ...]:
        """Its log files are rotated."""

    @abstractmethod
    def serving(self, app: App, force: bool) -> tuple[Resource, ...]:
        """It runs, may read the app's files, and does not answer requests for unknown hosts.

        Another proxy that serves the app goes on until the next deploy.
        """

    @abstractmethod
    def since_http3(self, step: File) -> Resource:
        """The step, if the server's version supports HTTP/3."""

    # Steps for one app, in a change of the release.

    @abstractmethod
    def names(self, app: App, site: Site) -> tuple[Resource, ...]:
        """The site's names and port are not used by another site or program; or there is a site that it is part of."""

    def data(self, app: App, force: bool) -> tuple[Resource, ...]:
        """What its site needs for the app's data that visitors get."""
        return ()

    @abstractmethod
    def site(
        self,
        app: App,
        site: Site,
        static_before: dict[str, str],
        version: str,
        force: bool = False,
        mounted_before: str = "",
    ) -> ConfigFiles:
        """The app's site. static_before: `app.static` of the previous release, whose files are still served.

        version: of the package on the server, "1.22.1-9+deb12u3". mounted_before: the domain below which it was, or "".
        """

    @abstractmethod
    def not_needed(self, app: str) -> Resource:
        """No other site uses what is the app's: its certificate, its files."""

    @abstractmethod
    def removed(self, app: str, mounted: str, force: bool) -> tuple[Resource, ...]:
        """The app's site is removed: its names are unknown from then on. Nothing happens where there is no proxy.

        mounted: the domain of which the app is below a path, or "".
        """

    @abstractmethod
    def service(self, app: str, enabled: bool | None = None, yields: bool = False) -> Service:
        """It runs with the current config. enabled: start it at boot; None: leave that unchanged.

        yields: another proxy that serves the app goes on.
        """

    @abstractmethod
    def described(self, site: Site, version: str) -> str:
        """How visitors reach it: its title and port, "…, port 443 (HTTP/2)"."""


def open_path(health_path: str) -> str:
    """The path that stays open in maintenance, as a proxy compares it; "" for the front page, which is closed."""
    path = unquote(health_path.partition("?")[0])
    path = posixpath.normpath(re.sub("/+", "/", path)) + ("/" if re.search(r"/\.{0,2}$", path) else "")
    return path if path.strip("/") and re.fullmatch(PATH, path) else ""
