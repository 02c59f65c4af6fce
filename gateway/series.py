"""Counts of model versions: in files that all workers of a server share, and that go when the version is gone.

prometheus_client keeps one file a process for all its series and can take none out of it, while every swap brings new
ones. So each version has a folder of its own, with files in prometheus_client's format:

    <root>/<model and role>-<version>/used       locked, shared, by every worker that counts in the folder
    <root>/<model and role>-<version>/*_<pid>.db one a worker and kind; it stays when the worker dies

A folder that nobody counts in is dropped some time later, whole, by one rename: the sum over the workers ends, it never
goes down. A version that comes back before that goes on counting where it stopped, after that from 0.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.columns import ColumnRows, render_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client import Metric

    from monitoring import Reference

__all__ = ["KEEP_PAST", "KEEP_S", "LABELS", "Family", "Value", "VersionSeries", "Versions"]

KEEP_S = 600.0
"""How long the last values of a version stand after nobody counts for it: ten scrapes a minute apart."""
KEEP_PAST = 10
"""Of how many past versions of a model they stand, so that no pace of swaps fills memory and scrapes."""
LABELS = ("model", "role", "version")

_FILE_BYTES = 16 * 1024
"""Of a new file, which prometheus_client doubles when it is full: what one version needs."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that every version has."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    """A gauge is the sum over live workers."""
    help: str
    labels: tuple[str, ...] = ()
    """Besides `LABELS`."""
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets, without infinity."""


class Value:
    """One number in a file; written by one thread, read by any process."""

    __slots__ = ("_file", "_key", "_value")

    def __init__(self, file: MmapedDict, key: str) -> None:
        self._file = file
        self._key = key
        self._value: float = file.read_value(key)[0]  # type: ignore[no-untyped-call]  # nothing there is annotated

    def inc(self, amount: float) -> None:
        """Add to it."""
        self.set(self._value + amount)

    def set(self, value: float) -> None:
        """Replace it."""
        self._value = value
        self._file.write_value(self._key, value, 0.0)  # type: ignore[no-untyped-call]  # as above


class VersionSeries:
    """What this process counts for one version; made by `Versions.open`, once for all that count for the version."""

    def __init__(self, folder: Path, labels: tuple[str, str, str], pid: int) -> None:
        self.users = 0
        self._folder = folder
        self._labels = labels
        self._pid = pid
        self._used = _claim(folder)
        self._files: dict[str, MmapedDict] = {}
        self._values: dict[tuple[str, tuple[str, ...]], Value] = {}
        self._columns: dict[str, ColumnRows] = {}

    def columns(self, sha256: str, reference: Reference, features: int | Sequence[str]) -> ColumnRows:
        """The rows by group of a model file that is this version; arguments as for `ColumnRows`."""
        if sha256 not in self._columns:
            labels = dict(zip(LABELS, self._labels, strict=True))
            self._columns[sha256] = ColumnRows(self._folder, labels, sha256, reference, features, self._pid)
        return self._columns[sha256]

    def value(self, family: Family, *labels: str) -> Value:
        """The value of a counter or gauge."""
        suffix = "_total" if family.kind == "counter" else ""
        return self._value(family, suffix, family.labels, labels)

    def histogram(self, family: Family) -> tuple[list[Value], Value]:
        """The values of a histogram: each bucket's own count, infinity's last, and the sum."""
        bounds = (*family.bounds, float("inf"))
        shown = [floatToGoString(bound) for bound in bounds]  # type: ignore[no-untyped-call]  # nor here
        buckets = [self._value(family, "_bucket", ("le",), (bound,)) for bound in shown]
        return buckets, self._value(family, "_sum", (), ())

    def _value(self, family: Family, suffix: str, names: tuple[str, ...], labels: tuple[str, ...]) -> Value:
        name = family.name + suffix
        if (name, labels) not in self._values:
            values = [*self._labels, *labels]
            key = mmap_key(family.name, name, [*LABELS, *names], values, family.help)
            self._values[name, labels] = Value(self._file(family.kind), key)
        return self._values[name, labels]

    def _file(self, kind: str) -> MmapedDict:
        if kind not in self._files:
            prefix = "gauge_livesum" if kind == "gauge" else kind
            path = self._folder / f"{prefix}_{self._pid}.db"
            if not path.exists():  # an empty file, which prometheus_client would make first, breaks a scrape
                fresh = path.with_suffix(".new")
                with fresh.open("wb") as file:
                    file.truncate(_FILE_BYTES)
                fresh.rename(path)
            self._files[kind] = MmapedDict(path)  # type: ignore[no-untyped-call]  # nor here
        return self._files[kind]

    def touch(self, now: float) -> None:
        """Note when it was last counted in, for whoever finds the folder after this process was killed."""
        os.utime(self._used, (now, now))

    def close(self, now: float) -> None:
        """Leave the folder, whose values stay."""
        self.touch(now)
        for columns in self._columns.values():
            columns.close()
        for file in self._files.values():
            file.close()  # type: ignore[no-untyped-call]  # nor here
        os.close(self._used)


class Versions(Collector):
    """All versions' series of one server; each of its workers has one of these on the same folder.

    Args:
        root: the folder, made at need.
        clock: wall time, which the workers share.
        pid: under which this worker counts; its own.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time, pid: int | None = None) -> None:
        self._root = root
        self._clock = clock
        self._pid = os.getpid() if pid is None else pid
        self._open: dict[tuple[str, str, str], VersionSeries] = {}

    def open(self, model: str, role: str, version: str) -> VersionSeries:
        """Count for a version until it is given to `release`."""
        labels = model, role, version
        series = self._open.get(labels)
        if series is None:
            key = f"{_digest(model, role)}-{_digest(version)}"
            series = self._open[labels] = VersionSeries(self._root / key, labels, self._pid)
            self._touch()
        series.users += 1
        return series

    def release(self, series: VersionSeries) -> None:
        """Count no more; after the last one that did, the values stand for `KEEP_S` at most."""
        series.users -= 1
        if not series.users:
            self._open = {labels: other for labels, other in self._open.items() if other is not series}
            series.close(self._clock())
            self.sweep()

    def sweep(self) -> None:
        """Drop the folders in which nobody has counted for `KEEP_S`, and all but the newest `KEEP_PAST` of a model."""
        self._touch()
        past: dict[str, list[tuple[float, Path]]] = defaultdict(list)
        for folder in self._folders():
            used = folder / "used"
            with contextlib.suppress(FileNotFoundError), _unused(used) as at:
                past[folder.name.partition("-")[0]].append((at, used))
        for found in past.values():
            found.sort(reverse=True)
            for rank, (at, used) in enumerate(found):
                if rank >= KEEP_PAST or self._clock() - at >= KEEP_S:
                    self._drop(used)

    def forget(self, dead: Callable[[int], bool]) -> None:
        """Remove the gauges of processes that are dead; their counters stand."""
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):
                for path in folder.glob("gauge_*.db"):
                    if dead(int(path.stem.rpartition("_")[2])):
                        path.unlink()

    def _folders(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):  # there is no version yet
            return [folder for folder in self._root.iterdir() if not folder.name.startswith(".")]
        return []

    def _touch(self) -> None:
        for series in self._open.values():
            series.touch(self._clock())

    def _drop(self, used: Path) -> None:
        with (
            contextlib.suppress(FileNotFoundError),
            _unused(used),
            tempfile.TemporaryDirectory(dir=self._root, prefix=".gone-", ignore_cleanup_errors=True) as gone,
        ):
            # Renamed under the lock: who comes now makes the folder anew, and does not find half of it.
            used.parent.rename(Path(gone) / "folder")

    def collect(self) -> Iterable[Metric]:
        """The sum over all workers, dead ones too."""
        while True:
            with contextlib.suppress(FileNotFoundError):  # a folder was dropped meanwhile: all of it, or none
                files = [str(path) for folder in self._folders() for path in folder.glob("*.db")]
                merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # nor here
                return merged

    def render_columns(self, rows: Family, reference: Family, left_out: Family) -> bytes:
        """Rows by group, likewise; as `gateway.columns.render_columns`."""
        while True:
            with contextlib.suppress(FileNotFoundError):  # as above
                return render_columns(self._folders(), rows, reference, left_out)


def _digest(*texts: str) -> str:
    """A name for a folder; whatever a model or version is called."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _claim(folder: Path) -> int:
    """Lock a folder against being dropped, making it if need be; returns what holds the lock."""
    while True:
        with contextlib.suppress(FileExistsError):  # `exist_ok` raises too where it is dropped in the same moment
            folder.mkdir(parents=True)
        with contextlib.suppress(FileNotFoundError):
            used = os.open(folder / "used", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(used, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(used), (folder / "used").stat()):
                    return used
            os.close(used)  # the folder was dropped between the two


@contextlib.contextmanager
def _unused(used: Path) -> Iterator[float]:
    """Hold the lock that shows that nobody counts in a folder; gives when somebody last did.

    Raises:
        FileNotFoundError: somebody counts in it, or it is gone.
    """
    descriptor = os.open(used, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileNotFoundError(used) from None
        if not os.path.samestat(os.fstat(descriptor), used.stat()):
            raise FileNotFoundError(used)
        yield os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
