"""What happens with a run besides its answers: it is counted, and its rows go to the drift monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.drift import DriftFeed
from gateway.metrics import CLOSED_BY, REFUSED_FOR, ROWS, SECONDS
from gateway.tally import CounterTally, HistogramTally

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gateway.engine import Engine
    from gateway.metrics import Metrics
    from gateway.settings import GatewaySettings

__all__ = ["GenerationObserver"]


class GenerationObserver:
    """The `BatchObserver` of one generation; its label sets appear at 0 when it is made."""

    def __init__(self, name: str, version: str, engine: Engine, metrics: Metrics, settings: GatewaySettings) -> None:
        labels = (name, "champion", version)
        self._rows = CounterTally(metrics.rows.labels(*labels))
        self._failed = CounterTally(metrics.failed_rows.labels(*labels))
        self._dropped = CounterTally(metrics.monitor_dropped.labels(*labels))
        self._batches = {reason: CounterTally(metrics.batches.labels(*labels, reason)) for reason in CLOSED_BY}
        self._refused = {reason: CounterTally(metrics.refused.labels(*labels, reason)) for reason in REFUSED_FOR}
        self._batch_rows = HistogramTally(metrics.batch_rows.labels(*labels), ROWS)
        self._run_seconds = HistogramTally(metrics.run_seconds.labels(*labels), SECONDS)
        self._queue_seconds = HistogramTally(metrics.queue_seconds.labels(*labels), SECONDS)
        self.feed = DriftFeed(
            engine.metadata.reference,
            classes=len(engine.metadata.signature.classes),
            window_rows=settings.drift_window_rows,
            horizon_s=settings.drift_horizon_s,
        )

    def ran(
        self,
        rows: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        *,
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
        self._dropped.total += self.feed.put(rows, scores)

    def failed(self, rows: int) -> None:
        """Count rows that have no answer."""
        self._failed.total += rows

    def refused(self, reason: str) -> None:
        """Count a request that was turned away."""
        self._refused[reason].total += 1

    def carry(self) -> None:
        """Bring the metrics up to date; called now and then, beside the request path."""
        for tally in (self._rows, self._failed, self._dropped, *self._batches.values(), *self._refused.values()):
            tally.carry()
        for histogram in (self._batch_rows, self._run_seconds, self._queue_seconds):
            histogram.carry()
