"""pylock.toml (PEP 751): uv installs it as it is; here, what of it comes from the source."""

from .document import refused, table, toml
from .listing import Listing, Locked

REFRESH = "make it again with the tool that wrote it, such as `uv export --format pylock.toml -o pylock.toml`"


def read(text: str, path: str) -> Listing:
    lock = toml(text, path, REFRESH)
    if not lock.get("lock-version") or not isinstance(lock.get("packages"), list):
        raise refused(f"{path} is no lock: it lacks lock-version or packages", path, REFRESH)
    packages = [package for package in lock["packages"] if isinstance(package, dict)]
    found = [str(table(package, "directory").get("path", "")) for package in packages]
    locked = tuple(Locked(str(each.get("name", "")), str(each.get("version", ""))) for each in packages)
    return Listing(locked, tuple(sorted({path for path in found if path})))
