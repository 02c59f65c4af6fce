"""From the request path to the drift window: rows are copied into a chunk, a thread counts them.

The event loop pays one copy a batch. If the thread falls behind, rows are dropped and counted; scoring never waits.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import numpy as np

from converters.session import score_of
from monitoring import DriftWindow

if TYPE_CHECKING:
    import numpy.typing as npt

    from monitoring import ModelDrift, Reference

__all__ = ["DriftFeed", "DriftMonitor"]

_log = logging.getLogger("hotgate.drift")

_CHUNK_ROWS = 16_384
_INTERVAL_S = 0.1


class DriftFeed:
    """One generation's rows on their way to its window; two chunks, one filling and one being counted."""

    def __init__(self, reference: Reference, *, classes: int, window_rows: int, horizon_s: float) -> None:
        width = len(reference.features)
        self.dropped = 0
        # `_lock` guards the filling chunk and its fill; `_counting` guards the window.
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._filling = _Chunk(width, classes)
        self._spare = _Chunk(width, classes)
        self._window = DriftWindow(reference, window_rows=window_rows, horizon_s=horizon_s)

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
            with self._lock:
                if not self._filling.used:
                    return
                full, self._filling = self._filling, self._spare
            self._window.add(full.rows[: full.used], score_of(full.probabilities[: full.used]))
            full.used = 0
            self._spare = full

    def verdict(self) -> ModelDrift:
        """The verdict over the newest rows, including those that came just now."""
        self.count()
        with self._counting:
            return self._window.verdict()


class _Chunk:
    def __init__(self, width: int, classes: int) -> None:
        self.rows = np.empty((_CHUNK_ROWS, width), dtype=np.float32)
        self.probabilities = np.empty((_CHUNK_ROWS, classes), dtype=np.float32)
        self.used = 0


class DriftMonitor:
    """The thread that counts for all feeds of a worker."""

    def __init__(self) -> None:
        self._feeds: list[DriftFeed] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, feed: DriftFeed) -> None:
        """Count for one more feed."""
        self._feeds = [*self._feeds, feed]

    def remove(self, feed: DriftFeed) -> None:
        """Stop counting for a feed whose generation is gone."""
        self._feeds = [other for other in self._feeds if other is not feed]

    def start(self) -> None:
        """Start the thread; a second start raises."""
        if self._thread is not None:
            raise RuntimeError("the drift monitor runs already")
        self._thread = threading.Thread(target=self._run, name="hotgate-drift", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop and join; stopping twice is no error."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            for feed in self._feeds:
                try:
                    feed.count()
                except Exception:  # noqa: BLE001 - the root of the thread: one bad feed must not end the others'
                    _log.exception("counting failed")
