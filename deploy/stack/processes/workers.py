"""The processes of a release that run as long as it does."""

from collections.abc import Iterator, Mapping

from ...agent import layout
from ...config.processes import Process
from ...config.reader import App
from .base import memory_share, quoted, unit_text

TEMPLATE = "systemd/process@.service.j2"


def numbered(app: App, counts: Mapping[str, int]) -> Iterator[tuple[Process, int]]:
    """Each process with its number, from 1 on. counts: how many of which `fab scale` wants."""
    for process in app.processes:
        for number in range(1, counts.get(process.name, process.count) + 1):
            yield process, number


def units(app: App, release_id: str, counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(layout.process_unit(app.name, release_id, each.name, number) for each, number in numbered(app, counts))


def of_workers(app: App, release_id: str, counts: Mapping[str, int]) -> dict[str, str]:
    return {
        layout.process_unit(app.name, release_id, each.name, number): unit_text(
            TEMPLATE,
            app,
            release_id,
            f"{each.name}.{number}",
            memory_share(app, each.memory_percent),
            process=each,
            command=quoted(each.command),
        )
        for each, number in numbered(app, counts)
    }
