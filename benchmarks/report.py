"""Figures as Markdown: what was measured, on what, how, and what it does not say."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from benchmarks.figures import Figures, Machine

__all__ = ["insert", "provenance", "render", "setting", "table", "write"]

OWNER = "hotgate bench"
"""Whose section it is: the command that replaces what stands between its marks."""


def render(figures: Figures) -> str:
    """The section that `hotgate bench` owns."""
    return "\n\n".join([_setting(figures), _serving(figures), _one_machine(figures), _limits(figures)])


def insert(page: str, section: str, owner: str = OWNER) -> str:
    """Put the section between its marks, or at the end of a page that has none; all else stays as it was written."""
    first, last = f"<!-- {owner}: begin -->", f"<!-- {owner}: end -->"
    marked = f"{first}\n{section}\n{last}"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if begin and end:
        return before + marked + after
    head = page.rstrip("\n") or "# Benchmarks"
    return f"{head}\n\n{marked}\n"


def write(section: str, path: Path, owner: str = OWNER) -> None:
    """Write or replace the section in a page."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(insert(page, section, owner), encoding="utf-8")


def setting(title: str, *, date: str, machine: Machine, versions: Mapping[str, str], command: str) -> str:
    """How a section begins: its title, and `provenance`."""
    return f"## {title}\n\n{provenance(date, machine, versions, command)}"


def provenance(date: str, machine: Machine, versions: Mapping[str, str], command: str) -> str:
    """When, on what, with what and how it was measured: what stands above all figures."""
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"""- Date: {date}
- Machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gib:.1f} GiB, Linux {machine.kernel}
- Versions: {numbers}
- Command: `{command}`"""


def _setting(figures: Figures) -> str:
    return setting(
        "One worker on one core",
        date=figures.date,
        machine=figures.machine,
        versions=figures.versions,
        command=figures.command,
    )


def _serving(figures: Figures) -> str:
    rows = [
        (
            str(found.connections),
            *(f"{side.throughput_per_s:,.0f}" for side in (found.hotgate, found.fixed)),
            f"{found.ratio:.2f} ({min(found.ratios):.2f} to {max(found.ratios):.2f})",
            *(f"{side.p50_us:,.0f} / {side.p99_us:,.0f}" for side in (found.hotgate, found.fixed)),
        )
        for found in figures.serving
    ]
    head = ("connections", "hotgate, req/s", "fixed, req/s", "ratio", "hotgate p50 / p99, µs", "fixed p50 / p99, µs")
    first = figures.serving[0]
    requests = sum(found.hotgate.requests + found.fixed.requests for found in figures.serving)
    what = (
        "`POST /predict` with one row of 30 floats, a scaler and a logistic regression, against granian's RSGI sending"
        " the same bytes to everyone without reading or deciding anything."
    )
    how = (
        f"Medians of {first.hotgate.blocks} blocks of {figures.block_s:g} s a side, in the order ABBA, closed loop; the"
        f" ratio is the median (and range) over {len(first.ratios)} pairs of adjacent blocks. {requests:,} requests, 0"
        " errors. Before the timing every held-out row was answered as scikit-learn does, largest difference of a"
        f" probability {figures.error_max:.1e}."
    )
    return f"{what}\n\n{table(head, rows)}\n\n{how}"


def _one_machine(figures: Figures) -> str:
    swap, memory = figures.swap, figures.memory
    rows = [
        (
            "start-up: process start to the first 200 of `/readyz`, model in the store",
            *_spread(figures.startup.seconds),
        ),
        ("swap: stage change asked for to the first answer of the new version", *_spread(swap.seconds)),
    ]
    swaps = (
        f"Swaps: SQLite registry, looked at every {swap.poll_interval_s:g} s; sidecar, verifier and worker on one core;"
        f" {swap.rate_per_s:g} requests a second (open loop, constant): {swap.requests:,} requests, {swap.failed}"
        f" failed, p50 {swap.p50_us:,.0f} µs, p99 {swap.p99_us:,.0f} µs, max {swap.max_us:,.0f} µs, from the intended"
        f" send; the generator itself was over 1 ms late for {swap.missed:,}."
    )
    worker, supervisor, fixed = (
        f"{size / 2**20:.0f} MiB" for size in (memory.worker, memory.supervisor, memory.fixed_worker)
    )
    held = f"Memory after load (PSS): worker {worker}, supervisor {supervisor}; granian's worker, fixed answer {fixed}."
    return f"{table(('', 'median', 'max', 'runs'), rows)}\n\n{swaps}\n\n{held}"


def _limits(figures: Figures) -> str:
    busiest = max(side.generator_share for found in figures.serving for side in (found.hotgate, found.fixed))
    return f"""What this does not say:

- Servers share one core, the generator has another: no network, no TLS, no neighbour.
- A closed loop sends less when the server is slow: its p99 is no promise for traffic that does not wait.
- With many connections a closed loop saturates the server: latency there is queueing, and falls with the load.
- The generator used up to {busiest:.0%} of its core; near 100 % the faster side is underestimated."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table whose columns but the first are numbers."""
    names = list(head)
    rule = ["---", *["---:"] * (len(names) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *rows))


def _spread(seconds: tuple[float, ...]) -> tuple[str, str, str]:
    return f"{median(seconds):.2f} s", f"{max(seconds):.2f} s", str(len(seconds))
