"""Latency where clients do not wait for each other: Poisson arrivals at half and four fifths of each side's maximum."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.load import Latency, LoadPlan, merge, run
from benchmarks.load.plan import MISSED_MAX
from benchmarks.pause import paused
from benchmarks.plots import draw_percentiles
from benchmarks.report import table
from benchmarks.scenarios.plan import checked, maximum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.load import LoadResult
    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan
    from benchmarks.servers import Server

__all__ = [
    "TITLE",
    "OpenFigures",
    "OpenLoad",
    "OpenSide",
    "draw",
    "measure",
    "open_side",
    "others_paused",
    "pairs",
    "render",
]

TITLE = "Open loop"
SHARES = (0.5, 0.8)


class OpenSide(msgspec.Struct, frozen=True, kw_only=True):
    """One server at one rate: medians over its blocks."""

    rate_per_s: float
    requests: int
    p50_us: float
    p99_us: float
    p999_us: float
    missed_share: float
    """The most of any block."""
    generator_share: float
    latency: Latency
    """Of all blocks together."""


class OpenLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Both servers at the same share of their own maximum."""

    share: float
    hotgate: OpenSide
    fixed: OpenSide
    ratios: tuple[float, ...]
    """p99 of the gateway by the fixed answer's, one for each pair of adjacent blocks."""
    voids: int
    """Pairs that were measured again because the generator missed its schedule."""


class OpenFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All loads."""

    connections: int
    block_s: float
    maxima: dict[str, float]
    """Answers a second in the closed loop with 32 connections, by side."""
    loads: tuple[OpenLoad, ...]


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> OpenFigures:
    """Measure both maxima, then both servers at their shares, in pairs of adjacent blocks in the order ABBA."""
    with rig.against_fixed(say) as both:
        servers = {"hotgate": both.hotgate, "fixed": both.fixed}
        maxima = {}
        for name, server in servers.items():
            say(f"maximum of {name}")
            with others_paused(servers, name):
                maxima[name] = maximum(rig, plan, server.port, both.body)
        loads = []
        for share in SHARES:
            rates = {name: share * most for name, most in maxima.items()}
            found, voids = pairs(rig, plan, servers, rates, both.body, say)
            loads.append(_load(share, rates, found, voids))
    return OpenFigures(connections=plan.connections, block_s=plan.block_s, maxima=maxima, loads=tuple(loads))


def others_paused(servers: dict[str, Server], name: str) -> AbstractContextManager[None]:
    """All but the one that is measured stand still."""
    return paused(server.pid for other, server in servers.items() if other != name)


def pairs(
    rig: Rig,
    plan: ScenarioPlan,
    servers: dict[str, Server],
    rates: dict[str, float],
    body: bytes,
    say: Callable[[str], None],
) -> tuple[list[dict[str, LoadResult]], int]:
    """Two servers in adjacent blocks in the order ABBA, one stopped while the other is loaded; and how many were void.

    Raises:
        BenchError: a request failed, or more than `voids_max` pairs were void.
    """
    orders = [tuple(servers), tuple(servers)[::-1]] * plan.rounds
    found: list[dict[str, LoadResult]] = []
    voids = 0
    while len(found) < len(orders):
        number = len(found)
        pair = {}
        for name in orders[number]:
            say(f"open loop, pair {number + 1} of {len(orders)}: {name} at {rates[name]:,.0f}/s")
            block = LoadPlan(
                port=servers[name].port,
                body=body,
                connections=plan.connections,
                seconds=plan.block_s,
                warmup_s=plan.warmup_s,
                rate_per_s=rates[name],
                seed=plan.seed + number,
                core=rig.generator_core,
                missed_max=1.0,  # the pair is measured again
            )
            with others_paused(servers, name):
                pair[name] = checked(run(rig.generator, block), f"{name} at {rates[name]:,.0f}/s")
        if all(result.missed_share <= MISSED_MAX for result in pair.values()):
            found.append(pair)
            continue
        voids += 1
        if voids > plan.voids_max:
            raise BenchError(f"the generator missed its schedule in {voids} pairs: this machine is too busy to tell")
    return found, voids


def _load(share: float, rates: dict[str, float], pairs: Sequence[dict[str, LoadResult]], voids: int) -> OpenLoad:
    sides = {name: open_side(rates[name], [pair[name] for pair in pairs]) for name in rates}
    ratios = tuple(pair["hotgate"].latency.p99_us / pair["fixed"].latency.p99_us for pair in pairs)
    return OpenLoad(share=share, hotgate=sides["hotgate"], fixed=sides["fixed"], ratios=ratios, voids=voids)


def open_side(rate_per_s: float, results: Sequence[LoadResult]) -> OpenSide:
    """What is kept of the blocks of one server."""
    return OpenSide(
        rate_per_s=rate_per_s,
        requests=sum(result.requests for result in results),
        p50_us=median(result.latency.p50_us for result in results),
        p99_us=median(result.latency.p99_us for result in results),
        p999_us=median(result.latency.p999_us for result in results),
        missed_share=max(result.missed_share for result in results),
        generator_share=median(result.cpu_share for result in results),
        latency=merge(result.latency for result in results),
    )


def render(figures: OpenFigures) -> str:
    """A row for each server and load, the ratio by pairs, and what the generator may have added."""
    rows = [
        (
            f"{load.share:.0%} {name}",
            f"{side.rate_per_s:,.0f}",
            *(f"{value:,.0f}" for value in (side.p50_us, side.p99_us, side.p999_us)),
            f"{median(load.ratios):.2f} ({min(load.ratios):.2f} to {max(load.ratios):.2f})"
            if name == "hotgate"
            else "",
            f"{side.missed_share:.2%}",
            f"{side.generator_share:.0%}",
        )
        for load in figures.loads
        for name, side in (("hotgate", load.hotgate), ("fixed", load.fixed))
    ]
    head = ("load", "req/s", "p50, µs", "p99, µs", "p99.9, µs", "p99 ratio", "missed", "generator")
    first = figures.loads[0]
    requests = sum(load.hotgate.requests + load.fixed.requests for load in figures.loads)
    maxima = " and ".join(f"{most:,.0f}/s ({name})" for name, most in figures.maxima.items())
    return f"""Requests meant to go out at Poisson times, latency from those times, over {figures.connections} \
connections; each server at its own share of its own maximum, which is {maxima} in the closed loop with 32 \
connections.

{table(head, rows)}

Medians of {len(first.ratios)} blocks of {figures.block_s:g} s a side, ABBA, the other server stopped meanwhile; \
the ratio is the median (and range) over pairs of adjacent blocks; {requests:,} requests, 0 failed. `missed` is the \
largest share of requests that the generator itself sent over 1 ms late: above 0.05 % p99.9 is partly its own. \
Pairs above {MISSED_MAX:.1%} were measured again: {sum(load.voids for load in figures.loads)}."""


def draw(figures: OpenFigures, folder: Path) -> None:
    """The whole distributions: `open.png`."""
    latencies = {
        f"{name}, {load.share:.0%}: {side.rate_per_s:,.0f}/s": side.latency
        for load in figures.loads
        for name, side in (("hotgate", load.hotgate), ("fixed", load.fixed))
    }
    how = f"Poisson arrivals, {figures.connections} connections, from the intended send; % of each server's own maximum"
    draw_percentiles(latencies, folder / "open.png", title="Latency by percentile, open loop", how=how)
