"""Rows, classes and what they are called; one digest for equal data, whatever file it came in."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np

from training.config import BREAST_CANCER
from training.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from training.config import DataConfig

Kind: TypeAlias = Literal["float", "int", "category"]

__all__ = ["Dataset", "load_dataset", "read_columns", "write_csv"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Examples for a classifier."""

    source: str
    """Where they came from: the name of a built-in data set, or a path."""
    rows: npt.NDArray[np.float64]
    """[n, columns], every value finite, and finite as float32."""
    codes: npt.NDArray[np.int64]
    """[n], index into `classes`."""
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    """Of columns: a category holds whole numbers that stand for something, 0 and 1 for a boolean."""
    target: str
    """Name of the class column."""
    classes: tuple[bool | int | str, ...]
    """Ascending; what `predict` returns."""
    labels: tuple[str, ...]
    """Display names of the classes."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over schema and values: equal for equal data from CSV or Parquet; display names don't count."""
        schema = {
            "columns": list(zip(self.columns, self.kinds, strict=True)),
            "target": self.target,
            "classes": self.classes,
        }
        digest = hashlib.sha256(msgspec.json.encode(schema))
        digest.update(np.ascontiguousarray(self.rows, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(self.codes, dtype="<i8").tobytes())
        return digest.hexdigest()

    @property
    def y(self) -> npt.NDArray[Any]:
        """The class of each row, [n], as the estimators are given it."""
        return np.array(self.classes)[self.codes]


def load_dataset(config: DataConfig) -> Dataset:
    """Read the data and hold it to what can be trained on and served.

    Raises:
        DataError: the file cannot be read, or a column or value is impossible; names column and row (from 1, header
            not counted) and says what to do.
    """
    if config.source == BREAST_CANCER:
        return _breast_cancer(config)
    if not config.target:
        raise DataError(f"data.target must name the column with the classes of {config.source}, got {config.target!r}")
    target = str(config.target)
    features, labels = read_columns(config)
    classes, codes = _classes(labels)
    if not features.shape[1]:
        raise DataError(f"{config.source} has no column left to learn from beside {target!r}")
    unused = [column for column in config.categories if column not in features.columns]
    if unused:
        raise DataError(f"data.categories names {unused[0]!r}, which is no feature; it is the target or ignored")
    return Dataset(
        source=config.source,
        rows=np.column_stack([_numbers(features[column]) for column in features.columns]),
        codes=codes,
        columns=tuple(map(str, features.columns)),
        kinds=tuple(_kind(features[column], config.categories) for column in features.columns),
        target=target,
        classes=classes,
        labels=_labels(config, classes),
    )


def read_columns(config: DataConfig) -> tuple[pd.DataFrame, pd.Series | None]:
    """A file's features, of whatever kind, and its target if one is named.

    Raises:
        DataError: the file cannot be read, or has no such column.
    """
    frame = _read(Path(config.source))
    named = [config.target] if config.target else []
    for column in (*named, *config.ignore, *config.categories):
        if column not in frame.columns:
            raise DataError(f"{config.source} has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
    return frame.drop(columns=[*named, *config.ignore]), frame[config.target] if config.target else None


def write_csv(dataset: Dataset, path: Path, index: npt.NDArray[np.int64] | None = None) -> Path:
    """Write rows and classes (all, or those at `index`) as CSV that reads back to the same doubles."""
    picks = np.arange(len(dataset.rows)) if index is None else index
    columns = [
        values.tolist() if kind == "float" else values.astype(np.int64).tolist()
        for values, kind in zip(dataset.rows[picks].T, dataset.kinds, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*dataset.columns, dataset.target])
        writer.writerows(zip(*columns, dataset.y[picks].tolist(), strict=True))
    return path


def _breast_cancer(config: DataConfig) -> Dataset:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    columns = tuple(map(str, bunch.feature_names))
    return Dataset(
        source=BREAST_CANCER,
        rows=np.asarray(bunch.data, dtype=np.float64),
        codes=np.asarray(bunch.target, dtype=np.int64),
        columns=columns,
        kinds=tuple[Kind, ...]("float" for _ in columns),
        target="target",
        classes=(0, 1),
        labels=_labels(config, (0, 1)) if config.labels else ("malignant", "benign"),
    )


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    suffix = path.suffix.lower()
    if suffix not in {".csv", ".parquet"}:
        raise DataError(f"{path}: data must be a .csv or .parquet file, or {BREAST_CANCER!r}")
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        if suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            _refuse_twins(path)
            frame = pd.read_csv(path, index_col=False)
    except UnicodeDecodeError:
        raise DataError(_no_utf8(path)) from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty; it needs a header and a row an example") from None
    except (OSError, ValueError) as error:  # pandas' and arrow's parsing errors are ValueErrors
        raise DataError(f"{path} cannot be read: {error}") from error
    if frame.empty:
        raise DataError(f"{path} holds no rows")
    return frame


def _no_utf8(path: Path) -> str:
    for number, line in enumerate(path.read_bytes().split(b"\n")):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"row {number}" if number else "the header"
            byte = line[error.start]
            return f"{path}, {where}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
    return f"{path} is not UTF-8; save the file as UTF-8"


def _refuse_twins(path: Path) -> None:
    """Refuse a header that names a column twice: pandas would quietly rename the second."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next(csv.reader(file), [])
    twins = [name for name in header if header.count(name) > 1]
    if twins:
        raise DataError(f"{path} names the column {twins[0]!r} twice; rename one")


def _classes(column: pd.Series) -> tuple[tuple[bool | int | str, ...], npt.NDArray[np.int64]]:
    missing = np.flatnonzero(column.isna().to_numpy())
    if missing.size:
        raise DataError(f"target {column.name!r}, row {missing[0] + 1}: the class is missing; label or drop the row")
    values = column.to_numpy()
    if values.dtype.kind == "f":
        odd = np.flatnonzero(values != np.floor(values))
        if odd.size:
            raise DataError(f"target {column.name!r}, row {odd[0] + 1}: {values[odd[0]]} is a measurement, not a class")
        values = values.astype(np.int64)
    elif values.dtype.kind not in "biu":
        values = column.astype(str).to_numpy(dtype=np.str_)
    classes, codes = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"target {column.name!r} has one class only, {classes[0]!r}: there is nothing to learn")
    return tuple(classes.tolist()), codes.astype(np.int64)


def _numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    """One feature as doubles."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column.dtype):
        wrong = np.flatnonzero(pd.to_numeric(column.astype(str), errors="coerce").isna() & column.notna())
        row = int(wrong[0]) if wrong.size else 0
        raise DataError(
            f"column {column.name!r}, row {row + 1}: {column.iloc[row]!r} is not a number, and only numeric columns can"
            f" be served yet; encode it, or leave it out with data.ignore"
        )
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    lost = ~(np.abs(values) <= _FLOAT32_MAX)
    if column.dtype.kind in "iu":
        lost |= np.abs(values) >= 2**53  # above it neighbours become equal
    if lost.any():
        row = int(np.flatnonzero(lost)[0])
        what = "a value is missing; fill it" if np.isnan(values[row]) else f"{values[row]!r} does not fit; bound it"
        raise DataError(f"column {column.name!r}, row {row + 1}: {what}, or drop the row")
    return np.asarray(values, dtype=np.float64)


def _kind(column: pd.Series, categories: tuple[str, ...]) -> Kind:
    if column.name not in categories:
        return {"b": "category", "f": "float"}.get(column.dtype.kind, "int")  # type: ignore[return-value]
    values = column.to_numpy(dtype=np.float64)
    odd = np.flatnonzero(values != np.floor(values))
    if odd.size:
        raise DataError(
            f"column {column.name!r}, row {odd[0] + 1}: {values[odd[0]]} is no code of a category; number the"
            f" categories, or take the column out of data.categories"
        )
    return "category"


def _labels(config: DataConfig, classes: tuple[bool | int | str, ...]) -> tuple[str, ...]:
    if not config.labels:
        return tuple(str(value) for value in classes)
    if len(config.labels) != len(classes):
        raise DataError(f"data.labels has {len(config.labels)} names for {len(classes)} classes {classes}")
    return config.labels
