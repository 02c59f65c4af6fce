"""From the request path to the counts on disk and the prediction log: rows are copied into a chunk, a thread goes on.

The request path pays one copy a batch. If the thread falls behind, rows are dropped and counted; scoring never waits.
"""

from __future__ import annotations

import threading
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from converters.answers import label_of, score_of
from gateway.countlog import CountLog
from gateway.errors import NotFound
from gateway.verdicts import Judged, Window, add_up
from monitoring import RowCounter, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from converters.modelfile import Metadata, Signature
    from gateway.columns import ColumnRows
    from gateway.counts import ModelCounts
    from gateway.predictionlog import PredictionFeed
    from gateway.rows import Texts
    from gateway.tickets import Member, Origin
    from monitoring import Counts, Reference

__all__ = ["DriftFeed", "Feed", "NoFeed"]

_CHUNK_ROWS = 16_384
_CHUNK_BYTES = 8 * 2**20
"""What a chunk's rows may take: with more than 128 features it has fewer of them."""
_origin = attrgetter("origin")


class Feed(Protocol):
    """Takes the rows of one generation."""

    @property
    def reference(self) -> Reference:
        """What they are held against."""

    @property
    def unshared(self) -> int:
        """Rows that were counted and that other processes cannot see."""

    @property
    def unlogged(self) -> int:
        """Rows that the prediction log should hold and does not."""

    def put(
        self,
        rows: npt.NDArray[np.floating[Any]],
        scores: npt.NDArray[np.float32],
        members: Sequence[Member],
        texts: Texts | None = None,
    ) -> int:
        """Copy a batch in; returns how many rows found no room."""

    def count(self) -> None:
        """Count what has come."""

    def verdict(self, horizon_s: float | None = None) -> Judged:
        """The verdict over the newest rows of all processes."""

    def total(self, horizon_s: float | None = None) -> tuple[float | None, Counts]:
        """When the verdict's window begins, and the counts in it."""


class NoFeed:
    """Where nothing is monitored."""

    unshared = unlogged = 0

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    def put(
        self,
        rows: npt.NDArray[np.floating[Any]],
        scores: npt.NDArray[np.float32],
        members: Sequence[Member],
        texts: Texts | None = None,
    ) -> int:
        """Leave them; none is lost that anybody wanted."""
        del rows, scores, members, texts
        return 0

    def count(self) -> None:
        """There is nothing to count."""

    def verdict(self, horizon_s: float | None = None) -> Judged:
        """There is none; as `total`."""
        self.total(horizon_s)

    def total(self, horizon_s: float | None = None) -> NoReturn:
        """There is none.

        Raises:
            NotFound: always, with the cure.
        """
        del horizon_s
        raise NotFound("nothing is monitored: `[gateway] monitoring` is false")


class DriftFeed:
    """One generation's rows on their way to the counts of its model file, and the verdict on all that is counted there.

    Two chunks, one filling and one being counted; what is counted is logged, by `predictions` if there is one.
    """

    def __init__(
        self,
        metadata: Metadata,
        counts: ModelCounts,
        *,
        window: Window,
        most_rows: int = _CHUNK_ROWS,
        columns: ColumnRows | None = None,
        predictions: PredictionFeed | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        reference, self._signature = metadata.reference, metadata.signature
        row_bytes = np.dtype(self._signature.dtype).itemsize * len(self._signature.columns)
        room = max(min(_CHUNK_ROWS, _CHUNK_BYTES // row_bytes), most_rows)
        # `_lock` guards the filling chunk and its fill; `_counting` guards the log.
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        logged_texts = len(self._signature.texts) if predictions is not None else 0
        self._filling = _Chunk(room, self._signature, logged_texts)
        self._spare = _Chunk(room, self._signature, logged_texts)
        self._predictions = predictions
        self._columns = columns
        self.reference = reference
        self._counter = RowCounter(reference)
        self._shared = counts
        self._log = CountLog(counts, reference, self._counter.size, clock)
        self._window = window
        self.dropped = 0
        """Rows that found no room."""
        self.unshared = 0
        """Rows that were counted and that other processes cannot see; as of the last count."""

    @property
    def sha256(self) -> str:
        """Of the model file."""
        return self._shared.folder.name

    @property
    def unlogged(self) -> int:
        """Rows that the prediction log should hold and does not."""
        return self._predictions.dropped if self._predictions is not None else 0

    def put(
        self,
        rows: npt.NDArray[np.floating[Any]],
        scores: npt.NDArray[np.float32],
        members: Sequence[Member],
        texts: Texts | None = None,
    ) -> int:
        """Copy a batch in, or nothing of it; returns how many rows found no room."""
        count = len(rows)
        with self._lock:
            chunk = self._filling
            start, end = chunk.used, chunk.used + count
            if end > len(chunk.rows):
                self.dropped += count
                if self._predictions is not None:
                    self._predictions.overrun += count
                return count
            chunk.rows[start:end] = rows
            chunk.scores[start:end] = scores
            if self._predictions is not None:
                chunk.origins.extend(map(_origin, members))
                if chunk.texts is not None:
                    chunk.texts[start:end] = texts
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
                self._take(full)
            finally:  # whatever it was, the two chunks stay two
                full.clear()
                self._spare = full

    def _take(self, chunk: _Chunk) -> None:
        rows, scores, texts = chunk.content()
        try:
            block = self._counter.zeros()
            self._counter.add(block, rows, score_of(self._signature, scores), label_of(self._signature, scores))
            counts = self._log.current()
            counts += block
            self._log.commit()
            if self._columns is not None:
                self._columns.add(block)
            self.unshared = sum(self._counter.rows(span.counts) for span in self._log.unshared())
        finally:
            if self._predictions is not None:
                self._predictions.append(rows, scores, chunk.origins, texts)

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
    def __init__(self, room: int, signature: Signature, texts: int) -> None:
        self.rows = np.empty((room, len(signature.columns)), dtype=signature.dtype)
        self.scores = np.empty((room, signature.width), dtype=np.float32)
        # Those that the log wants: what is counted of a text stands among the rows.
        self.texts: Texts | None = np.full((room, texts), "", dtype=object) if texts else None
        self.used = 0
        self.origins: list[Origin] = []

    def content(self) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.float32], Texts | None]:
        texts = None if self.texts is None else self.texts[: self.used]
        return self.rows[: self.used], self.scores[: self.used], texts

    def clear(self) -> None:
        if self.texts is not None:
            self.texts[: self.used] = ""  # long ones must not stay in memory until others come
        self.used, self.origins = 0, []
