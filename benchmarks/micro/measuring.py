"""One measured call, with the percentiles that pytest-benchmark leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PERCENTILES", "Measure"]

PERCENTILES = {"p50_us": 50.0, "p99_us": 99.0, "p999_us": 99.9}
WARMUP_SHARE = 20
"""One call of warm-up for so many that are measured."""


class Measure:
    """Times a call, each one for itself: a mean over a loop of calls would hide the slow ones.

    `benchmark` is pytest-benchmark's fixture, whose methods have no types.
    """

    def __init__(self, benchmark: Any, rounds: int) -> None:
        self._benchmark = benchmark
        self._rounds = rounds

    def __call__(self, call: Callable[[], Any], why: str, *, prepare: Callable[[], None] | None = None) -> Any:
        """Measure and put percentiles, in microseconds, into `extra_info`; returns what the last call returned.

        Args:
            call: what is timed.
            why: why a request goes through it, or why it is done so; stands in the report.
            prepare: called before each call, untimed.
        """
        benchmark = self._benchmark
        warmup = 1 + self._rounds // WARMUP_SHARE
        returned = benchmark.pedantic(call, setup=prepare, rounds=self._rounds, warmup_rounds=warmup)
        taken = np.percentile(benchmark.stats.stats.data, list(PERCENTILES.values()))
        benchmark.extra_info["why"] = why
        benchmark.extra_info.update(zip(PERCENTILES, (1e6 * taken).tolist(), strict=True))
        return returned
