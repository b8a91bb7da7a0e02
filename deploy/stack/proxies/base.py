"""What a proxy is to the kit."""

from abc import ABC, abstractmethod

from ...agent.resources.config_files import ConfigFiles
from ...agent.resources.files import File
from ...agent.resources.serving.front import Front
from ...agent.resources.serving.services import Service
from ...agent.wire import Resource
from ...config.reader import App
from ...config.site import Site


class Proxy(ABC):
    """The program that visitors reach: it holds their connections, and passes them on to the release that is current.

    name: of its package and its option of `fab logs`. front: what steps must know of it. user: who its workers are.
    access_line: a regular expression for a line of its access log, see `traffic.Log`.
    """

    name: str
    front: Front
    user: str
    access_line: str
    site_template: str

    @property
    def title(self) -> str:
        return self.front.title

    def logs(self, app: str) -> str:
        """The directory of its log files for an app: access.log and error.log."""
        return f"/var/log/{self.name}/{app}"

    # What it is for all apps, as steps of `fab provision`, in this order.

    @abstractmethod
    def free(self) -> tuple[Resource, ...]:
        """Its ports are free for it, and nobody else's server answers for all names."""

    @abstractmethod
    def confined(self, force: bool) -> tuple[Resource, ...]:
        """What is there before its package, which starts it: it runs in its box from the first."""

    @abstractmethod
    def scripts(self, force: bool) -> tuple[Resource, ...]:
        """Programs of the kit that its unit starts."""

    @abstractmethod
    def rotated(self, force: bool) -> tuple[Resource, ...]:
        """Its log files have an end."""

    @abstractmethod
    def serving(self, force: bool) -> tuple[Resource, ...]:
        """It runs, and gives nothing to those who ask for a site that nobody has."""

    @abstractmethod
    def since_http3(self, step: File) -> Resource:
        """The step, where the server's version has HTTP/3."""

    # What it is for one app, as steps of a change of the release.

    @abstractmethod
    def names(self, app: App, site: Site) -> Resource:
        """The site's names are no other site's."""

    @abstractmethod
    def site(self, app: App, site: Site, static_before: dict[str, str], version: str, force: bool) -> ConfigFiles:
        """The app's site. static_before: `app.static` of the release before, whose files stay within reach.

        version: the server's, as its package has it, "1.22.1-9+deb12u3".
        """

    @abstractmethod
    def service(self, enabled: bool | None = None) -> Service:
        """It runs with its configuration as it is. enabled: at boot, too; None leaves that."""

    @abstractmethod
    def described(self, site: Site, version: str) -> str:
        """How visitors reach it: its title and port, "…, port 443 (HTTP/2)"."""
