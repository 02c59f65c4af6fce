"""How many rows of each column fell into each of its PSI groups, for Prometheus, which adds up replicas.

prometheus_client takes some 10 µs to give out one value, and of these a version has a thousand. So they lie in files
of their own in the version's folder of series (`gateway.series`), where they begin and end with the others:

    <version's folder>/<sha256>.json        the columns, and how many rows of the reference are in each group
    <version's folder>/<sha256>_<pid>.rows  one a worker, int64, group after group; it stays when the worker dies

What a worker writes is all that it has counted, so a write that failed is made good by the next one. Who reads beside
it may find some numbers of a count and not yet the others, but each one whole: they are aligned, and only grow.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from monitoring import GroupedColumn, Grouping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from gateway.series import Family
    from monitoring import Counts, Reference

__all__ = ["MISSING", "ColumnRows", "render_columns"]

_log = logging.getLogger("hotgate.metrics")

MISSING: Final = "missing"
"""The group of the rows without a value; the others are numbered by their values' order."""


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What the numbers in the files of one model file mean."""

    labels: dict[str, str]
    left_out: int
    """Features that have no series."""
    columns: list[GroupedColumn]


class ColumnRows:
    """What this process counts of one version of a model file; any thread may add, while others do.

    Args:
        folder: the version's, which must be there until this is closed.
        labels: of the version, in order.
        sha256: of the model file; the groups of two files cannot be added up, whatever version they call themselves.
        reference: in that file.
        features: which of its features have series: so many, from the first one on, or those of these names.
        pid: under which this process counts.
    """

    def __init__(
        self,
        folder: Path,
        labels: dict[str, str],
        sha256: str,
        reference: Reference,
        features: int | Sequence[str],
        pid: int,
    ) -> None:
        names = [column.name for column in reference.features]
        chosen = names[:features] if isinstance(features, int) else set(names).intersection(features)
        self._grouping = Grouping(reference, chosen)
        self._described = Described(
            labels={**labels, "sha256": sha256}, left_out=len(names) - len(chosen), columns=self._grouping.columns
        )
        self._description = folder / f"{sha256}.json"
        self._path = folder / f"{sha256}_{pid}.rows"
        # All below is guarded by the lock.
        self._lock = threading.Lock()
        self._rows: Counts = np.zeros(self._grouping.size, dtype=np.int64)
        self._file: int | None = None
        self._closed = False
        self._told = False
        self._store()

    def add(self, counts: Counts) -> None:
        """Add what was counted of all columns, and show it; not after `close`."""
        grouped = self._grouping.merge(counts)
        with self._lock:
            if not self._closed:
                self._rows += grouped
                self._store()

    def close(self) -> None:
        """Leave the folder; what was counted stays there."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                os.close(self._file)

    def _store(self) -> None:
        try:
            if self._file is None:
                self._file = self._open()
            os.pwrite(self._file, self._rows.data, 0)
        except OSError as error:
            if not self._told:
                _log.error("rows by group are not on /metrics, or not all of them: %s", error)
            self._told = True
        else:
            self._told = False

    def _open(self) -> int:
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._described))
        fresh.rename(self._description)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        before = _read(os.pread(descriptor, self._rows.nbytes, 0), self._rows.size)
        if before is not None:  # by an earlier generation of this version, or a process that had this id
            self._rows += before
        return descriptor


def _read(data: bytes, size: int) -> Counts | None:
    return np.frombuffer(data, dtype=np.int64) if len(data) == 8 * size else None


def render_columns(folders: Iterable[Path], rows: Family, reference: Family, left_out: Family) -> bytes:
    """The sums over all workers, dead ones too, in Prometheus' text format.

    Args:
        folders: of the versions.
        rows: the metric of what was counted, with the labels kind, column and group after the version's.
        reference: likewise, of what the reference has there.
        left_out: of how many features have no series.

    Raises:
        FileNotFoundError: a folder was dropped meanwhile.
    """
    counted, expected, missing = [_head(rows)], [_head(reference)], [_head(left_out)]
    for path in (path for folder in folders for path in folder.glob("*.json")):
        described = msgspec.json.decode(path.read_bytes(), type=Described)
        own = ",".join(f'{name}="{_escaped(value)}"' for name, value in described.labels.items())
        missing.append(f"{left_out.name}{{{own}}} {described.left_out}")
        labels = [text for column in described.columns for text in _labels(own, column)]
        profile = [count for column in described.columns for count in column.reference]
        counted += [f"{rows.name}_total{text} {n}" for text, n in zip(labels, _sum(path, len(labels)), strict=True)]
        expected += [f"{reference.name}{text} {n}" for text, n in zip(labels, profile, strict=True)]
    found = [line for lines in (counted, expected, missing) if len(lines) > 1 for line in lines]
    return "".join(f"{line}\n" for line in found).encode()


def _head(family: Family) -> str:
    name = family.name + ("_total" if family.kind == "counter" else "")
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}"


def _labels(own: str, column: GroupedColumn) -> Iterator[str]:
    before = f'{{{own},kind="{column.kind}",column="{_escaped(column.name)}",group="'
    last = len(column.reference) - 1
    return (f'{before}{group if group < last else MISSING}"}}' for group in range(last + 1))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _sum(description: Path, size: int) -> list[int]:
    """Over the files that are whole: one that no room was found for is not."""
    files = [_read(path.read_bytes(), size) for path in description.parent.glob(f"{description.stem}_*.rows")]
    total = np.zeros(size, dtype=np.int64)
    for rows in files:
        if rows is not None:
            total += rows
    found: list[int] = total.tolist()
    return found
