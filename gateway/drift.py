"""From the request path to the counts on disk and the prediction log: rows are copied into a chunk, a thread goes on.

The request path pays one copy a batch. If the thread falls behind, rows are dropped and counted; scoring never waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from converters.session import score_of
from gateway.countlog import CountLog
from gateway.counts import ModelCounts, Served
from gateway.verdicts import Window, judge_window
from monitoring import RowCounter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from converters.modelfile import Metadata
    from gateway.predictionlog import PredictionFeed, PredictionLog
    from gateway.settings import GatewaySettings
    from gateway.store import Entry
    from gateway.tickets import Member, Origin
    from gateway.verdicts import Judged
    from monitoring import Reference

__all__ = ["DriftFeed", "DriftMonitor"]

_log = logging.getLogger("hotgate.drift")

_CHUNK_ROWS = 16_384
_INTERVAL_S = 0.1
_origin = attrgetter("origin")


class DriftFeed:
    """One generation's rows on their way to the counts of its model file, and the verdict on all that is counted there.

    Two chunks, one filling and one being counted; what is counted is logged, by `predictions` if there is one.
    """

    def __init__(
        self,
        reference: Reference,
        counts: ModelCounts,
        *,
        classes: int,
        window: Window,
        most_rows: int = _CHUNK_ROWS,
        predictions: PredictionFeed | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        width = len(reference.features)
        room = max(_CHUNK_ROWS, most_rows)
        # `_lock` guards the filling chunk and its fill; `_counting` guards the log.
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._filling = _Chunk(room, width, classes)
        self._spare = _Chunk(room, width, classes)
        self._predictions = predictions
        self._reference = reference
        self._counter = RowCounter(reference)
        self._shared = counts
        self._log = CountLog(counts, reference, self._counter.size, clock)
        self._window = window
        self.unshared = 0
        """Rows that were counted and that other processes cannot see; as of the last count."""

    @property
    def unlogged(self) -> int:
        """Rows that the prediction log should hold and does not."""
        return self._predictions.dropped if self._predictions is not None else 0

    def put(
        self, rows: npt.NDArray[np.float32], probabilities: npt.NDArray[np.float32], members: Sequence[Member]
    ) -> int:
        """Copy a batch in, or nothing of it; returns how many rows found no room."""
        count = len(rows)
        with self._lock:
            chunk = self._filling
            start, end = chunk.used, chunk.used + count
            if end > len(chunk.rows):
                if self._predictions is not None:
                    self._predictions.overrun += count
                return count
            chunk.rows[start:end] = rows
            chunk.probabilities[start:end] = probabilities
            if self._predictions is not None:
                chunk.origins.extend(map(_origin, members))
            chunk.used = end
        return 0

    def count(self) -> None:
        """Count what has come; called from the monitor's thread, or by whoever wants a verdict now."""
        with self._counting:
            self._log.rotate()
            with self._lock:
                if not self._filling.used:
                    return
                full, self._filling = self._filling, self._spare
            try:
                self._take(full.rows[: full.used], full.probabilities[: full.used], full.origins)
            finally:  # whatever it was, the two chunks stay two
                full.used, full.origins = 0, []
                self._spare = full

    def _take(
        self, rows: npt.NDArray[np.float32], probabilities: npt.NDArray[np.float32], origins: list[Origin]
    ) -> None:
        try:
            self._counter.add(self._log.current(), rows, score_of(probabilities))
            self._log.commit()
            self.unshared = sum(self._counter.rows(span.counts) for span in self._log.unshared())
        finally:
            if self._predictions is not None:
                self._predictions.append(rows, probabilities, origins)

    def verdict(self, horizon_s: float | None = None) -> Judged:
        """The verdict over the newest rows of all processes: this one's to the last, others' as last committed.

        Args:
            horizon_s: over all that was counted in so many seconds, instead of the window of the settings.

        Raises:
            UnreadableCountsError: as `ModelCounts.spans`.
        """
        self.count()
        with self._counting:
            unshared, now = self._log.unshared(), self._log.now
        window = self._window if horizon_s is None else Window(horizon_s)
        return judge_window(self._shared, self._reference, window, now=now, unshared=unshared)

    def close(self) -> None:
        """Count what is left, and let go; nothing may be put in any more."""
        self.count()
        with self._counting:
            self._log.close()


class _Chunk:
    def __init__(self, room: int, width: int, classes: int) -> None:
        self.rows = np.empty((room, width), dtype=np.float32)
        self.probabilities = np.empty((room, classes), dtype=np.float32)
        self.used = 0
        self.origins: list[Origin] = []


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
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, entry: Entry, model: str, metadata: Metadata, settings: GatewaySettings) -> DriftFeed:
        """Begin to count for one generation of a model."""
        counts = ModelCounts(self.folder / entry.sha256)
        try:
            counts.describe(metadata.reference)
            counts.tell_served(Served(model=model, version=entry.version, since=time.time()))
        except OSError as error:
            _log.error("alarms of %s version %s will not know its name: %s", model, entry.version, error)
        feed = DriftFeed(
            metadata.reference,
            counts,
            classes=len(metadata.signature.classes),
            window=Window(settings.drift_horizon_s, settings.drift_window_rows),
            most_rows=settings.max_batch_rows,
            predictions=self._log.open(entry, model, metadata.signature) if self._log is not None else None,
        )
        self._feeds = [*self._feeds, feed]
        return feed

    def close(self, feed: DriftFeed) -> None:
        """Have the thread count what is left of a generation that is gone, and no more: a disk may be slow."""
        self._feeds = [other for other in self._feeds if other is not feed]
        self._closing.append(feed)

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

    def _close(self) -> None:
        while self._closing:
            try:
                self._closing.popleft().close()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("the last count failed")
