"""Counts kept as plain numbers where batches are run, and carried over to Prometheus beside the request path.

Telling prometheus_client of one batch, with its file-backed values and locks, takes longer than scoring one row.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.series import Value

__all__ = ["CounterTally", "HistogramTally"]


class CounterTally:
    """A counter that one thread at a time adds to and another one carries over; it only grows."""

    __slots__ = ("_carried", "_value", "total")

    def __init__(self, value: Value) -> None:
        self.total = 0
        self._carried = 0
        self._value = value

    def carry(self) -> None:
        """Bring Prometheus up to date."""
        total = self.total
        if total != self._carried:
            self._value.inc(total - self._carried)
            self._carried = total


class HistogramTally:
    """The same for a histogram's buckets, each of which holds its own count, and their sum."""

    __slots__ = ("_bounds", "_buckets", "_carried", "_carried_sum", "_counts", "_sum", "_total")

    def __init__(self, bounds: Sequence[float], buckets: Sequence[Value], total: Value) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * len(buckets)
        self._carried = [0] * len(buckets)
        self._sum = 0.0
        self._carried_sum = 0.0
        self._buckets = buckets
        self._total = total

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def carry(self) -> None:
        """Bring Prometheus up to date."""
        total = self._sum
        for index, count in enumerate(self._counts):
            if count != self._carried[index]:
                self._buckets[index].inc(count - self._carried[index])
                self._carried[index] = count
        if total != self._carried_sum:
            self._total.inc(total - self._carried_sum)
            self._carried_sum = total
