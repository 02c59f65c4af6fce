"""From the request path to the counts on disk: rows are copied into a chunk, a thread counts them.

The event loop pays one copy a batch. If the thread falls behind, rows are dropped and counted; scoring never waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from converters.session import score_of
from gateway.countlog import CountLog
from gateway.counts import ModelCounts, Served
from gateway.verdicts import Judged, Window, add_up
from monitoring import RowCounter, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from converters.modelfile import Metadata
    from gateway.settings import GatewaySettings
    from gateway.store import Entry
    from monitoring import Counts, Reference

__all__ = ["DriftFeed", "DriftMonitor"]

_log = logging.getLogger("hotgate.drift")

_CHUNK_ROWS = 16_384
_INTERVAL_S = 0.1


class DriftFeed:
    """One generation's rows on their way to the counts of its model file, and the verdict on all that is counted there.

    Two chunks, one filling and one being counted.
    """

    def __init__(
        self,
        reference: Reference,
        counts: ModelCounts,
        *,
        classes: int,
        window: Window,
        clock: Callable[[], float] = time.time,
    ) -> None:
        width = len(reference.features)
        # `_lock` guards the filling chunk and its fill; `_counting` guards the log.
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._filling = _Chunk(width, classes)
        self._spare = _Chunk(width, classes)
        self.reference = reference
        self._counter = RowCounter(reference)
        self._shared = counts
        self._log = CountLog(counts, reference, self._counter.size, clock)
        self._window = window
        self.unshared = 0
        """Rows that were counted and that other processes cannot see; as of the last count."""

    def put(self, rows: npt.NDArray[np.float32], probabilities: npt.NDArray[np.float32]) -> int:
        """Copy a batch in; returns how many rows found no room."""
        asked = len(rows)
        with self._lock:
            chunk = self._filling
            start, end = chunk.used, chunk.used + len(rows)
            if end > _CHUNK_ROWS:
                end = _CHUNK_ROWS
                rows, probabilities = rows[: end - start], probabilities[: end - start]
            chunk.rows[start:end] = rows
            chunk.probabilities[start:end] = probabilities
            chunk.used = end
            return asked - (end - start)

    def count(self) -> None:
        """Count what has come; called from the monitor's thread, or by whoever wants a verdict now."""
        with self._counting:
            self._log.rotate()
            with self._lock:
                if not self._filling.used:
                    return
                full, self._filling = self._filling, self._spare
            try:
                scores = score_of(full.probabilities[: full.used])
                self._counter.add(self._log.current(), full.rows[: full.used], scores)
                self._log.commit()
                self.unshared = sum(self._counter.rows(span.counts) for span in self._log.unshared())
            finally:  # whatever it was, the two chunks stay two
                full.used = 0
                self._spare = full

    def verdict(self, horizon_s: float | None = None) -> Judged:
        """The verdict over the newest rows of all processes: this one's to the last, others' as last committed.

        Args:
            horizon_s: over all that was counted in so many seconds, instead of the window of the settings.

        Raises:
            UnreadableCountsError: as `ModelCounts.spans`.
        """
        since, total = self.total(horizon_s)
        return Judged(since, judge(self.reference, total))

    def total(self, horizon_s: float | None = None) -> tuple[float | None, Counts]:
        """When the verdict's window begins, and the counts in it; arguments and errors as there."""
        self.count()
        with self._counting:
            unshared, now = self._log.unshared(), self._log.now
        window = self._window if horizon_s is None else Window(horizon_s)
        return add_up(self._shared, self.reference, window, now=now, unshared=unshared)

    def close(self) -> None:
        """Count what is left, and let go; nothing may be put in any more."""
        self.count()
        with self._counting:
            self._log.close()


class _Chunk:
    def __init__(self, width: int, classes: int) -> None:
        self.rows = np.empty((_CHUNK_ROWS, width), dtype=np.float32)
        self.probabilities = np.empty((_CHUNK_ROWS, classes), dtype=np.float32)
        self.used = 0


class DriftMonitor:
    """All feeds of a worker, and the thread that counts for them.

    Args:
        folder: where counts are shared, a folder in it for each model file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            for feed in self._feeds:
                try:
                    feed.count()
                except Exception:  # noqa: BLE001 - the root of the thread: one bad feed must not end the others'
                    _log.exception("counting failed")
            self._close()

    def _close(self) -> None:
        while self._closing:
            try:
                self._closing.popleft().close()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("the last count failed")
