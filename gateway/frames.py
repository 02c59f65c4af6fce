"""Rows by column name, as MLflow's clients send them, become the matrices that a batcher takes.

A value is converted as pandas does it for a column of MLflow's type `double`: `"18.0"` and `true` are numbers, `null`
and NaN are missing values. What pandas would guess or cut off is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from converters.modelfile import MISSING_TEXT
from gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from converters.modelfile import Column, Signature

__all__ = ["Frame", "InvalidInput", "SchemaMismatch", "Table", "table_of"]

_SHOWN_NAMES = 20


class InvalidInput(BadRequest):
    """The body is none of MLflow's shapes, or a value is none of its column's."""


class SchemaMismatch(BadRequest):
    """The rows do not have the model's columns."""


class Frame(NamedTuple):
    """Rows as they were sent."""

    names: Sequence[Any] | None
    """Of the columns; None if the rows are in the model's order."""
    rows: Sequence[Sequence[Any]]


class Table(NamedTuple):
    """What a batcher takes."""

    numbers: npt.NDArray[Any]
    """[rows, columns] of the signature's dtype; NaN is a missing value, and nothing is said where a column is text."""
    texts: npt.NDArray[np.object_] | None
    """[rows, text columns]; None if no column is text."""


def table_of(frame: Frame, signature: Signature) -> Table:
    """The model's columns of a frame, in the model's order; others are ignored, as MLflow does.

    Raises:
        SchemaMismatch: a column of the model is not there, or twice.
        InvalidInput: there are no rows, or a value cannot be converted.
    """
    places = _places(frame, signature)
    if not len(frame.rows):
        raise InvalidInput("there are no rows to score: send at least one")
    wide = None if signature.texts else _at_once(frame.rows, places)
    texts = None
    if wide is None:
        wide, texts = _by_column(frame.rows, places, signature)
    if signature.dtype == "float64":
        return Table(np.ascontiguousarray(wide), texts)
    return Table(_narrowed(wide, signature), texts)


def _places(frame: Frame, signature: Signature) -> list[int]:
    """Where the model's columns stand in a row."""
    wanted = [column.name for column in signature.columns]
    if frame.names is None:
        odd = next((len(row) for row in frame.rows if len(row) != len(wanted)), None)
        if odd is not None:
            raise SchemaMismatch(f"a row has {odd} values, the model takes {len(wanted)}: {_shown(wanted)}")
        return list(range(len(wanted)))
    known = frozenset(wanted)
    found: dict[Any, int] = {}
    for place, name in enumerate(frame.names):
        if found.setdefault(name, place) != place and name in known:
            raise SchemaMismatch(f"column {name!r} is there twice")
    missing = [name for name in wanted if name not in found]
    if missing:
        extra = [name for name in found if name not in known]
        note = f" Note that there were extra inputs: {_shown(extra)}." if extra else ""
        raise SchemaMismatch(f"Model is missing inputs {_shown(missing)}.{note}")
    return [found[name] for name in wanted]


def _at_once(rows: Sequence[Sequence[Any]], places: list[int]) -> npt.NDArray[np.float64] | None:
    """All values as one matrix, if they are numbers or pass for such; None if a column must be found that is not."""
    try:
        wide = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    if wide.ndim != 2:  # every value is a list
        return None
    return wide if places == list(range(wide.shape[1])) else wide[:, places]


def _by_column(
    rows: Sequence[Sequence[Any]], places: list[int], signature: Signature
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.object_] | None]:
    wide = np.zeros((len(rows), len(places)))
    texts = np.full((len(rows), len(signature.texts)), "", dtype=object) if signature.texts else None
    text = 0
    for index, (column, place) in enumerate(zip(signature.columns, places, strict=True)):
        values = [row[place] for row in rows]
        if column.kind == "string" and texts is not None:
            texts[:, text] = [_text(value, row, column) for row, value in enumerate(values)]
            text += 1
        else:
            wide[:, index] = _numbers(values, column)
    return wide, texts


def _numbers(values: list[Any], column: Column) -> npt.NDArray[np.float64]:
    """A column of numbers; the first value that is none is named."""
    try:
        whole = np.array(values, dtype=np.float64)
        if whole.ndim == 1:
            return whole
    except (ValueError, TypeError, OverflowError):
        pass
    return np.array([_number(value, row, column) for row, value in enumerate(values)])


def _number(value: Any, row: int, column: Column) -> float:
    if value is None:
        return float("nan")
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        raise _unfit(column, "float64", f"{_cut(value)} in row {row} is no number") from None


def _text(value: Any, row: int, column: Column) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:  # noqa: PLR0124 - NaN, which pandas writes for a missing text
        return MISSING_TEXT
    raise _unfit(column, "str", f"{_cut(value)} in row {row} is no text")


def _narrowed(wide: npt.NDArray[np.float64], signature: Signature) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        numbers = wide.astype(np.float32, order="C")
    if np.isfinite(numbers).all():
        return numbers
    lost = np.isinf(numbers) & np.isfinite(wide)
    if lost.any():
        row, place = np.argwhere(lost)[0].tolist()
        value = wide.item(row, place)
        raise _unfit(signature.columns[place], "float32", f"{value:g} in row {row} is beyond its largest number")
    return numbers


def _unfit(column: Column, kind: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid input. Data is not compatible with model signature. Failed to convert column {column.name}"
        f" to type '{kind}'. Error: {why}"
    )


def _cut(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shown(names: Iterable[Any]) -> str:
    """As MLflow writes a list of names, but not more than a reader takes in."""
    every = list(names)
    if len(every) <= _SHOWN_NAMES:
        return str(every)
    return f"[{', '.join(map(repr, every[:_SHOWN_NAMES]))}, and {len(every) - _SHOWN_NAMES} more]"
