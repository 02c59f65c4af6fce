"""Two running servers measured in turn on one core: one block each makes a pair for the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from benchmarks.errors import BenchError
from benchmarks.gate import Gate, Pair, Verdict
from benchmarks.load import LoadPlan, run
from benchmarks.pause import paused

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.gate import Order
    from benchmarks.load import LoadResult

__all__ = ["Bout", "Contender", "Duel", "Figure", "Name", "decide", "weigh"]

Figure: TypeAlias = Literal["throughput", "p99"]
Name: TypeAlias = Literal["a", "b"]

LATE_SHARE_MAX = 0.005
"""Of the requests, those that the generator itself was late for: half of what lies above a p99. More is void."""
GENERATOR_SHARE_MAX = 0.95
"""Of its core; above it is the generator that was measured."""
HELD_SHARE_MIN = 0.95
"""Of the measured time's answers that came in within it: below it a queue grew the whole time."""
REFUSED = (429, 503)
"""Statuses of a server that says it has too much to do."""


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A running server under the name that is shown."""

    name: str
    pid: int
    port: int


class Bout(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured of both sides."""

    figure: Figure
    block: LoadPlan
    """One block; port, rate and seed are put in."""
    rates: Mapping[Name, float] | None = None
    """Of each side in the open loop, in requests a second; None is the closed loop."""
    answers_min: int = 0
    """A block with fewer makes the pair void."""


class Duel:
    """Two servers, of which one is measured while the other is stopped.

    Args:
        generator: from `benchmarks.load.build`.
        a: what is compared with: the fixed answer, the champion.
        b: what is judged: the gateway, the candidate.
        say: told before each block what it is.
    """

    def __init__(self, generator: Path, a: Contender, b: Contender, *, say: Callable[[str], None]) -> None:
        self._generator, self._say = generator, say
        self._sides: dict[Name, Contender] = {"a": a, "b": b}

    def maximum(
        self, block: LoadPlan, rounds: int, order: tuple[Name, ...] = ("a", "b", "b", "a")
    ) -> dict[Name, float]:
        """Answers a second of each side in the closed loop: medians over the blocks of all rounds.

        Args:
            block: what one block is.
            rounds: how often the order is gone through.
            order: sides; one that is left out is not measured.

        Raises:
            BenchError: a request failed.
            LoadError: the generator did.
        """
        found: dict[Name, list[float]] = {name: [] for name in order}
        for name in order * rounds:
            self._say(f"maximum of {self._sides[name].name} at {block.connections} connections")
            result = self._load(name, block)
            _refuse_faults(self._sides[name].name, result, open_loop=False)
            found[name].append(result.throughput_per_s)
        return {name: median(values) for name, values in found.items()}

    def pair(self, bout: Bout, order: Order, seed: int) -> Pair:
        """Measure both sides, in the order given; an open loop's arrivals have the same seed on both.

        Raises:
            BenchError: a request failed, but for those that an overloaded server turned away.
            LoadError: the generator did.
        """
        results = {}
        for name in order:
            rate = bout.rates[name] if bout.rates else None
            results[name] = self._load(
                name, msgspec.structs.replace(bout.block, rate_per_s=rate, seed=seed, missed_max=1.0)
            )  # a pair is void
        return weigh(results, bout, {name: side.name for name, side in self._sides.items()})

    def _load(self, name: Name, plan: LoadPlan) -> LoadResult:
        with paused(side.pid for other, side in self._sides.items() if other != name):
            return run(self._generator, msgspec.structs.replace(plan, port=self._sides[name].port))


def weigh(results: Mapping[Name, LoadResult], bout: Bout, names: Mapping[Name, str]) -> Pair:
    """Make a pair of two blocks: their figures, whether it counts, and whether B held its rate.

    Raises:
        BenchError: a request failed otherwise than by being too much; there is no figure beside errors.
    """
    open_loop = bout.rates is not None
    for side, result in results.items():
        _refuse_faults(names[side], result, open_loop=open_loop)
    faults = [fault for side in results if (fault := _fault(names[side], results[side], bout.answers_min))]
    if open_loop and not _held(results["a"]):
        faults.append(f"{names['a']} did not answer at its rate")
    return Pair(
        a=_figure(results["a"], bout.figure),
        b=_figure(results["b"], bout.figure),
        void="; ".join(faults),
        held=not open_loop or _held(results["b"]),
    )


def decide(gate: Gate, measure: Callable[[Order, int], Pair], *, more: Callable[[str], bool]) -> Verdict:
    """Measure what the gate asks for until it decides.

    Args:
        gate: says what comes next.
        measure: takes an order and the pair's number, from 1.
        more: told before each pair how far the gate is, and whether the pair before was void; False is out of time.
    """
    number, said = 0, ""
    while not isinstance(step := gate.next(), Verdict):
        if not more(f"{gate!r}{said}"):
            return gate.stop("time was up")
        number += 1
        pair = measure(step, number)
        said = f"; the last was void: {pair.void}" if pair.void else ""
        gate.add(pair)
    return step


def _figure(result: LoadResult, figure: Figure) -> float:
    return result.throughput_per_s if figure == "throughput" else result.latency.p99_us


def _fault(name: str, result: LoadResult, answers_min: int) -> str:
    """What makes a block no measurement of the server."""
    if result.missed > LATE_SHARE_MAX * result.requests:
        return f"the generator was over 1 ms late for {result.missed / result.requests:.1%} of {name}'s requests"
    if result.cpu_share > GENERATOR_SHARE_MAX:
        return f"the generator used {result.cpu_share:.0%} of its core for {name}"
    if result.latency.n < answers_min:
        return f"{name} gave only {result.latency.n:,} of at least {answers_min:,} answers"
    return ""


def _refused(result: LoadResult) -> int:
    """Requests that there was no room for: turned away, or never sent because every connection stayed busy."""
    return result.unsent + sum(result.status.get(code, 0) for code in REFUSED)


def _held(result: LoadResult) -> bool:
    in_time = result.throughput_per_s * result.seconds
    return not _refused(result) and in_time >= HELD_SHARE_MIN * result.latency.n


def _refuse_faults(name: str, result: LoadResult, *, open_loop: bool) -> None:
    if result.failed > (_refused(result) if open_loop else 0):
        raise BenchError(f"requests to {name} failed: {result.faults()}")
