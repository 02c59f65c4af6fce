"""Few files instead of many: what processes have let go is added up, the more coarsely the older it is.

Every step leaves the sum as it was, whenever this process dies: a folded file appears whole, names what it replaces,
and only then are those removed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.counts import EPOCH_S, UnreadableCountsError, free, read_live, unfold

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.counts import FileName, ModelCounts
    from monitoring import Counts

__all__ = ["KEEP_S", "LEVELS", "Folding", "Level"]

_log = logging.getLogger("hotgate.observe")


class Level(NamedTuple):
    """Spans of `seconds`, for what is at least `age` seconds old."""

    seconds: int
    age: int


LEVELS: Final = (Level(3600, 7 * 3600), Level(300, 20 * 60), Level(EPOCH_S, 0))
"""Coarsest first: a horizon of 15 minutes is cut at 10 s, one of 6 hours at 5 minutes, one of 7 days at an hour."""
KEEP_S: Final = 8 * 86_400
"""Age from which on counts are dropped."""
_STALE_S: Final = 3600
"""Age from which on an unfinished file is nobody's: writing one takes milliseconds."""


class Folding:
    """Folds one model's folder, again and again; only one process may do so at a time.

    Args:
        counts: the folder.
    """

    def __init__(self, counts: ModelCounts) -> None:
        self._counts = counts
        self._folder = counts.folder
        # Whether all that was replaced is known to be gone; not so after a pass, or a process, that was broken off.
        self._clean = False

    def look(self, now: float) -> int:
        """Fold what nobody writes any more, drop what is too old; returns how many files are gone.

        Files that need nothing are not read.

        Args:
            now: wall clock, in seconds.

        Raises:
            OSError: there is no room, or the folder cannot be written; what was there still counts, once.
        """
        removed = 0 if self._clean else self._remove_replaced()
        self._clean = False
        buckets: dict[tuple[int, int], list[FileName]] = defaultdict(list)
        for name in self._counts.names():
            if name.kind == "live" and not self._is_free(name):
                continue
            if now - name.end >= KEEP_S:
                removed += self._remove({str(name)})
            else:
                buckets[_bucket(name, now)].append(name)
        for (start, seconds), names in sorted(buckets.items()):
            if len(names) > 1 or names[0].kind == "live" or names[0].seconds < seconds:
                removed += self._fold(start, seconds, names)
        _sweep(self._folder, now)
        self._clean = True
        return removed

    def _is_free(self, name: FileName) -> bool:
        with free(self._folder / str(name)) as is_free:
            return is_free

    def _fold(self, start: int, seconds: int, names: list[FileName]) -> int:
        found = {str(name): counts for name in names if (counts := self._read(name)) is not None}
        if not found:
            return 0
        first, *others = found.values()
        self._counts.fold(start, seconds, sum(others, start=first), found)
        return self._remove(set(found))

    def _read(self, name: FileName) -> Counts | None:
        """A file's counts; what cannot be read is put aside."""
        path = self._folder / str(name)
        try:
            return read_live(path) if name.kind == "live" else unfold(path).counts
        except UnreadableCountsError as error:
            _log.error("%s; it is put aside as %s.bad", error, path.name)
            path.rename(path.with_name(f"{path.name}.bad"))
            return None

    def _remove_replaced(self) -> int:
        names = self._counts.names()
        replaced: set[str] = set()
        for name in names:
            if name.kind == "fold":
                try:
                    replaced.update(unfold(self._folder / str(name)).replaces)
                except UnreadableCountsError:
                    self._read(name)
        return self._remove(replaced & {str(name) for name in names})

    def _remove(self, names: set[str]) -> int:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
        return len(names)


def _bucket(name: FileName, now: float) -> tuple[int, int]:
    """Start and length of the span that a file belongs to: the coarsest that is old enough as a whole."""
    for level in LEVELS:
        start = name.start // level.seconds * level.seconds
        if now - (start + level.seconds) >= level.age and name.end <= start + level.seconds:
            return start, level.seconds
    return name.start, name.seconds


def _sweep(folder: Path, now: float) -> None:
    """Remove what a process that was killed while it wrote has left."""
    for path in folder.glob("*.new"):
        try:
            if now - path.stat().st_mtime >= _STALE_S:
                path.unlink()
        except FileNotFoundError:
            continue
