"""The prediction log: from the workers' spool to Parquet, few files instead of many, none too old; needs pyarrow.

Every row is in it once, whenever this process dies. A segment is named after the spool file that it is made of, which
is removed only then: if it is made again, it is written over. Segments are merged when no spool file is left that they
could be made of again, and a merged one names those that it replaces.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.counts import folders_in
from gateway.observe.segments import DamagedSegmentError, Segment, merge, names_in, publish, replaced
from gateway.observe.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from gateway.observe.intake import Batch

__all__ = ["LEVELS", "Level", "PredictionKeeper"]

_log = logging.getLogger("hotgate.observe")


class Level(NamedTuple):
    """Spans of `seconds`, each merged once it is over for `age` seconds."""

    seconds: int
    age: int


LEVELS: Final = (Level(3600, 20 * 60), Level(300, 60))
"""Coarsest first."""
MERGED_BYTES: Final = 128 * 2**20
"""No segment is merged to be larger."""


class PredictionKeeper:
    """Looks after `monitor/predictions` again and again; only one process may do so at a time.

    Args:
        monitor: folder of what is known of the data.
        keep_s: age from which on segments are removed.
        keep_bytes: what all segments may take; above it the oldest are removed.
        clock: wall time.
    """

    def __init__(
        self, monitor: Path, *, keep_s: float, keep_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._root = monitor / "predictions"
        self._keep_s = keep_s
        self._keep_bytes = keep_bytes
        self._clock = clock
        # Folders in which all that was replaced is known to be gone; none after a pass that was broken off.
        self._clean: set[Path] = set()

    def take(self, spool: str, batches: Sequence[Batch]) -> None:
        """Make a segment for each model file that a spool file has rows of; the same again if it comes again.

        Raises:
            OSError: there is no room.
        """
        by_model: dict[str, list[Batch]] = defaultdict(list)
        for batch in batches:
            by_model[batch.predictions.head.sha256].append(batch)
        for sha256, found in by_model.items():
            times = [batch.predictions.head.time for batch in found]
            start = int(min(times))
            name = Segment(start, int(max(times)) + 1 - start, spool.replace("-", "."))
            publish(self._root / sha256, name, (table(batch.predictions, batch.signature) for batch in found))

    def merge(self) -> None:
        """Make few segments of many; to be called when all that was closed in the spool has been taken.

        Raises:
            OSError: there is no room; nothing is lost, and it is tried again.
        """
        for folder in folders_in(self._root):
            try:
                self._tidy(folder)
            except DamagedSegmentError as error:
                _log.error("%s; it is put aside beside its folder", error)
                error.path.rename(self._root / f"{folder.name}-{error.path.name}.bad")

    def retain(self) -> None:
        """Remove what is too old, or too much.

        Raises:
            OSError: a segment cannot be removed.
        """
        paths = [(name.end, folder / str(name)) for folder in folders_in(self._root) for name in names_in(folder)]
        total = 0
        for end, path in sorted(paths, reverse=True):
            total += path.stat().st_size
            if self._clock() - end >= self._keep_s or total > self._keep_bytes:
                path.unlink()

    def _tidy(self, folder: Path) -> None:
        names = names_in(folder)
        if folder not in self._clean:
            _remove(folder, replaced(folder, names))
            names = names_in(folder)
        self._clean.discard(folder)
        sizes = {name: (folder / str(name)).stat().st_size for name in names}
        for group in _groups(sizes, self._clock(), min(MERGED_BYTES, self._keep_bytes // 8)):
            merge(folder, group)
            _remove(folder, group)
        self._clean.add(folder)


def _remove(folder: Path, names: Iterable[Segment]) -> None:
    for name in names:
        (folder / str(name)).unlink()


def _groups(sizes: dict[Segment, int], now: float, most_bytes: int) -> Iterator[list[Segment]]:
    """Segments to be merged: neighbours within a span that is over, as many as are small enough together."""
    spans: dict[tuple[int, int], list[Segment]] = defaultdict(list)
    for name in sorted(sizes):
        for level in LEVELS:
            start = name.start // level.seconds * level.seconds
            if now - (start + level.seconds) >= level.age:
                spans[level.seconds, start].append(name)
                break
    for names in spans.values():
        group: list[Segment] = []
        for name in names:
            if sum(sizes[member] for member in group) + sizes[name] > most_bytes:
                if len(group) > 1:
                    yield group
                group = []
            group.append(name)
        if len(group) > 1:
            yield group
