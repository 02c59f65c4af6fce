"""What workers have handed over of scored rows, for all who want it: a spool file goes once each of them has it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gateway.predictions import read_frame, read_signature
from gateway.spool import closed_files, read_spool
from gateway.store import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from converters.modelfile import Signature
    from gateway.predictions import Predictions

    # Is given a spool file's name, which no other one has ever had, and what it holds. After a crash it is given the
    # same again, which must change nothing; raises OSError to have it later.
    Taker = Callable[[str, Sequence["Batch"]], None]

__all__ = ["INTAKE_S", "Batch", "Intake"]

_log = logging.getLogger("hotgate.observe")

INTAKE_S: Final = 2.0
"""After which a look is over: alarms, and whoever stops the observer, wait no longer for a backlog."""
FAILURES_MAX: Final = 3
"""Files that could not be taken after which a look is over: it is not the file."""
_TOLD_S: Final = 60.0
"""How long it stays a problem that rows were dropped."""


class Batch(NamedTuple):
    """A frame, and the signature of its model file."""

    predictions: Predictions
    signature: Signature


class Intake:
    """Reads the workers' spool; only one process may do so at a time.

    Args:
        monitor: folder of what is known of the data.
        takers: who is given what is read, in this order.
        clock: wall time.
        timer: monotonic time, in seconds.
    """

    def __init__(
        self,
        monitor: Path,
        takers: Sequence[Taker],
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = monitor / "spool" / "predictions"
        self._signatures = monitor / "predictions"
        self._takers = takers
        self._clock = clock
        self._timer = timer
        self._dropped_at = float("-inf")
        self.dropped = 0
        """Rows that workers say they had to drop, since this process began."""

    @property
    def problem(self) -> str | None:
        """Whether rows were dropped within the last minute."""
        if self._clock() - self._dropped_at >= _TOLD_S:
            return None
        return f"{self.dropped} rows were not handed over: the disk is full or slow, or no observer ran"

    def look(self, most_s: float = INTAKE_S) -> bool:
        """Take in what workers have closed, for so many seconds; a file that cannot be taken holds up no other.

        Returns:
            Whether all of it was taken. A file that is left may have been taken by some takers before.

        Raises:
            OSError: a taker, or the disk, refuses; nothing is lost, and it is tried again.
        """
        closed = closed_files(self._spool, self._clock)
        refusals: list[Exception] = []
        begun, all_taken = self._timer(), True
        for path in closed:
            if self._timer() - begun >= most_s or len(refusals) == FAILURES_MAX:
                all_taken = False
                break
            try:
                self._take(path)
            except Exception as error:  # noqa: BLE001 - raised below, when the others have had their turn
                refusals.append(error)
        if closed:
            sync_folder(self._spool)  # after a power loss none may be back that takers no longer know
        if refusals:
            raise refusals[0]
        return all_taken

    def _take(self, path: Path) -> None:
        batches = self._read(path)
        if batches:
            for take in self._takers:
                take(path.stem, batches)
        path.unlink()
        self._count_dropped(batches)

    def _read(self, path: Path) -> list[Batch]:
        batches = []
        for frame in read_spool(path):
            try:
                found = read_frame(frame)
                batches.append(Batch(found, read_signature(self._signatures, found.head.sha256)))
            except (ValueError, FileNotFoundError, msgspec.MsgspecError) as error:
                _log.error("%s: a frame is left out: %s", path, error)
        return batches

    def _count_dropped(self, batches: Sequence[Batch]) -> None:
        dropped = sum(batch.predictions.head.dropped for batch in batches)
        if dropped:
            self.dropped += dropped
            self._dropped_at = self._clock()
