"""`hotgate export`: logged rows of a model beside what came true, as `hotgate train --data` takes them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gateway.counts import folders_in
from gateway.observe.segments import read, segments
from gateway.observe.tables import classes_of, names_of
from gateway.predictions import read_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from converters.modelfile import Column, Signature
    from gateway.feedback import Label
    from gateway.observe.tables import ColumnNames

    # Of request ids and rows, what came true of each: as `predict` gives it, None where nobody knows.
    LabelsFor = Callable[[list[str], list[int]], Sequence[Label | None]]

__all__ = ["Exported", "Wanted", "WantedError", "export"]


class WantedError(Exception):
    """There is nothing of what is wanted, or it does not fit into one file; the text says which and what to do."""


class Wanted(NamedTuple):
    """Which rows."""

    model: str
    version: str | None = None
    since: float = 0.0
    """Wall clock, in seconds."""
    labelled_only: bool = False


class Exported(NamedTuple):
    """What was written."""

    rows: int
    labelled: int


def export(root: Path, wanted: Wanted, out: Path, labels_for: LabelsFor) -> Exported:
    """Write the wanted rows of the log into one file, whole or not at all.

    Columns are those of the model (float64, int64, bool or string; null where missing or redacted), `label` (the class
    or the number that came true of the first target, as `predict` gives it; null where nobody knows), `request_id`,
    `row`, `time`, `version`.

    Args:
        root: `monitor/predictions`.
        wanted: which rows.
        out: a `.parquet` or `.csv` file; one that is there is replaced.
        labels_for: what came true.

    Raises:
        WantedError: there is no such row, or versions differ in their columns or classes.
        DamagedSegmentError: as `segments.read`.
        OSError: the file cannot be written.
    """
    if out.suffix not in {".parquet", ".csv"}:
        raise WantedError(f"{out} must end with .parquet or .csv, which is what it becomes")
    fresh = out.with_name(f".{out.name}.new")
    rows = labelled = 0
    try:
        with contextlib.ExitStack() as stack:
            writer: Any = None
            for part in _parts(root, wanted, labels_for):
                if writer is None:
                    kind = pq.ParquetWriter if out.suffix == ".parquet" else pyarrow.csv.CSVWriter
                    writer = stack.enter_context(kind(fresh, part.schema))
                writer.write_table(part)
                rows += len(part)
                labelled += len(part) - part.column(part.num_columns - len(_OWN)).null_count
        if not rows:
            raise WantedError(_nothing(wanted))
        fresh.replace(out)
    finally:
        fresh.unlink(missing_ok=True)
    return Exported(rows, labelled)


_OWN = ("label", "request_id", "row", "time", "version")


def _nothing(wanted: Wanted) -> str:
    which = f"{wanted.model} version {wanted.version}" if wanted.version else wanted.model
    return f"the prediction log has no row of {which}{' with a label' if wanted.labelled_only else ''} in that time"


def _parts(root: Path, wanted: Wanted, labels_for: LabelsFor) -> Iterator[pa.Table]:
    first: tuple[str, Signature] | None = None
    for folder in folders_in(root):
        signature = read_signature(root, folder.name)
        for rows in _rows(folder, names_of(signature), wanted):
            part = _with_labels(rows, signature, labels_for)
            if wanted.labelled_only:
                part = part.filter(pc.is_valid(part[names_of(signature).label]))
            if not len(part):
                continue
            version = rows[names_of(signature).version][0].as_py()
            first = first or (version, signature)
            if _schema(signature) != _schema(first[1]):
                raise WantedError(
                    f"versions {first[0]} and {version} of {wanted.model} differ in columns or classes: choose one with"
                    f" --version"
                )
            yield part


def _schema(signature: Signature) -> tuple[Any, ...]:
    return signature.form, signature.columns, signature.classes


def _rows(folder: Path, names: ColumnNames, wanted: Wanted) -> Iterator[pa.Table]:
    since = pa.scalar(int(wanted.since * 1e6), pa.timestamp("us", tz="UTC"))
    for segment in segments(folder):
        if segment.end < wanted.since:
            continue
        for part in read(folder / str(segment)):
            mask = pc.and_(pc.equal(part[names.model], wanted.model), pc.greater_equal(part[names.time], since))
            if wanted.version is not None:
                mask = pc.and_(mask, pc.equal(part[names.version], wanted.version))
            yield part.filter(mask)


def _with_labels(part: pa.Table, signature: Signature, labels_for: LabelsFor) -> pa.Table:
    names = names_of(signature)
    ids, rows = part[names.request_id].to_pylist(), part[names.row].to_pylist()
    columns = {column.name: _widened(part[column.name], column) for column in signature.columns}
    columns[names.label] = _true(signature.classes, labels_for(ids, rows))
    for name in (names.request_id, names.row, names.time, names.version):
        columns[name] = part[name]
    return pa.table(columns)


def _widened(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """As training reads it: numbers as doubles, whole ones as such."""
    if pa.types.is_floating(values.type):
        return values.cast(pa.int64() if column.kind == "int" else pa.float64())
    return values


def _true(classes: tuple[bool | int | float | str, ...], labels: Sequence[Label | None]) -> pa.Array:
    if not classes:
        numbers = [None if label is None or isinstance(label, bool | str) else float(label) for label in labels]
        return pa.array(numbers, pa.float64())
    known = list(classes)
    return classes_of(classes).take(
        pa.array([known.index(label) if label in known else None for label in labels], pa.int64())
    )
