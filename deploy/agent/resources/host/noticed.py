"""Problems on the server outside of the plan, as far as they are cheap to detect."""

import json
import os
import subprocess
from typing import TYPE_CHECKING

from ...constants import PROXIES
from ...dataclass import dataclass
from ...system import ENVIRONMENT, System
from ...wire import Drift, Resource
from ..files import text_of
from ..serving.background import retiring_releases

if TYPE_CHECKING:
    from ...events import DiskSeen
    from ...events import ServerSeen as Event

PLACES = ("/", "/srv", "/var", "/var/log", "/var/lib")
LEAST_BYTES, LEAST_FILES = 2 << 30, 20_000
FIREWALL = "/etc/ashore/firewall.nft"
NFT_SECONDS = 2
PEM_END = "-----END CERTIFICATE-----\n"
UNITS = (
    *(f"{proxy}.service" for proxy in PROXIES),
    *("ashore-firewall.service", "ashore-undo.service", "certbot.service", "logrotate.service"),
)


@dataclass(frozen=True)
class Noticed(Resource):
    """A look at disks, firewall, certificate and units, whose result is an event for the operator; it never drifts.

    certificates: the app's directory of certificates; "" where the site has none. The last look of a run counts.
    """

    app: str
    certificates: str = ""

    @property
    def title(self) -> str:
        return "disks, firewall, certificate and units of the server: checked"

    @property
    def units(self) -> tuple[str, ...]:
        return (*UNITS, f"ashore-data-{self.app}.service")

    def check(self, system: System) -> list[Drift]:
        asking = None
        if os.path.exists(FIREWALL):
            try:
                asking = subprocess.Popen(
                    ["nft", "-j", "-t", "list", "ruleset"],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    stdin=subprocess.DEVNULL,
                    env=ENVIRONMENT,
                )
            except OSError:
                asking = None
        live = f"{self.certificates}/live"
        pem = (text_of(f"{live}/fullchain.pem") or "") if self.certificates else ""
        seen: Event = {
            "event": "noticed",
            "disks": disks(PLACES),
            "failed": [unit for unit in self.units if system.unit(unit).get("ActiveState") == "failed"],
            "certificate": pem.partition(PEM_END)[0] + PEM_END if PEM_END in pem else "",
            "trusted": os.path.exists(f"{live}/trusted"),
            "retiring": retiring_releases(self.app),
            "firewall_gone": asking is not None and is_gone(asking),
        }
        system.operator.emit(seen)
        return []


def is_gone(asking: "subprocess.Popen[bytes]") -> bool:
    """Whether the kernel has no rules of ours. Where nft cannot tell, as without rights, it is taken to have them."""
    try:
        listed, _ = asking.communicate(timeout=NFT_SECONDS)
    except (subprocess.TimeoutExpired, OSError):  # a look that fails must not fail what it is for
        asking.kill()
        asking.wait()
        return False
    return asking.returncode == 0 and not has_rules(listed.decode(errors="replace"))


def has_rules(listed: str) -> bool:
    """From `nft -j list ruleset`: whether the kit's table has any."""
    try:
        items = json.loads(listed)["nftables"]
    except (ValueError, KeyError, TypeError):
        return True
    rules = [item["rule"] for item in items if "rule" in item]
    return any((rule.get("family"), rule.get("table")) == ("inet", "ashore") for rule in rules)


def disks(places: tuple[str, ...]) -> "list[DiskSeen]":
    """The file systems that are nearly full: {"path", "bytes", "files"}, where bytes and files are what may still come.

    Only that which is scarce is named; the other one is None.
    """
    found: list[DiskSeen] = []
    known = set()
    for path in places:
        try:
            device, space = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue
        if device in known:
            continue
        known.add(device)
        free = space.f_bavail * space.f_frsize
        few_bytes = scarce(free, space.f_blocks * space.f_frsize, LEAST_BYTES)
        few_files = bool(space.f_files) and scarce(space.f_favail, space.f_files, LEAST_FILES)
        if few_bytes or few_files:
            found.append(
                {"path": path, "bytes": free if few_bytes else None, "files": space.f_favail if few_files else None}
            )
    return found


def scarce(free: int, total: int, least: int) -> bool:
    """Under 5 %, and not because 5 % of a large disk are much; or so little that any disk is full soon."""
    return free < least // 20 or (free < total // 20 and free < least)
