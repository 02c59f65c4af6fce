"""The newest rows of one model, as counts in wall-clock epochs.

One thread at a time may touch a window; in a worker that is the counting thread. Others get what `verdict` and `counts`
return, which is never written again.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from monitoring.binning import Bins, Counts, as_seen
from monitoring.verdict import ModelDrift, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from monitoring.reference import Reference

WINDOW_ROWS: Final = 1000
HORIZON_S: Final = 3600.0
EPOCH_S: Final = 10.0


class DriftWindow:
    """Counts of the newest epochs: those within the horizon, or the fewest that hold `window_rows` if that is less.

    Epoch k is [k epoch_s, (k + 1) epoch_s) of the wall clock in every worker, so their counts add up. If the clock is
    set back, epochs that now lie in the future do not count: a step costs at most the window. Memory is bounded by the
    horizon: horizon_s / epoch_s count vectors (360, of 32 kB for 30 features).
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
        self._bins = Bins([column.edges for column in (*reference.features, reference.score)], reference.dtype)
        self._score_cells = len(reference.score.counts) + 1
        self._window_rows = window_rows
        self._horizon = int(horizon_s // epoch_s)
        self._epoch_s = epoch_s
        self._clock = clock
        # The only mutable state: counts by epoch number. Written by the thread that calls `add`.
        self._epochs: dict[int, Counts] = {}

    def __repr__(self) -> str:
        """Show what the window holds now."""
        newest = self._newest()
        return f"DriftWindow(rows={sum(map(self._rows, newest.values()))}, epochs={len(newest)})"

    def add(self, rows: ArrayLike, scores: ArrayLike) -> None:
        """Count one block of rows into the current epoch; neither array is kept or changed.

        Args:
            rows: [n, features], any n; NaN counts as missing.
            scores: [n], likewise.

        Raises:
            ValueError: the shapes do not fit each other or the reference. Nothing was counted.
        """
        block, score = as_seen(rows, self._bins.dtype), as_seen(scores, self._bins.dtype)
        features = len(self._reference.features)
        if block.ndim != 2 or block.shape[1] != features or score.shape != block.shape[:1]:
            raise ValueError(f"need rows [n, {features}] and scores [n], got {block.shape} and {score.shape}")
        epoch = self._epoch()
        if epoch not in self._epochs:
            self._epochs = self._newest()  # the others are never needed again: rows only come to newer epochs
            self._epochs[epoch] = self._bins.zeros()
        self._bins.count(self._epochs[epoch], [*block.T, score])

    def counts(self) -> Counts:
        """Add up the window's epochs: each feature's bins and missing count, the score's last; merges by addition."""
        return sum(self._newest().values(), start=self._bins.zeros())

    def verdict(self) -> ModelDrift:
        """Judge the window as it is now."""
        return judge(self._reference, self.counts())

    def _epoch(self) -> int:
        return math.floor(self._clock() / self._epoch_s)

    def _rows(self, counts: Counts) -> int:
        return int(counts[-self._score_cells :].sum())

    def _newest(self) -> dict[int, Counts]:
        """Choose the epochs of the window, newest first."""
        now, rows = self._epoch(), 0
        newest: dict[int, Counts] = {}
        for epoch in sorted(self._epochs, reverse=True):
            if rows >= self._window_rows or epoch <= now - self._horizon:
                break
            if epoch <= now:
                newest[epoch] = self._epochs[epoch]
                rows += self._rows(newest[epoch])
        return newest
