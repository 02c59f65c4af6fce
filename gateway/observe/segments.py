"""Closed Parquet files of the prediction log, one folder a model file; needs pyarrow.

    <sha256>/<start>-<seconds>-<id>.parquet     immutable; an id that begins with `m` names in it those that it replaces

A file is written beside the folder, synced and renamed into it, so a folder never holds anything else, or half a file.
Between the moment in which a file that replaces others appears and their removal both are there: `segments` leaves the
others out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from gateway.store import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = [
    "DamagedSegmentError",
    "Segment",
    "merge",
    "names_in",
    "publish",
    "read",
    "replaced",
    "segments",
]

_REPLACES: Final = b"hotgate.replaces"
_GROUP_BYTES: Final = 16 * 2**20
_GROUP_ROWS: Final = 131_072
"""Smaller tables become one row group, up to this; what is in memory at once."""


class DamagedSegmentError(Exception):
    """A file is no Parquet; the text names it."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"{path} is damaged: {reason}")
        self.path = path


class Segment(NamedTuple):
    """What a file's name tells: the wall clock's seconds in which its rows were scored."""

    start: int
    seconds: int
    unique: str

    @classmethod
    def of(cls, name: str) -> Segment | None:
        """Take a name apart; None for what is no segment."""
        stem, _, suffix = name.rpartition(".")
        parts = stem.split("-")
        if suffix != "parquet" or len(parts) != 3 or not (parts[0] + parts[1]).isdecimal():
            return None
        found = cls(int(parts[0]), int(parts[1]), parts[2])
        return found if str(found) == name else None

    def __str__(self) -> str:
        """The name itself; names sort by time."""
        return f"{self.start:012d}-{self.seconds}-{self.unique}.parquet"

    @property
    def end(self) -> int:
        """The first second that it does not reach."""
        return self.start + self.seconds


def publish(folder: Path, name: Segment, tables: Iterable[pa.Table], replaces: Iterable[str] = ()) -> None:
    """Write a segment; what it replaces no longer counts from here on. One of that name is written over.

    Args:
        folder: of the model file.
        name: of the segment.
        tables: all of one schema, at least one.
        replaces: names of segments whose rows are all in `tables`.

    Raises:
        OSError: there is no room; nothing has changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f"{folder.name}.new")
    try:
        _write(fresh, tables, {_REPLACES: msgspec.json.encode(tuple(replaces))})
        fresh.rename(folder / str(name))
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def _write(path: Path, tables: Iterable[pa.Table], notes: dict[bytes, bytes]) -> None:
    groups = _row_groups(tables)
    first = next(groups)
    words = [field.name for field in first.schema if field.type == pa.string()]
    with path.open("wb") as file:
        schema = first.schema.with_metadata(notes)
        with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=words) as writer:
            for group in itertools.chain([first], groups):
                writer.write_table(group)
        file.flush()
        os.fsync(file.fileno())


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for found in tables:
        waiting.append(found)
        if sum(part.nbytes for part in waiting) >= _GROUP_BYTES or sum(map(len, waiting)) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def read(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A segment's rows, a row group at a time.

    Raises:
        DamagedSegmentError: it is no Parquet.
        OSError: it cannot be read.
    """
    with _damage_told(path), pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns, use_threads=False).replace_schema_metadata()


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the system's word, not arrow's on the content
            raise
        raise DamagedSegmentError(path, error) from error


def merge(folder: Path, names: list[Segment]) -> Segment:
    """Put one segment in the place of others, which are still there.

    Raises:
        DamagedSegmentError: one of them cannot be read.
        OSError: there is no room; nothing has changed.
    """
    start = min(name.start for name in names)
    merged = Segment(start, max(name.end for name in names) - start, f"m{secrets.token_hex(8)}")
    publish(folder, merged, (part for name in names for part in read(folder / str(name))), map(str, names))
    return merged


def names_in(folder: Path) -> list[Segment]:
    """All segments of a folder, by time; none if there is no folder."""
    try:
        found = [Segment.of(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(name for name in found if name is not None)


def replaced(folder: Path, names: Iterable[Segment]) -> set[Segment]:
    """Those among `names` whose rows are in others of them too.

    Raises:
        DamagedSegmentError: one is no Parquet.
        OSError: one cannot be read.
    """
    names = set(names)
    found: set[Segment | None] = set()
    for name in names:
        if name.unique.startswith("m"):
            with _damage_told(folder / str(name)):
                notes = pq.read_schema(folder / str(name)).metadata
            found.update(map(Segment.of, msgspec.json.decode(notes[_REPLACES], type=tuple[str, ...])))
    return {name for name in names if name in found}


def segments(folder: Path) -> list[Segment]:
    """The segments of a folder that hold each row once, by time; errors as `replaced`."""
    names = names_in(folder)
    gone = replaced(folder, names)
    return [name for name in names if name not in gone]
