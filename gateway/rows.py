"""A row from a request becomes numbers in a block, and texts beside them, or a 400 that names the value."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from converters.modelfile import MISSING_TEXT
from gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from converters.modelfile import Column, Metadata
    from monitoring import FeatureReference

    Value = float | str | bool | None
    Values = Sequence[Value]
    Row = list[Any] | dict[str, Any]
    Texts = npt.NDArray[np.object_]

__all__ = ["RowPacker", "Space", "TablePacker", "packer_of"]

_FLOAT32_MAX = 3.4028234663852886e38
_INT_MAX = 2**53
_SHOWN_NAMES = 5


class Space(Protocol):
    """Where rows are written: a block, or the rows of one request."""

    @property
    def bytes(self) -> memoryview:
        """Of the matrix of numbers."""

    @property
    def texts(self) -> Texts | None:
        """[rows, text columns]."""


class RowPacker:
    """Writes rows of numbers into a buffer; a refused row leaves nothing that is ever read."""

    def __init__(self, metadata: Metadata) -> None:
        signature = metadata.signature
        self._columns = signature.columns
        self._names = tuple(column.name for column in signature.columns)
        self._known = frozenset(self._names)
        self._width = len(self._names)
        self._missing = np.array([column.missing for column in signature.columns], dtype=np.bool_)
        self._dtype = signature.dtype
        code = "f" if signature.dtype == "float32" else "d"
        self._one = struct.Struct(f"={code}")
        self._pack: Callable[..., None] = struct.Struct(f"={self._width}{code}").pack_into
        self._row_bytes = self._one.size * self._width

    def pack(self, into: Space, place: int, row: Row, path: str) -> None:
        """Write one row.

        Args:
            into: where.
            place: as which row of it.
            row: values in the model's order, or by name.
            path: where the row stands in the body, for the error.

        Raises:
            BadRequest: a wrong number of values, a wrong name, a missing value the column does not take, or one that
                its dtype cannot hold. What was written until then must be overwritten or ignored.
        """
        values: Values = self._by_name(row, path) if isinstance(row, dict) else row
        try:
            self._pack(into.bytes, place * self._row_bytes, *values)
        except (struct.error, OverflowError):
            numbers = self._repaired(values, path, named=isinstance(row, dict))
            self._pack(into.bytes, place * self._row_bytes, *numbers)

    def check(self, rows: npt.NDArray[Any], texts: Texts | None) -> None:
        """Hold rows [n, columns] that came as a matrix to what `pack` would let through; code the texts into them.

        Raises:
            BadRequest: names row and column.
        """
        del texts
        finite = np.isfinite(rows)
        if finite.all():  # as nearly always, and three passes are spared
            return
        bad = ~finite & ~(np.isnan(rows) & self._missing)
        if bad.any():
            row, place = np.argwhere(bad)[0].tolist()
            value = rows[row, place]
            what = "the model takes no missing value (NaN)" if np.isnan(value) else f"{value} is no number to score"
            raise BadRequest(f"{what} - in row {row}, column {self._names[place]!r}")

    def _by_name(self, row: dict[str, Value], path: str) -> Values:
        if len(row) == self._width and self._known.issuperset(row):
            return [row[name] for name in self._names]
        unknown = [name for name in row if name not in self._known]
        if unknown:
            raise BadRequest(f"unknown feature {_shown(unknown)} - at `{path}`; the model takes {_shown(self._names)}")
        absent = [name for name in self._names if name not in row]
        raise BadRequest(f"missing feature {_shown(absent)} - at `{path}`")

    def _repaired(self, values: Values, path: str, *, named: bool) -> list[float]:
        """The row with NaN for missing values, if that was all that kept it from being packed."""
        self._check_width(values, path)
        return [
            self._number(index, value, f"{path}.{self._names[index]}" if named else f"{path}[{index}]")
            for index, value in enumerate(values)
        ]

    def _check_width(self, values: Values, path: str) -> None:
        if len(values) != self._width:
            raise BadRequest(f"{len(values)} values, the model takes {self._width} - at `{path}`")

    def _number(self, index: int, value: Value, where: str) -> float:
        if value is None:
            if not self._missing[index]:
                raise BadRequest(f"the model takes no missing value (null) - at `{where}`")
            return float("nan")
        if isinstance(value, str):
            raise BadRequest(f"Expected `float | null`, got `str` - at `{where}`")
        try:
            self._one.pack(value)
        except OverflowError:
            raise BadRequest(
                f"{value!r} does not fit {self._dtype} (largest {_FLOAT32_MAX:.7g}) - at `{where}`"
            ) from None
        return value


class TablePacker(RowPacker):
    """Writes rows of mixed kinds: each value is held to its column's kind, and text goes beside the numbers.

    Where a column is text, the matrix holds what the monitor counts of it: the code of a category of the reference, or
    the length.
    """

    def __init__(self, metadata: Metadata, max_text_chars: int) -> None:
        super().__init__(metadata)
        self._max_text = max_text_chars
        self._texts = metadata.signature.texts
        features = metadata.reference.features
        self._codes = {place: _coder(features[place]) for place in self._texts}
        self._takes = [_KINDS.get(column.kind) for column in self._columns]

    def pack(self, into: Space, place: int, row: Row, path: str) -> None:
        """Write one row; arguments and errors as there, and a value of another kind than its column's is refused."""
        named = isinstance(row, dict)
        values: Values = self._by_name(row, path) if isinstance(row, dict) else row
        self._check_width(values, path)
        numbers, texts = [], []
        for index, value in enumerate(values):
            where = path, index, named
            if index in self._codes:
                text = self._text(index, value, where)
                texts.append(text)
                numbers.append(self._code(index, text))
            else:
                numbers.append(self._held(index, value, where))
        self._pack(into.bytes, place * self._row_bytes, *numbers)
        if into.texts is not None:
            into.texts[place] = texts

    def check(self, rows: npt.NDArray[Any], texts: Texts | None) -> None:
        """As there; whole numbers are held to that, and codes of texts are written into their columns."""
        for index, column in enumerate(self._columns):
            if index in self._codes:
                self._check_texts(rows, texts, index)
                continue
            fits = _MATRIX_KINDS.get(column.kind)
            if fits is not None:
                self._check_numbers(rows[:, index], fits, column)
        super().check(rows, texts)

    def _check_numbers(
        self, values: npt.NDArray[Any], fits: Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]], column: Column
    ) -> None:
        bad = ~fits(values) & ~np.isnan(values)
        if bad.any():
            row = int(bad.argmax())
            raise BadRequest(f"{values[row]} is no {column.kind} - in row {row}, column {column.name!r}")

    def _check_texts(self, rows: npt.NDArray[Any], texts: Texts | None, index: int) -> None:
        if texts is None:
            raise BadRequest(f"column {self._names[index]!r} is text, and there is none")
        column = texts[:, self._texts.index(index)]
        for row, text in enumerate(column):
            if len(text) > self._max_text:
                raise BadRequest(f"{self._too_long(text)} - in row {row}, column {self._names[index]!r}")
        rows[:, index] = [self._code(index, text) for text in column]
        if not self._missing[index] and (column == MISSING_TEXT).any():
            row = int((column == MISSING_TEXT).argmax())
            raise BadRequest(f"the model takes no missing value - in row {row}, column {self._names[index]!r}")

    def _too_long(self, text: str) -> str:
        return f"a text of {len(text):,} characters, at most {self._max_text:,} are taken ([gateway] max_text_chars)"

    def _code(self, index: int, text: str) -> float:
        return float("nan") if text == MISSING_TEXT else self._codes[index](text)

    def _text(self, index: int, value: Value, where: tuple[str, int, bool]) -> str:
        if isinstance(value, str):
            if len(value) > self._max_text:
                raise BadRequest(f"{self._too_long(value)} - at `{self._path(*where)}`")
            return value
        if value is not None:
            raise BadRequest(f"Expected `str | null`, got {value!r} - at `{self._path(*where)}`")
        if not self._missing[index]:
            raise BadRequest(f"the model takes no missing value (null) - at `{self._path(*where)}`")
        return MISSING_TEXT

    def _held(self, index: int, value: Value, where: tuple[str, int, bool]) -> float:
        number = self._number(index, value, self._path(*where))
        takes = self._takes[index]
        if value is None or takes is None or takes(number):
            return number
        raise BadRequest(f"{value!r} is no {self._columns[index].kind} - at `{self._path(*where)}`")

    def _path(self, path: str, index: int, named: bool) -> str:  # noqa: FBT001 - as `_repaired` writes it
        return f"{path}.{self._names[index]}" if named else f"{path}[{index}]"


def packer_of(metadata: Metadata, max_text_chars: int) -> RowPacker:
    """What writes rows for a model; longer texts are refused."""
    return TablePacker(metadata, max_text_chars) if metadata.signature.form == "table" else RowPacker(metadata)


def _is_whole(value: float) -> bool:
    return abs(value) <= _INT_MAX and float(value).is_integer()


_KINDS: dict[str, Callable[[float], bool]] = {"int": _is_whole, "bool": lambda value: value in {0, 1}}
"""What a column of a kind takes, beside missing values; any number, if not named."""
_MATRIX_KINDS: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]]] = {
    "int": lambda values: (np.abs(values) <= _INT_MAX) & (np.floor(values) == values),
    "bool": lambda values: (values == 0) | (values == 1),
}
"""The same of many."""


def _coder(feature: FeatureReference) -> Callable[[str], float]:
    """What the monitor counts of a text."""
    if feature.kind != "category":
        return len
    codes = dict(zip(feature.categories, feature.codes, strict=True))
    return lambda text: codes.get(text, -1.0)


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"
