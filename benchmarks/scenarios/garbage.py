"""What Python's cyclic collector adds to the slowest answers: as it is by default, and as the gateway sets it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from benchmarks.load import Latency, merge
from benchmarks.report import table
from benchmarks.scenarios.open_loop import others_paused, pairs
from benchmarks.scenarios.plan import maximum, served
from benchmarks.servers import ask
from benchmarks.subject import row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan

__all__ = ["TITLE", "Collector", "GarbageFigures", "Pauses", "between", "draw", "longest", "measure", "read_pauses"]

TITLE = "Pauses of Python's collector"
SHARE = 0.5
SIDES = {"hotgate": "true", "default": "false"}
"""`[gateway] calm_gc` by side."""


class Pauses(msgspec.Struct, frozen=True):
    """Of the worker, all its threads."""

    count: int
    seconds: float


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """One side, all its blocks together."""

    latency: Latency
    """Of those in pairs that were not void."""
    missed_share: float
    """The most of any block."""
    pauses: dict[str, Pauses]
    """During all blocks, by the collector's generation."""
    longest_s: float
    """Since the worker was ready, so in the closed loop too."""


class GarbageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides at one rate."""

    rate_per_s: float
    connections: int
    block_s: float
    blocks: int
    voids: int
    sides: dict[str, Collector]


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> GarbageFigures:
    """Both at half of the lower maximum, in pairs of adjacent blocks in the order ABBA, the other one stopped."""
    say("training the model")
    subject = train_subject(rig.folder, "linear")
    body = row_body(subject.rows[0])
    say("starting the servers, checking the answers")
    with (
        served(rig, subject, "garbage-hotgate", environment=_calm("hotgate")) as hotgate,
        served(rig, subject, "garbage-default", environment=_calm("default")) as default,
    ):
        servers = {"hotgate": hotgate, "default": default}
        maxima = []
        for name, server in servers.items():
            say(f"maximum with the collector as {name}")
            with others_paused(servers, name):
                maxima.append(maximum(rig, plan, server.port, body))
        rate_per_s = SHARE * min(maxima)
        before = {name: read_pauses(_metrics(server.port)) for name, server in servers.items()}
        found, voids = pairs(rig, plan, servers, dict.fromkeys(servers, rate_per_s), body, say)
        after = {name: _metrics(server.port) for name, server in servers.items()}
    return GarbageFigures(
        rate_per_s=rate_per_s,
        connections=plan.connections,
        block_s=plan.block_s,
        blocks=len(found),
        voids=voids,
        sides={
            name: Collector(
                latency=merge(pair[name].latency for pair in found),
                missed_share=max(pair[name].missed_share for pair in found),
                pauses=between(before[name], read_pauses(text)),
                longest_s=longest(text),
            )
            for name, text in after.items()
        },
    )


def _calm(side: str) -> dict[str, str]:
    return {"HOTGATE_GATEWAY_CALM_GC": SIDES[side]}


def _metrics(port: int) -> str:
    return ask(port, "GET", "/metrics").body.decode()


def read_pauses(text: str) -> dict[str, Pauses]:
    """What `/metrics` says, by generation."""
    found = dict(re.findall(r'^hotgate_gc_pause_seconds_(\w+\{generation="\d"\}) (\S+)$', text, re.MULTILINE))
    generations = sorted({key.split('"')[1] for key in found})
    return {
        generation: Pauses(
            int(float(found[f'count{{generation="{generation}"}}'])), float(found[f'sum{{generation="{generation}"}}'])
        )
        for generation in generations
    }


def between(before: dict[str, Pauses], after: dict[str, Pauses]) -> dict[str, Pauses]:
    """Those that came between two looks."""
    return {
        generation: Pauses(then.count - before[generation].count, then.seconds - before[generation].seconds)
        for generation, then in after.items()
    }


def longest(text: str) -> float:
    """The longest pause that `/metrics` knows, in seconds."""
    found = re.search(r"^hotgate_gc_longest_pause_seconds (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def render(figures: GarbageFigures) -> str:
    """A row a side: latency, and the collector's pauses meanwhile."""
    rows = [
        (
            name,
            f"{side.latency.n:,}",
            *(f"{value:,.0f}" for value in _points(side.latency)),
            " / ".join(f"{pauses.count:,}" for pauses in side.pauses.values()),
            f"{1e3 * sum(pauses.seconds for pauses in side.pauses.values()):,.1f}",
            f"{1e3 * side.longest_s:,.2f}",
            f"{side.missed_share:.2%}",
        )
        for name, side in figures.sides.items()
    ]
    head = (
        "collector", "answers", "p50, µs", "p99, µs", "p99.9, µs", "max, µs", "pauses, young / middle / all",
        "in all, ms", "longest, ms", "missed",
    )  # fmt: skip
    return f"""The same gateway with `[gateway] calm_gc` (`hotgate`: what start-up made is frozen, thresholds are \
high) and without (`default`: as Python does), at {figures.rate_per_s:,.0f} requests a second (Poisson, \
{figures.connections} connections), which is {SHARE:.0%} of the lower of their maxima in the closed loop.

{table(head, rows)}

All answers of {figures.blocks} blocks of {figures.block_s:g} s a side together, ABBA, the other server stopped \
meanwhile, 0 failed; {figures.voids} pairs were measured again because the generator missed its schedule, and \
`missed` is the largest share that it still sent over 1 ms late: above 0.05 % p99.9 is partly its own. Pauses are \
the worker's own (`hotgate_gc_pause_seconds`), void pairs included; the longest is that since the worker was ready, \
so also under the closed loop before."""


def _points(latency: Latency) -> tuple[float, ...]:
    return latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us


def draw(figures: GarbageFigures, folder: Path) -> None:
    """A table says it."""
