"""Python's cyclic collector in a worker: calmed after start-up, and its pauses told."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any

from gateway.metrics import GC_SECONDS
from gateway.tally import HistogramTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.metrics import Metrics

__all__ = ["GENERATIONS", "GarbagePauses", "calm_garbage_collection"]

GENERATIONS = ("0", "1", "2")
"""Of the collector: the last one is all that lives, but for what is frozen."""
_THRESHOLDS = (50_000, 20, 100)
"""Containers made before the youngest are looked at, and how many such looks before the older ones are."""


def calm_garbage_collection() -> None:
    """Keep the cyclic collector off what start-up has made, and let it look less often at what requests make.

    A request's objects die by reference count; walking the application's hundred thousand objects in search of cycles
    took more than half of a worker's time at 256 connections, in pauses of tens of milliseconds. A worker's start is
    without any (`hotgate serve` forks it so): nothing of what is imported goes away again.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


class GarbagePauses:
    """How often and for how long the collector held up all threads of this process.

    It may run at any allocation, also where prometheus_client holds its lock: its callback only adds plain numbers,
    which `carry` hands over.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = 0.0
        self._longest = 0.0
        self._longest_told = metrics.gc_longest_pause
        self._tallies = []
        for generation in GENERATIONS:
            told: Any = metrics.gc_pause.labels(generation)
            buckets, total = told._buckets, told._sum  # noqa: SLF001 - `observe` takes one value at a time
            self._tallies.append(HistogramTally(GC_SECONDS, buckets, total))

    def start(self) -> None:
        """Time every collection from now on."""
        self._began = self._clock()
        gc.callbacks.append(self._on_phase)

    def stop(self) -> None:
        """Time no more; without a start it is no error."""
        if self._on_phase in gc.callbacks:
            gc.callbacks.remove(self._on_phase)

    def _on_phase(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = self._clock()
            return
        took = self._clock() - self._began
        self._tallies[info["generation"]].observe(took)
        self._longest = max(self._longest, took)

    def carry(self) -> None:
        """Bring the metrics up to date."""
        for tally in self._tallies:
            tally.carry()
        self._longest_told.set(self._longest)
