"""Counts kept as plain numbers where batches are run, and carried over to Prometheus beside the request path.

Telling prometheus_client of one batch, with its file-backed values and locks, takes longer than scoring one row.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import Counter, Histogram

__all__ = ["CounterTally", "HistogramTally"]


class CounterTally:
    """A counter that one thread at a time adds to and another one carries over; it only grows."""

    __slots__ = ("_carried", "_counter", "total")

    def __init__(self, counter: Counter) -> None:
        self.total = 0
        self._carried = 0
        self._counter = counter

    def carry(self) -> None:
        """Bring Prometheus up to date."""
        total = self.total
        if total != self._carried:
            self._counter.inc(total - self._carried)
            self._carried = total


class HistogramTally:
    """The same for a histogram; the bounds are the histogram's own."""

    __slots__ = ("_bounds", "_carried", "_carried_sum", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._carried = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._carried_sum = 0.0
        self._histogram: Any = histogram

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def carry(self) -> None:
        """Bring Prometheus up to date: its sum, and each bucket, which it holds apart and adds up itself."""
        total = self._sum
        for index, count in enumerate(self._counts):
            if count != self._carried[index]:
                self._histogram._buckets[index].inc(count - self._carried[index])  # noqa: SLF001 - `observe` takes one value at a time
                self._carried[index] = count
        self._histogram._sum.inc(total - self._carried_sum)  # noqa: SLF001 - as above
        self._carried_sum = total
