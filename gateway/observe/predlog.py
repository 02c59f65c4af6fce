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

import msgspec

from gateway.observe.segments import (
    DamagedSegmentError,
    Segment,
    merge,
    names_in,
    publish,
    replaced,
    sync_folder,
    table,
)
from gateway.predictions import read_frame, read_signature
from gateway.spool import closed_files, read_spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from gateway.predictions import Predictions

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
_TOLD_S: Final = 60.0
"""How long it stays a problem that rows were dropped."""


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
        self._spool = monitor / "spool" / "predictions"
        self._root = monitor / "predictions"
        self._keep_s = keep_s
        self._keep_bytes = keep_bytes
        self._clock = clock
        self._dropped_at = float("-inf")
        # Folders in which all that was replaced is known to be gone; none after a pass that was broken off.
        self._clean: set[Path] = set()
        self.dropped = 0
        """Rows that workers say they had to drop, since this process began."""

    def look(self) -> str | None:
        """Take what workers have closed, merge, and remove what is too old; returns what is wrong.

        Raises:
            OSError: there is no room; nothing is lost, and it is tried again.
        """
        closed = closed_files(self._spool, self._clock)
        for path in closed:
            self._take(path)
        if closed:
            sync_folder(self._spool)  # after a power loss none may be back whose rows are merged already
        folders = sorted(path for path in self._root.iterdir() if path.is_dir()) if self._root.is_dir() else []
        for folder in folders:
            try:
                self._tidy(folder)
            except DamagedSegmentError as error:
                _log.error("%s; it is put aside beside its folder", error)
                error.path.rename(self._root / f"{folder.name}-{error.path.name}.bad")
        self._retain(folders)
        if self._clock() - self._dropped_at < _TOLD_S:
            return f"{self.dropped} rows found no room in it: the disk is full or slow, or no observer ran"
        return None

    def _take(self, path: Path) -> None:
        """Make a segment of each model file that a spool file has rows of, and remove that."""
        by_model: dict[str, list[Predictions]] = defaultdict(list)
        for frame in read_spool(path):
            try:
                found = read_frame(frame)
            except ValueError as error:
                _log.error("%s: a frame is left out: %s", path, error)
            else:
                by_model[found.head.sha256].append(found)
        for sha256, frames in by_model.items():
            self._make(sha256, path.stem, frames)
        path.unlink()
        dropped = sum(frame.head.dropped for frames in by_model.values() for frame in frames)
        if dropped:
            self.dropped += dropped
            self._dropped_at = self._clock()

    def _make(self, sha256: str, spool: str, frames: list[Predictions]) -> None:
        try:
            signature = read_signature(self._root, sha256)
        except (FileNotFoundError, msgspec.MsgspecError) as error:
            _log.error("rows of %s are left out, nobody knows its columns: %s", sha256[:12], error)
            return
        times = [frame.head.time for frame in frames]
        start = int(min(times))
        name = Segment(start, int(max(times)) + 1 - start, spool.replace("-", "."))
        publish(self._root / sha256, name, (table(frame, signature) for frame in frames))

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

    def _retain(self, folders: list[Path]) -> None:
        paths = [(name.end, folder / str(name)) for folder in folders for name in names_in(folder)]
        total = 0
        for end, path in sorted(paths, reverse=True):
            total += path.stat().st_size
            if self._clock() - end >= self._keep_s or total > self._keep_bytes:
                path.unlink()


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
