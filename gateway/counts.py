"""What workers have counted of each model file, on disk: any process adds it up, and none that dies takes it along.

    counts/<sha256>/reference.json                      what the counts were counted with
    counts/<sha256>/<start>-<seconds>-<id>.live         one process, one epoch; locked while that process writes it
    counts/<sha256>/<start>-<seconds>-<id>.fold         immutable: the sum of files that it names, and replaces

A live file holds two copies of its counts and a sequence number. A commit writes the copy that is not current and then
the number, in one aligned store of eight bytes: whatever kills the process, the file holds the counts of some commit,
whole. A file is free once nobody holds its lock, however its process ended; process ids are never looked at. What is
free is folded (`gateway.observe.folding`): a new file appears by a rename and names those that it replaces. From then
on they do not count, so it does not matter when they are removed. Names are never used twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import mmap
import os
import secrets
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from monitoring import Reference, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from monitoring import Counts

__all__ = [
    "EPOCH_S",
    "FileName",
    "Folded",
    "FoldedSpan",
    "LiveFile",
    "ModelCounts",
    "Served",
    "UnreadableCountsError",
    "find_counts",
    "find_versions",
    "folders_in",
    "free",
    "read_live",
    "unfold",
]

_log = logging.getLogger("hotgate.counts")

EPOCH_S: Final = 10
"""Seconds that one live file covers."""

_MAGIC: Final = int.from_bytes(b"hgcount1", "little")
_HEADER: Final = 8
"""Words of eight bytes: magic, cells, sequence number; the rest is room."""
_SEQUENCE: Final = 2
_LOOKS: Final = 100
"""How often a reader looks again while files come and go, or are committed, below its hands."""


class UnreadableCountsError(Exception):
    """A file is not what its name says; the text names both."""


class FileName(NamedTuple):
    """What a name tells: the wall clock's seconds that are covered, and a part that makes it unique."""

    start: int
    seconds: int
    unique: str
    kind: str

    @classmethod
    def of(cls, name: str) -> FileName | None:
        """Take a name apart; None for what is no file of counts."""
        stem, dot, kind = name.rpartition(".")
        parts = stem.split("-")
        if not dot or kind not in {"live", "fold"} or len(parts) != 3 or not (parts[0] + parts[1]).isdecimal():
            return None
        found = cls(int(parts[0]), int(parts[1]), parts[2], kind)
        return found if str(found) == name else None

    @classmethod
    def new(cls, start: int, seconds: int, kind: str) -> FileName:
        """A name that no file has had."""
        return cls(start, seconds, secrets.token_hex(8), kind)

    def __str__(self) -> str:
        """The name itself; names sort by time."""
        return f"{self.start:012d}-{self.seconds}-{self.unique}.{self.kind}"

    @property
    def end(self) -> int:
        """The first second that is not covered."""
        return self.start + self.seconds


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a folded file."""

    cells: int
    replaces: tuple[str, ...]
    packed: bytes
    """int64, little-endian, compressed."""
    check: int
    """CRC-32 of `packed`."""

    @classmethod
    def of(cls, counts: Counts, replaces: Iterable[str]) -> Folded:
        """Pack a sum and the names of what it replaces."""
        packed = zlib.compress(counts.astype("<i8").tobytes(), 1)
        return cls(cells=counts.size, replaces=tuple(replaces), packed=packed, check=zlib.crc32(packed))

    @property
    def counts(self) -> Counts:
        """The sum [cells], made anew at every look: many of these are held, and few looked at."""
        return np.frombuffer(zlib.decompress(self.packed), dtype="<i8")


class FoldedSpan(NamedTuple):
    """A span of the clock and its counts, which take their room only while they are looked at."""

    start: float
    length: float
    folded: Folded

    @property
    def counts(self) -> Counts:
        """As `Folded.counts`."""
        return self.folded.counts


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """Who a model file is to people."""

    model: str
    version: str
    since: float
    """When it began to serve last, in Unix time."""


class LiveFile:
    """The counts of one process for one epoch; one thread writes it.

    Raises:
        OSError: there is no room for it, or the folder cannot be written. Room is taken when it is made: a full disk
            fails here, and cannot kill the process by a signal later.
    """

    def __init__(self, folder: Path, start: int, cells: int, seconds: int = EPOCH_S) -> None:
        self.name = str(FileName.new(start, seconds, "live"))
        size = 8 * (_HEADER + 2 * cells)
        fresh = folder / f"{self.name}.new"
        self._file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self._file, 0, size)
            self._map = mmap.mmap(self._file, size)
            words = np.frombuffer(self._map, dtype=np.int64)
            words[:_SEQUENCE] = _MAGIC, cells
            fresh.rename(folder / self.name)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            os.close(self._file)
            raise
        self._sequence = words[_SEQUENCE : _SEQUENCE + 1]
        self._copies = words[_HEADER:].reshape(2, cells)

    def commit(self, counts: Counts) -> None:
        """Make these the file's counts: they outlive this process, though not the machine."""
        following = int(self._sequence[0]) + 1
        self._copies[following & 1] = counts
        self._sequence[0] = following

    def close(self) -> None:
        """Let the file go to whoever folds it; once only."""
        del self._sequence, self._copies
        with contextlib.suppress(BufferError):  # a view of it is still about, and its memory goes with that
            self._map.close()
        os.close(self._file)


def read_live(path: Path) -> Counts:
    """The counts of the last commit, while they may be written.

    Raises:
        FileNotFoundError: it is gone.
        UnreadableCountsError: it is no live file, or is written faster than it can be read.
    """
    with path.open("rb", buffering=0) as file:
        header = _words(file.fileno(), 0, _HEADER, path)
        cells = int(header[1])
        if header[0] != _MAGIC or os.fstat(file.fileno()).st_size != 8 * (_HEADER + 2 * cells):
            raise UnreadableCountsError(f"{path} is no file of counts, or is cut off")
        for _ in range(_LOOKS):
            before = int(_words(file.fileno(), _SEQUENCE, 1, path)[0])
            counts = _words(file.fileno(), _HEADER + (before & 1) * cells, cells, path)
            # After one more commit the next one writes into the copy that was just read.
            if before == _words(file.fileno(), _SEQUENCE, 1, path)[0]:
                return counts
    raise UnreadableCountsError(f"{path} is committed faster than it can be read")


def _words(descriptor: int, first: int, count: int, path: Path) -> Counts:
    data = os.pread(descriptor, 8 * count, 8 * first)
    if len(data) != 8 * count:
        raise UnreadableCountsError(f"{path} is cut off")
    return np.frombuffer(data, dtype=np.int64)


def unfold(path: Path) -> Folded:
    """What is in a folded file.

    Raises:
        FileNotFoundError: it is gone.
        UnreadableCountsError: it is damaged.
    """
    try:
        folded = msgspec.msgpack.decode(path.read_bytes(), type=Folded)
    except msgspec.MsgspecError as error:
        raise UnreadableCountsError(f"{path} is damaged: {error}") from error
    if zlib.crc32(folded.packed) != folded.check:
        raise UnreadableCountsError(f"{path} is damaged: its checksum is not {folded.check}")
    return folded


@contextlib.contextmanager
def free(path: Path) -> Iterator[bool]:
    """Whether nobody writes a live file; who enters holds its lock meanwhile.

    Raises:
        FileNotFoundError: it is gone.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


class ModelCounts:
    """The folder of one model file: what all processes have counted of it.

    Any number of threads and processes may use it at once; only `gateway.observe` removes anything.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unreadable: frozenset[str] = frozenset()

    def describe(self, reference: Reference) -> None:
        """Make the folder, and keep in it what its counts are counted with.

        Raises:
            OSError: it cannot be made.
        """
        path = self.folder / "reference.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._publish(path.name, msgspec.json.encode(reference))

    def fold(self, start: int, seconds: int, counts: Counts, replaces: Iterable[str]) -> None:
        """Put one file in the place of others, which no longer count from here on; for the one process that may.

        Raises:
            OSError: there is no room; nothing has changed.
        """
        folded = Folded.of(counts, replaces)
        self._publish(str(FileName.new(start, seconds, "fold")), msgspec.msgpack.encode(folded))

    def _publish(self, name: str, content: bytes) -> None:
        fresh = self.folder / f"{name}.{secrets.token_hex(8)}.new"
        try:
            with fresh.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self.folder / name)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise

    def tell_served(self, served: Served) -> None:
        """Note under which name and version the file begins to serve.

        Raises:
            OSError: it cannot be noted.
        """
        digest = hashlib.sha256(f"{served.model}\0{served.version}".encode()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._publish(f"served-{digest}.json", msgspec.json.encode(served))

    def served(self) -> list[Served]:
        """The names and versions under which the file has served, the last one first."""
        found = [msgspec.json.decode(path.read_bytes(), type=Served) for path in self.folder.glob("served-*.json")]
        return sorted(found, key=lambda served: served.since, reverse=True)

    def reference(self) -> Reference:
        """What the counts are counted with.

        Raises:
            FileNotFoundError: nothing was counted yet.
            msgspec.ValidationError: it was written by something else.
        """
        return msgspec.json.decode((self.folder / "reference.json").read_bytes(), type=Reference)

    def names(self, since: float = 0.0) -> list[FileName]:
        """All files that reach beyond `since`, oldest first; none if there is no folder."""
        try:
            found = [FileName.of(path.name) for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in found if name is not None and name.end > since)

    def spans(self, since: float = 0.0) -> list[Span | FoldedSpan]:
        """What was counted after `since`, over all processes; a file that begins before it comes whole.

        What no process has committed yet is not in it. A file that cannot be read is left out and told once.

        Raises:
            UnreadableCountsError: files come and go faster than they can be read.
        """
        for _ in range(_LOOKS):
            names = self.names(since)
            try:
                found = self._read(names)
            except FileNotFoundError:  # folded meanwhile: its counts are in a file that was not there before
                continue
            if self.names(since) == names:
                return found
        raise UnreadableCountsError(f"the files of {self.folder} change faster than they can be read")

    def _read(self, names: list[FileName]) -> list[Span | FoldedSpan]:
        found: dict[str, Span | FoldedSpan] = {}
        replaced: set[str] = set()
        unreadable = set()
        for name in names:
            path = self.folder / str(name)
            start, length = float(name.start), float(name.seconds)
            try:
                if name.kind == "live":
                    found[path.name] = Span(start, length, read_live(path))
                else:
                    folded = unfold(path)
                    found[path.name] = FoldedSpan(start, length, folded)
                    replaced.update(folded.replaces)
            except UnreadableCountsError as error:
                unreadable.add(path.name)
                if path.name not in self._unreadable:
                    _log.error("%s; its counts are left out", error)
        self._unreadable = frozenset(unreadable)
        return [span for name, span in found.items() if name not in replaced]


def find_counts(root: Path, model: str, version: str | None = None) -> tuple[Served, ModelCounts] | None:
    """The counts of a version of a model, or of the one that began to serve last; None if it never served.

    Args:
        root: the folder that holds one for each model file.
        model: its name.
        version: of the registry.
    """
    found = (pair for pair in find_versions(root, model) if version in {None, pair[0].version})
    return next(found, None)


def folders_in(root: Path) -> list[Path]:
    """The folders below one that holds a folder for each model file, sorted; none if there is no such folder."""
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def find_versions(root: Path, model: str) -> list[tuple[Served, ModelCounts]]:
    """The counts of all versions of a model, the one that began to serve last first; arguments as `find_counts`."""
    found = [
        (served, counts)
        for folder in folders_in(root)
        for counts in [ModelCounts(folder)]
        for served in counts.served()
        if served.model == model
    ]
    return sorted(found, key=lambda pair: pair[0].since, reverse=True)
