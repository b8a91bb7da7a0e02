"""The interface of a proxy."""

from abc import ABC, abstractmethod

from ...agent.resources.config_files import ConfigFiles
from ...agent.resources.files import File
from ...agent.resources.serving.front import Front
from ...agent.resources.serving.services import Service
from ...agent.wire import Resource
from ...config.reader import App
from ...config.site import Site


class Proxy(ABC):
    """The program that accepts visitors' connections, and passes their requests to the current release.

    name: of its package and its option of `fab logs`. front: its values for steps. user: of its workers.
    access_line: a regular expression for a line of its access log, see `traffic.Log`. log_files: in the directory of an
    app. paths: directories in which a deploy changes its files.
    """

    name: str
    front: Front
    user: str
    access_line: str
    log_files: tuple[str, ...] = ("access.log", "error.log")
    site_template: str
    paths: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.front.title

    def logs(self, app: str) -> str:
        """The directory of its log files for an app: access.log and error.log."""
        return f"/var/log/{self.name}/{app}"

    # Steps of `fab provision` for all apps, in this order.

    @abstractmethod
    def free(self) -> tuple[Resource, ...]:
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
    def serving(self, force: bool) -> tuple[Resource, ...]:
        """It runs, and does not answer requests for unknown hosts."""

    @abstractmethod
    def since_http3(self, step: File) -> Resource:
        """The step, if the server's version supports HTTP/3."""

    # Steps for one app, in a change of the release.

    @abstractmethod
    def names(self, app: App, site: Site) -> tuple[Resource, ...]:
        """The site's names and port are not used by another site or program; or there is a site that it is part of."""

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
        """mounted: the domain of which the app is below a path, or "".

        The app's site is removed: its names are unknown from then on. Nothing happens where there is no proxy."""

    @abstractmethod
    def service(self, enabled: bool | None = None) -> Service:
        """It runs with the current config. enabled: start it at boot; None: leave that unchanged."""

    @abstractmethod
    def described(self, site: Site, version: str) -> str:
        """How visitors reach it: its title and port, "…, port 443 (HTTP/2)"."""
