"""What one process counts of one model file: epoch by epoch, each in a live file of its own."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.counts import EPOCH_S, LiveFile
from monitoring import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.counts import ModelCounts
    from monitoring import Counts, Reference

__all__ = ["CountLog"]

_log = logging.getLogger("hotgate.counts")

KEPT_SPANS: Final = 36
"""Most spans that are kept in memory while there is no room for them on disk; older ones become longer ones."""


class CountLog:
    """Counts of the current epoch, committed to a file that other processes read; one thread at a time uses it.

    Epochs lie on the wall clock, so that those of all processes are the same. If the clock is set back, an earlier
    epoch goes on in a new file. Where a file cannot be had, counts are kept in memory, which is told, and go to disk as
    soon as there is room.
    """

    def __init__(
        self, shared: ModelCounts, reference: Reference, cells: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._shared = shared
        self._reference = reference
        self._cells = cells
        self._clock = clock
        self._start: int | None = None
        self._counts: Counts = np.zeros(cells, dtype=np.int64)
        self._file: LiveFile | None = None
        self._kept: list[Span] = []
        self._told = False

    def __repr__(self) -> str:
        """For operators: where the counts are."""
        return f"CountLog({self._shared.folder.name[:12]}, start={self._start}, kept={len(self._kept)})"

    @property
    def now(self) -> int:
        """Start of the current epoch, in seconds."""
        return math.floor(self._clock() / EPOCH_S) * EPOCH_S

    def current(self) -> Counts:
        """The current epoch's counts [cells], to be added to and then committed."""
        self.rotate()
        if self._start is None:
            self._start = self.now
            self._counts = np.zeros(self._cells, dtype=np.int64)
            self._file = self._open(self._start, EPOCH_S)
            if self._file is not None:
                self._store_kept()
        return self._counts

    def commit(self) -> None:
        """Show others what was added."""
        if self._file is not None:
            self._file.commit(self._counts)

    def rotate(self) -> None:
        """Let an epoch go that is over; called now and then also while nothing is counted."""
        if self._start is not None and self._start != self.now:
            self._end()

    def close(self) -> None:
        """Let the current epoch go, and try once more to store what is kept."""
        if self._start is not None:
            self._end()
        self._store_kept()

    def unshared(self) -> list[Span]:
        """What other processes cannot see."""
        if self._start is None or self._file is not None:
            return list(self._kept)
        return [*self._kept, Span(float(self._start), float(EPOCH_S), self._counts.copy())]

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
        elif self._start is not None:
            self._keep(Span(float(self._start), float(EPOCH_S), self._counts))
        self._start = self._file = None

    def _keep(self, span: Span) -> None:
        self._kept.append(span)
        if len(self._kept) > KEPT_SPANS:
            first, second, *others = sorted(self._kept, key=lambda kept: kept.start)
            length = max(first.start + first.length, second.start + second.length) - first.start
            self._kept = [Span(first.start, length, first.counts + second.counts), *others]

    def _store_kept(self) -> None:
        while self._kept:
            start, length, counts = self._kept[0]
            file = self._open(int(start), int(length))
            if file is None:
                return
            file.commit(counts)
            file.close()
            del self._kept[0]

    def _open(self, start: int, seconds: int) -> LiveFile | None:
        try:
            self._shared.describe(self._reference)
            file = LiveFile(self._shared.folder, start, self._cells, seconds)
        except OSError as error:
            if not self._told:
                _log.error("counts for drift stay in this process, others do not see them: %s", error)
            self._told = True
            return None
        if self._told:
            _log.info("counts for drift are on disk again")
        self._told = False
        return file
