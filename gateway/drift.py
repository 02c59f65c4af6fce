"""A worker's drift monitor: the feeds of all its generations, and the one thread that counts what they hold."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from gateway.counts import ModelCounts, Served
from gateway.feed import DriftFeed, NoFeed
from gateway.losses import LossFile
from gateway.verdicts import Window

if TYPE_CHECKING:
    from pathlib import Path

    from converters.modelfile import Metadata
    from gateway.columns import ColumnRows
    from gateway.feed import Feed
    from gateway.predictionlog import PredictionLog
    from gateway.settings import GatewaySettings
    from gateway.store import Entry

__all__ = ["DriftMonitor"]

_log = logging.getLogger("hotgate.drift")

_INTERVAL_S = 0.1


class DriftMonitor:
    """All feeds of a worker, and the thread that counts for them.

    Args:
        folder: where counts are shared, a folder in it for each model file.
        log: the prediction log, if there is one; used and closed here.
    """

    def __init__(self, folder: Path, log: PredictionLog | None = None) -> None:
        self.folder = folder
        self._log = log
        self._feeds: list[DriftFeed] = []
        self._closing: deque[DriftFeed] = deque()
        self._losses = LossFile(folder.parent / "losses")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(
        self,
        entry: Entry,
        model: str,
        metadata: Metadata,
        settings: GatewaySettings,
        columns: ColumnRows | None = None,
    ) -> Feed:
        """Begin to count for one generation of a model, for `columns` too, unless the settings say no."""
        if not settings.monitoring:
            return NoFeed(metadata.reference)
        counts = ModelCounts(self.folder / entry.sha256)
        try:
            counts.describe(metadata.reference)
            counts.tell_served(Served(model=model, version=entry.version, since=time.time()))
        except OSError as error:
            _log.error("alarms of %s version %s will not know its name: %s", model, entry.version, error)
        feed = DriftFeed(
            metadata,
            counts,
            window=Window(settings.drift_horizon_s, settings.drift_window_rows),
            most_rows=settings.max_batch_rows,
            columns=columns,
            predictions=self._log.open(entry, model, metadata.signature) if self._log is not None else None,
        )
        self._feeds = [*self._feeds, feed]
        return feed

    def close(self, feed: Feed) -> None:
        """Have the thread count what is left of a generation that is gone, and no more: a disk may be slow."""
        self._closing.extend(own for own in self._feeds if own is feed)
        self._feeds = [other for other in self._feeds if other is not feed]

    def start(self) -> None:
        """Start the thread; a second start raises."""
        if self._thread is not None:
            raise RuntimeError("the drift monitor runs already")
        self._thread = threading.Thread(target=self._run, name="hotgate-drift", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and count what is left; stopping twice is no error."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._closing.extend(self._feeds)
        self._feeds = []
        self._close()
        if self._log is not None:
            self._log.close()
        self._losses.remove()

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            for feed in self._feeds:
                try:
                    feed.count()
                except Exception:  # noqa: BLE001 - the root of the thread: one bad feed must not end the others'
                    _log.exception("counting failed")
            self._close()
            if self._log is not None:
                self._log.rotate()
            self._losses.tell(self._feeds)

    def _close(self) -> None:
        while self._closing:
            feed = self._closing.popleft()
            try:
                feed.close()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("the last count failed")
            self._losses.let_go(feed)  # what the last count lost, too
