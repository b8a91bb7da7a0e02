"""Measurements → a table on the screen and in RESULTS.md, and the bounds that they exceed."""

import os
import platform
import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol


class Costs(Protocol):
    def seconds(self, name: str) -> float: ...
    def kilobytes_up(self, name: str) -> float: ...
    def connections(self, name: str) -> int: ...


@dataclass
class Report:
    title: str
    command: str
    claims: list[str] = field(default_factory=list)
    costs: list[str] = field(default_factory=list)
    memories: list[tuple[float, str]] = field(default_factory=list)
    memory_bound: float = 0
    exceeded: list[str] = field(default_factory=list)
    began: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def claim(
        self, what: str, seconds: float, peer: str, peer_seconds: float, bound: float | None, milli: bool = False
    ) -> None:
        """A ratio to a peer; without a bound it is only told. milli: tell it in milliseconds."""
        ratio = seconds / peer_seconds
        limit = f"≤ {bound:g}" if bound else ""
        ours, its = (f"{1000 * value:.1f} ms" if milli else f"{value:.2f} s" for value in (seconds, peer_seconds))
        row = (what, ours, peer, its, f"{ratio:.2f}", limit)
        self.claims.append(self._say(row))
        if bound and ratio > bound:
            self.exceeded.append(f"{what}: {ratio:.2f} × {peer}, more than {bound:g}")

    def limit(self, what: str, value: float, bound: float, unit: str) -> None:
        """A figure that stays below a bound of its own unit."""
        self.claims.append(self._say((what, f"{value:.2f} {unit}", "", f"{bound:.2f}", f"{value / bound:.2f}", "< 1")))
        if value >= bound:
            self.exceeded.append(f"{what}: {value:.2f} {unit}, not below {bound:.2f}")

    def at_least(self, what: str, ratio: float, peer: str, bound: float | None) -> None:
        """A ratio to a peer that is not to fall below a bound; without one it is only told."""
        self.claims.append(self._say((what, "", peer, "", f"{ratio:.2f}", f"≥ {bound:g}" if bound else "")))
        if bound and ratio < bound:
            self.exceeded.append(f"{what}: {ratio:.2f} × {peer}, less than {bound:g}")

    def cost(self, what: str, runs: Costs, name: str) -> None:
        counts = (f"{runs.kilobytes_up(name):.1f}", str(runs.connections(name)))
        self.costs.append(self._say((what, f"{runs.seconds(name):.2f}", *counts)))

    def memory(self, what: str, mebibytes: float, bound: float) -> None:
        """Peak memory of a run; the largest of all is told."""
        self.memory_bound = bound
        self.memories.append((mebibytes, what))
        if mebibytes >= bound:
            self.exceeded.append(f"{what}: {mebibytes:.0f} MiB, not below {bound:g}")

    def _say(self, cells: tuple[str, ...]) -> str:
        row = f"| {' | '.join(cells)} |"
        print(row, flush=True)
        return row

    def write(self, path: Path, release: str) -> int:
        """Into the file and onto the screen; the exit status, 1 where a bound is exceeded."""
        seconds = (datetime.now(timezone.utc) - self.began).total_seconds()
        peak = ""
        if self.memories:
            largest, what = max(self.memories)
            peak = f"Peak memory: {largest:.0f} MiB ({what}); the bound is {self.memory_bound:g} MiB.\n\n"
        verdict = "\n".join(f"- exceeded: {excess}" for excess in self.exceeded) or "Every bound holds."
        table = "| what | seconds | kB up | connections |\n|---|---|---|---|"
        information = f"\nFor information:\n\n{table}\n{chr(10).join(self.costs)}\n" if self.costs else ""
        python = platform.python_version()
        text = f"""# {self.title}

`{self.command}`, {self.began:%Y-%m-%d %H:%M} UTC, in {seconds:.0f} s: {os.cpu_count()} cores for operator and server
together, server Debian {release} in a container, operator Python {python}. Medians, the tools in turn; milliseconds
are the round-trip time that a relay adds.

| what | measured | peer | its | ratio | bound |
|---|---|---|---|---|---|
{chr(10).join(self.claims)}

{peak}{verdict}
{information}"""
        path.write_text(text, "utf-8")
        print(f"\n{peak}{verdict}\n\nwrote {path.name}, in {seconds:.0f} s")
        for excess in self.exceeded:
            print(f"error: {excess}", file=sys.stderr)
        return 1 if self.exceeded else 0
