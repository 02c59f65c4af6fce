"""Throughput and latency of the gateway against granian's fixed answer, in interleaved blocks."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.figures import ServingFigures, Side
from benchmarks.load import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.load import LoadPlan, LoadResult

__all__ = ["ORDER", "compare", "side"]

ORDER = ("hotgate", "fixed", "fixed", "hotgate")
"""One round of blocks, two pairs: what drifts linearly with time hits both sides alike."""


def compare(
    generator: Path, plan: LoadPlan, ports: dict[str, int], *, rounds: int, say: Callable[[str], None]
) -> ServingFigures:
    """Load both servers in turn.

    Args:
        generator: from `benchmarks.load.build`.
        plan: one block; its port is replaced.
        ports: of `hotgate` and `fixed`.
        rounds: how often the order is gone through.
        say: told before each block what it is.

    Raises:
        BenchError: a request failed.
        LoadError: a block failed.
    """
    blocks: list[tuple[str, LoadResult]] = []
    for number, name in enumerate(ORDER * rounds, 1):
        say(f"{plan.connections} connections, block {number} of {len(ORDER) * rounds}: {name}")
        result = run(generator, msgspec.structs.replace(plan, port=ports[name]))
        if result.failed:
            raise BenchError(f"{name} at {plan.connections} connections: {result.faults()}")
        blocks.append((name, result))
    return ServingFigures(
        connections=plan.connections,
        hotgate=side([result for name, result in blocks if name == "hotgate"]),
        fixed=side([result for name, result in blocks if name == "fixed"]),
        ratios=ratios(blocks),
    )


def side(results: Sequence[LoadResult]) -> Side:
    """Medians over the blocks of one server."""
    return Side(
        blocks=len(results),
        requests=sum(result.requests for result in results),
        throughput_per_s=median(result.throughput_per_s for result in results),
        p50_us=median(result.latency.p50_us for result in results),
        p99_us=median(result.latency.p99_us for result in results),
        generator_share=median(result.cpu_share for result in results),
    )


def ratios(blocks: Sequence[tuple[str, LoadResult]]) -> tuple[float, ...]:
    """The gateway's throughput by the fixed answer's, for each two adjacent blocks."""
    pairs = [dict(blocks[at : at + 2]) for at in range(0, len(blocks), 2)]
    return tuple(pair["hotgate"].throughput_per_s / pair["fixed"].throughput_per_s for pair in pairs)
