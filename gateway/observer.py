"""What happens with a run besides its answers: it is counted, and its rows go to the drift monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.metrics import (
    BATCH_ROWS,
    BATCHES,
    CLOSED_BY,
    DROPPED,
    FAILED_ROWS,
    LOADED,
    LOG_DROPPED,
    QUEUE_SECONDS,
    REFUSED,
    REFUSED_FOR,
    ROWS,
    RUN_SECONDS,
    UNSHARED,
)
from gateway.tally import CounterTally, HistogramTally

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from gateway.columns import ColumnRows
    from gateway.feed import Feed
    from gateway.rows import Texts
    from gateway.series import Family, Versions, VersionSeries
    from gateway.tickets import Member
    from monitoring import Reference

__all__ = ["GenerationObserver", "GenerationTally"]


class GenerationTally:
    """All that one generation counts, on its way to its version's series; the series appear at 0 when it is made.

    It outlives its generation for a moment: a request may have found that one just before it was let go.
    """

    def __init__(self, versions: Versions, name: str, version: str) -> None:
        self._versions = versions
        self._series = series = versions.open(name, "champion", version)
        self.rows = CounterTally(series.value(ROWS))
        self.failed = CounterTally(series.value(FAILED_ROWS))
        self.dropped = CounterTally(series.value(DROPPED))
        self.unlogged = CounterTally(series.value(LOG_DROPPED))
        self._unshared = series.value(UNSHARED)
        self.batches = {reason: CounterTally(series.value(BATCHES, reason)) for reason in CLOSED_BY}
        self.refused = {reason: CounterTally(series.value(REFUSED, reason)) for reason in REFUSED_FOR}
        self.batch_rows = _histogram(series, BATCH_ROWS)
        self.run_seconds = _histogram(series, RUN_SECONDS)
        self.queue_seconds = _histogram(series, QUEUE_SECONDS)

    def columns(self, sha256: str, reference: Reference, features: int | Sequence[str]) -> ColumnRows:
        """Where rows are counted by group; `features` as `[gateway] metrics_features` says."""
        return self._series.columns(sha256, reference, features)

    def tell_unshared(self, rows: int) -> None:
        """Say how many rows only this process has counted."""
        self._unshared.set(rows)

    def tell_loaded(self, sha256: str, *, loaded: bool) -> None:
        """Say whether these bytes serve in this worker."""
        self._series.value(LOADED, sha256).set(loaded)

    def carry(self) -> None:
        """Bring the metrics up to date; called now and then, beside the request path."""
        plain = (self.rows, self.failed, self.dropped, self.unlogged)
        for tally in (*plain, *self.batches.values(), *self.refused.values()):
            tally.carry()
        for histogram in (self.batch_rows, self.run_seconds, self.queue_seconds):
            histogram.carry()

    def close(self) -> None:
        """Bring them up to date for the last time."""
        self.carry()
        self._versions.release(self._series)


def _histogram(series: VersionSeries, family: Family) -> HistogramTally:
    return HistogramTally(family.bounds, *series.histogram(family))


class GenerationObserver:
    """The `BatchObserver` of one generation."""

    def __init__(self, tally: GenerationTally, feed: Feed) -> None:
        self.tally = tally
        self.feed = feed
        # Looked up here once: a run is counted in about 2 µs.
        self._rows, self._dropped, self._batches = tally.rows, tally.dropped, tally.batches
        self._batch_rows, self._run_seconds, self._queue_seconds = (
            tally.batch_rows, tally.run_seconds, tally.queue_seconds,
        )  # fmt: skip

    def ran(
        self,
        rows: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        members: Sequence[Member],
        *,
        texts: Texts | None,
        took_s: float,
        waited_s: float,
        closed_by: str,
    ) -> None:
        """Count one run."""
        count = len(rows)
        self._rows.total += count
        self._batches[closed_by].total += 1
        self._batch_rows.observe(count)
        self._run_seconds.observe(took_s)
        self._queue_seconds.observe(waited_s)
        self._dropped.total += self.feed.put(rows, scores, members, texts)

    def carry(self) -> None:
        """Bring the metrics up to date."""
        self.tally.tell_unshared(self.feed.unshared)
        self.tally.unlogged.total = self.feed.unlogged
        self.tally.carry()

    def failed(self, rows: int) -> None:
        """Count rows that have no answer."""
        self.tally.failed.total += rows

    def refused(self, reason: str) -> None:
        """Count a request that was turned away."""
        self.tally.refused[reason].total += 1
