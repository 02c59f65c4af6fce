"""What came of a long run, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import provenance, table
from benchmarks.soak import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.soak import Slice, SoakFigures

__all__ = ["render"]


def render(figures: SoakFigures) -> str:
    """A line for each tenth of the run, growth against its bound, and the verdict."""
    plan = figures.plan
    swaps = "no swaps" if plan.swap_every_s is None else f"a swap published every {plan.swap_every_s:g} s"
    setting = (
        f"One worker on one core, closed loop at {plan.connections} connections, {swaps}. A line is a tenth of"
        " the requests: memory at its end, the worst p99.9 and the longest request of its slices."
    )
    head = ("requests", "swaps", "PSS, MiB", "RSS, MiB", "req/s", "p99.9, µs", "max, µs")
    lines = provenance(figures.date, figures.machine, figures.versions, figures.command)
    rows = table(head, map(_row, _tenths(figures.slices)))
    return "\n\n".join(["## A long run", lines, setting, rows, _verdict(figures)])


def _tenths(slices: tuple[Slice, ...]) -> Iterator[list[Slice]]:
    """The slices that end in each tenth of the requests; a tenth in which none ends is left out."""
    total = slices[-1].requests
    for tenth in range(1, 11):
        within = [one for one in slices if (tenth - 1) * total < 10 * one.requests <= tenth * total]
        if within:
            yield within


def _row(slices: list[Slice]) -> tuple[str, ...]:
    last = slices[-1]
    return (
        f"{last.requests:,}",
        f"{last.swaps:,}",
        *(f"{size / MIB:.1f}" for size in (last.pss_bytes, last.rss_bytes)),
        f"{sum(one.throughput_per_s for one in slices) / len(slices):,.0f}",
        f"{max(one.p999_us for one in slices):,.0f}",
        f"{max(one.max_us for one in slices):,.0f}",
    )


def _verdict(figures: SoakFigures) -> str:
    first, last = figures.judged[0], figures.judged[-1]
    per_swap = figures.growth_per_swap_bytes
    made = f", {last.swaps:,} swaps of {last.published:,} published" if figures.plan.swap_every_s is not None else ""
    return (
        f"{last.requests:,} requests, 0 errors{made} in {figures.seconds:,.0f} s."
        f" {figures.outcome.upper()}: PSS {first.pss_bytes / MIB:.1f} MiB at {first.requests:,} requests,"
        f" {last.pss_bytes / MIB:.1f} MiB at the end: {figures.growth_bytes / MIB:+.2f} MiB, allowed"
        f" {figures.plan.growth_max_mib:+g}. Slope {1e6 * figures.slope_bytes / KIB:+,.0f} KiB per million requests"
        + (f", or {per_swap / KIB:+.2f} KiB per swap if all of it is theirs." if per_swap is not None else ".")
    )
