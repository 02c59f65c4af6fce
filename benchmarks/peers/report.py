"""The comparison as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import setting, table

if TYPE_CHECKING:
    from benchmarks.peers.figures import Load, PeerFigures, PeersFigures

__all__ = ["OWNER", "render"]

OWNER = "hotgate bench peers"
"""Whose marks stand around the section."""
MODELS = {
    "linear": "a scaler and a logistic regression",
    "forest": "a random forest, 100 trees of depth 5",
    "boosting": "gradient boosting, 200 trees of depth 5",
}


def render(figures: PeersFigures) -> str:
    """The section that `hotgate bench peers` owns."""
    loads = [cell.load for cell in figures.peers[0].cells]
    failures = [_failure(peer) for peer in figures.peers if peer.failure is not None]
    parts = [_setting(figures), _servers(figures), *(_column(figures, load) for load in loads), *failures]
    return "\n\n".join([*parts, _limits(figures)])


def _setting(figures: PeersFigures) -> str:
    head = setting(
        "Beside other model servers",
        date=figures.date,
        machine=figures.machine,
        versions=figures.versions,
        command=figures.command,
    )
    return f"""{head}

One row of 30 floats for each request, {MODELS[figures.model]}: every server answers with the probabilities of the \
same fitted model, and was held against scikit-learn on every held-out row before the timing."""


def _servers(figures: PeersFigures) -> str:
    rows = [
        (
            f"{peer.name}: {peer.label}",
            ", ".join(f"{name} {number}" for name, number in peer.versions.items()) or "as above",
            "-" if peer.error_max is None else f"{peer.error_max:.1e}",
        )
        for peer in figures.peers
    ]
    return table(("server", "versions", "largest difference of a probability"), rows)


def _column(figures: PeersFigures, load: Load) -> str:
    head = ("server", "req/s", "to fixed", "to hotgate", "p50, µs", "p99, µs", "requests", "errors")
    rows = [_row(peer, load) for peer in figures.peers]
    faults = [
        f"- {peer.name}: {cell.faults}"
        for peer in figures.peers
        for cell in peer.cells
        if cell.load == load and cell.faults
    ]
    return "\n\n".join([f"### {load}", table(head, rows), *(["\n".join(["Errors:", "", *faults])] if faults else [])])


def _row(peer: PeerFigures, load: Load) -> tuple[str, ...]:
    cell = next((cell for cell in peer.cells if cell.load == load), None)
    if cell is None:
        return (peer.name, "error", *["-"] * 6)
    side = cell.side
    return (
        peer.name,
        f"{side.throughput_per_s:,.0f}",
        *(f"{ratio:.3f}" for ratio in cell.ratios),
        f"{side.p50_us:,.0f}",
        f"{side.p99_us:,.0f}",
        f"{side.requests:,}",
        f"{cell.errors:,}",
    )


def _failure(peer: PeerFigures) -> str:
    return f"{peer.name} has no figures:\n\n```\n{peer.failure}\n```"


def _limits(figures: PeersFigures) -> str:
    shortest, longest = figures.block_s
    cells = [cell for peer in figures.peers for cell in peer.cells]
    blocks, busiest = max(cell.side.blocks for cell in cells), max(cell.side.generator_share for cell in cells)
    return f"""How to read this:

- Each server ran on core {figures.server_core} with all its processes, the generator on core \
{figures.generator_core}; while one was loaded all others were stopped (SIGSTOP).
- Medians of up to {blocks} blocks of {shortest:.1f} to {longest:.1f} s; each server once a round, the order reversed \
every other round. A ratio is that of the throughputs, the median over the rounds.
- Latencies are those of the 2xx answers; a p99 over fewer than 1,000 of them is that of a handful.
- One core is not how all of them are meant to run: mosec and MLServer batch, which gains with larger models, and all \
can be scaled by processes, hotgate among them.
- Requests are as small as each protocol allows for one row; no server logs requests. What else it does (validation, \
ids, metrics, drift counts) is what it does by default.
- The generator used up to {busiest:.0%} of its core; near 100 % the fastest are underestimated."""
