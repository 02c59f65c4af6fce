"""Runs of the load generator as a table for people and as one value for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.load.result import LoadResult

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LoadReport", "LoadRun"]

_HEAD = ("rate/s", "2xx/s", "failed", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "generator", "missed")
_BUSY = 0.9
"""Share of its core from which the generator may be what limits."""
_MISSED_999 = 0.0005
"""Share of late requests from which they make up half of what p99.9 is taken from."""


class LoadRun(msgspec.Struct, frozen=True, kw_only=True):
    """One rate, and what came of it."""

    rate_per_s: float | None
    """None is the closed loop: each connection sends as soon as it is answered."""
    result: LoadResult


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of one command."""

    url: str
    method: str
    connections: int
    seconds: float
    warmup_s: float
    schedule: str
    seed: int
    missed_max: float
    runs: tuple[LoadRun, ...]

    @property
    def faults(self) -> list[str]:
        """Why the runs are not all right, in words; empty if they are."""
        found = []
        for run in self.runs:
            where, result = _name(run), run.result
            if result.failed:
                found.append(f"{where}: {result.failed:,} of {result.requests:,} failed: {_kinds(result)}")
            if result.missed_share > self.missed_max:
                found.append(
                    f"{where}: the generator missed its schedule: {result.missed:,} of {result.requests:,} requests"
                    f" ({result.missed_share:.2%}, allowed {self.missed_max:.2%}) were over 1 ms late by its own fault"
                )
        return found

    def render(self) -> str:
        """The table, and what must be known to read it."""
        loop = "closed loop" if self.runs[0].rate_per_s is None else f"open loop ({self.schedule}, seed {self.seed})"
        what = (
            f"{self.method} {self.url}: {self.connections} connections, {loop}, {self.seconds:g} s after"
            f" {self.warmup_s:g} s of warm-up"
        )
        return "\n".join([what, "", *_columns([_HEAD, *map(_cells, self.runs)]), *self._notes()])

    def _notes(self) -> list[str]:
        said = {
            "the generator used most of a core, and may be what was measured": [
                _name(run) for run in self.runs if run.result.cpu_share > _BUSY
            ],
            "p99.9 and max are partly the generator's own lateness (see missed)": [
                _name(run) for run in self.runs if run.result.missed_share > _MISSED_999
            ],
        }
        notes = [f"{', '.join(where)}: {what}" for what, where in said.items() if where]
        return ["", *notes] if notes else []


def _name(run: LoadRun) -> str:
    return "closed loop" if run.rate_per_s is None else f"{run.rate_per_s:,g}/s"


def _kinds(result: LoadResult) -> str:
    came_back = ", ".join(f"{count:,} of status {code}" for code, count in result.retry_after.items())
    return result.faults() + (f"; with Retry-After: {came_back}" if came_back else "")


def _cells(run: LoadRun) -> tuple[str, ...]:
    result, latency = run.result, run.result.latency
    points = (latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us)
    return (
        "-" if run.rate_per_s is None else f"{run.rate_per_s:,g}",
        f"{result.throughput_per_s:,.0f}",
        f"{result.failed:,}",
        *(f"{value / 1e3:,.2f}" for value in points),
        f"{result.cpu_share:.0%}",
        "-" if run.rate_per_s is None else f"{result.missed_share:.2%}",
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
