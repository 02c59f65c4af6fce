"""The newest rows of one model, as counts in wall-clock epochs.

One thread at a time may touch a window. Others get what `verdict` and `counts` return, which is never written again.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from monitoring.binning import Bins, Counts, as_seen
from monitoring.verdict import ModelDrift, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike

    from monitoring.reference import Reference

WINDOW_ROWS: Final = 1000
HORIZON_S: Final = 3600.0
EPOCH_S: Final = 10.0


class Span(NamedTuple):
    """What was counted in [start, start + length) of the wall clock, in seconds; spans merge by adding their counts."""

    start: float
    length: float
    counts: Counts


class SpanLike(Protocol):
    """A span whose counts may have to be fetched."""

    @property
    def start(self) -> float:
        """Unix time."""

    @property
    def counts(self) -> Counts:
        """What was counted."""


class RowCounter:
    """Turns blocks of rows and scores into counts, one vector for all columns of a reference."""

    def __init__(self, reference: Reference) -> None:
        """Lay the cells out: each feature's bins and missing count, then the score's, then the label's."""
        columns = reference.columns
        self._bins = Bins(
            [column.marks for column in columns], reference.dtype, [column.kind == "category" for column in columns]
        )
        self._features = len(reference.features)
        self._labelled = reference.label is not None
        self._last_cells = len(columns[-1].counts) + 1
        self.size = self._bins.size

    def zeros(self) -> Counts:
        """Make an empty count vector [size]."""
        return self._bins.zeros()

    def add(self, counts: Counts, rows: ArrayLike, scores: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Count one block in place; no array is kept or changed.

        Args:
            counts: [size].
            rows: [n, features], any n; NaN counts as missing.
            scores: [n], likewise.
            labels: [n], the predicted classes as `build_reference` takes them; needed if the reference has a label.

        Raises:
            ValueError: the shapes do not fit each other or the reference. Nothing was counted.
        """
        block, score = as_seen(rows, self._bins.dtype), as_seen(scores, self._bins.dtype)
        if block.ndim != 2 or block.shape[1] != self._features or score.shape != block.shape[:1]:
            raise ValueError(f"need rows [n, {self._features}] and scores [n], got {block.shape} and {score.shape}")
        columns = [*block.T, score]
        if self._labelled:
            label = as_seen(labels if labels is not None else [], self._bins.dtype)
            if label.shape != score.shape:
                raise ValueError(f"need labels [n], got {label.shape} for {score.size} rows")
            columns.append(label)
        self._bins.count(counts, columns)

    def rows(self, counts: Counts) -> int:
        """Tell how many rows were counted: every row has a value in the last column, or lacks one."""
        return int(counts[-self._last_cells :].sum())


def add_newest(
    spans: Iterable[SpanLike], counter: RowCounter, *, now: float, window_rows: int, horizon_s: float
) -> tuple[float | None, Counts]:
    """Add up the window: the newest spans within the horizon, or the fewest that hold `window_rows` if that is less.

    Spans of equal start, as several workers have them, come all or none. If the clock is set back, spans that now lie
    in the future do not count: a step costs at most the window.

    Args:
        spans: in any order; the counts of one at a time are looked at, of the newest first.
        counter: that made the counts.
        now: start of the current epoch, wall clock in seconds.
        window_rows: rows that are enough.
        horizon_s: a span counts if it begins less than so many seconds before `now`.

    Returns:
        When the oldest span begins, None if there is none; and the sum.
    """
    since: float | None = None
    held, total = 0, counter.zeros()
    for span in sorted(spans, key=lambda span: span.start, reverse=True):
        if (held >= window_rows and span.start != since) or span.start <= now - horizon_s:
            break
        if span.start <= now:
            counts = span.counts
            total += counts
            held += counter.rows(counts)
            since = span.start
    return since, total


class DriftWindow:
    """Counts of the newest epochs, in memory.

    Epoch k is [k epoch_s, (k + 1) epoch_s) of the wall clock in every process, so their counts add up. Memory is
    bounded by the horizon: horizon_s / epoch_s count vectors (360, of 32 kB for 30 features).
    """

    def __init__(
        self,
        reference: Reference,
        *,
        window_rows: int = WINDOW_ROWS,
        horizon_s: float = HORIZON_S,
        epoch_s: float = EPOCH_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start empty.

        Raises:
            ValueError: window_rows is below 1, or the horizon holds no whole epoch.
        """
        if window_rows < 1 or not 0 < epoch_s <= horizon_s:
            raise ValueError(
                f"need window_rows ≥ 1 and 0 < epoch_s ≤ horizon_s, got {window_rows}, {epoch_s}, {horizon_s}"
            )
        self._reference = reference
        self._counter = RowCounter(reference)
        self._window_rows = window_rows
        self._horizon_s = horizon_s // epoch_s * epoch_s
        self._epoch_s = epoch_s
        self._clock = clock
        # The only mutable state: one span an epoch. Written by the thread that calls `add`.
        self._epochs: dict[float, Span] = {}

    def __repr__(self) -> str:
        """Show what the window holds now."""
        since, counts = self._newest()
        epochs = sum(start >= since for start in self._epochs) if since is not None else 0
        return f"DriftWindow(rows={self._counter.rows(counts)}, epochs={epochs})"

    def add(self, rows: ArrayLike, scores: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Count one block of rows into the current epoch, as `RowCounter.add` does.

        Raises:
            ValueError: as there.
        """
        start = self._epoch()
        span = self._epochs.get(start)
        if span is None:
            span = Span(start, self._epoch_s, self._counter.zeros())
            since, _ = self._newest()
            # The others are never needed again: rows only come to newer epochs.
            kept = [old for old in self._epochs.values() if since is not None and since <= old.start <= start]
            self._epochs = {old.start: old for old in [*kept, span]}
        self._counter.add(span.counts, rows, scores, labels)

    def counts(self) -> Counts:
        """Add up the window's epochs: the cells of each column of the reference; merges by addition."""
        return self._newest()[1]

    def verdict(self) -> ModelDrift:
        """Judge the window as it is now."""
        return judge(self._reference, self.counts())

    def _epoch(self) -> float:
        return math.floor(self._clock() / self._epoch_s) * self._epoch_s

    def _newest(self) -> tuple[float | None, Counts]:
        return add_newest(
            self._epochs.values(),
            self._counter,
            now=self._epoch(),
            window_rows=self._window_rows,
            horizon_s=self._horizon_s,
        )
