"""What happens with a run besides its answers: it is counted, and its rows go to the drift monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.drift import DriftFeed

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
        self._rows = metrics.rows.labels(*labels)
        self._failed = metrics.failed_rows.labels(*labels)
        self._batch_rows = metrics.batch_rows.labels(*labels)
        self._run_seconds = metrics.run_seconds.labels(*labels)
        self._queue_seconds = metrics.queue_seconds.labels(*labels)
        self._dropped = metrics.monitor_dropped.labels(*labels)
        self.feed = DriftFeed(
            engine.metadata.reference,
            window_rows=settings.drift_window_rows,
            horizon_s=settings.drift_horizon_s,
        )

    def ran(
        self, rows: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], *, took_s: float, waited_s: float
    ) -> None:
        """Count one run."""
        count = len(rows)
        self._rows.inc(count)
        self._batch_rows.observe(count)
        self._run_seconds.observe(took_s)
        self._queue_seconds.observe(waited_s)
        dropped = self.feed.put(rows, scores)
        if dropped:
            self._dropped.inc(dropped)

    def failed(self, rows: int) -> None:
        """Count rows that have no answer."""
        self._failed.inc(rows)
