"""Data of any shape becomes columns with kinds and rows for a graph, and rows become again what an estimator takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from converters.errors import ConversionError
from converters.modelfile import MISSING_TEXT, Column
from converters.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["FrameLayout", "Layout", "Table", "TextLayout", "frame_of", "read_table", "stacked", "texts_of"]

_WHOLE_MAX = 2**53


class Layout:
    """How rows become what the estimator was fitted on: here a matrix of doubles."""

    form = "matrix"
    gap: Any = np.nan
    """What stands for a missing text."""

    def as_input(self, rows: Rows) -> Any:
        """The argument of `predict`."""
        return rows.numbers


class TextLayout(Layout):
    """A list of strings."""

    form = "table"

    def as_input(self, rows: Rows) -> Any:
        """The argument of `predict`."""
        return [] if rows.texts is None else [self.gap if text == MISSING_TEXT else text for text in rows.texts[:, 0]]


class FrameLayout(Layout):
    """A pandas DataFrame with the names and types of the data."""

    form = "table"

    def __init__(self, columns: Sequence[Column], frame: Any) -> None:
        self._columns = tuple(columns)
        self._types = [frame.dtypes.iloc[place] for place in range(len(self._columns))]
        self.gap = None if any(_has_none(frame[name]) for name in frame) else np.nan

    def as_input(self, rows: Rows) -> Any:
        """The argument of `predict`."""
        import pandas as pd

        data, text = {}, 0
        for place, column in enumerate(self._columns):
            if column.kind == "string":
                assert rows.texts is not None  # noqa: S101 - rows are of the columns that this was made of
                data[column.name] = self._texts(rows.texts[:, text], place)
                text += 1
            else:
                data[column.name] = self._numbers(rows.numbers[:, place], place, column.kind)
        return pd.DataFrame(data)

    def _texts(self, texts: npt.NDArray[np.object_], place: int) -> Any:
        import pandas as pd

        values = [self.gap if text == MISSING_TEXT else text for text in texts]
        dtype = self._types[place]
        return pd.Series(values, dtype=dtype if isinstance(dtype, pd.StringDtype) else object)

    def _numbers(self, values: npt.NDArray[np.float64], place: int, kind: str) -> Any:
        import pandas as pd

        gaps, dtype = np.isnan(values), self._types[place]
        if dtype.kind in "Mm":
            return pd.Series(np.where(gaps, np.iinfo(np.int64).min, values).astype(np.int64).view(dtype))
        if gaps.any() and kind == "bool":
            return pd.Series([None if gap else bool(value) for gap, value in zip(gaps, values, strict=True)])
        if gaps.any() or kind == "float" or (kind == "int" and np.abs(values).max(initial=0) > _WHOLE_MAX):
            return pd.Series(values)
        return pd.Series(values.astype(np.bool_ if kind == "bool" else np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The data that a model is made or judged with."""

    columns: tuple[Column, ...]
    rows: Rows
    layout: Layout

    def retold(self, columns: Sequence[Column]) -> Table:
        """The same data with columns of other kinds."""
        return Table(columns=tuple(columns), rows=self.rows, layout=self.layout)


def stacked(data: Any, heldout: Any) -> Any:
    """Two DataFrames, one behind the other.

    Raises:
        ConversionError: the second lacks a column of the first.
    """
    import pandas as pd

    absent = [name for name in data.columns if heldout is None or name not in heldout.columns]
    if absent:
        raise ConversionError(f"the held-out rows have no column {absent[0]!r}, the data has")
    return pd.concat([data, heldout[list(data.columns)]], ignore_index=True)


def read_table(data: Any, columns: Sequence[str | Column] | None = None) -> Table:
    """Read a DataFrame, a mapping of columns, a matrix or a list of strings.

    Whole numbers are `int`, 0/1 of a boolean type `bool`, texts `string`, everything else `float`. A date is a number:
    so many units of its type (`datetime64[us]`: microseconds) since 1970 began. A missing value is None or NaN.

    Args:
        data: of a matrix without a type for each column, all columns are `float`.
        columns: names, or columns with kinds, of a matrix; a frame has its own.

    Raises:
        ConversionError: a column holds something else, or two have one name.
    """
    if texts_of(data):
        texts = np.array([MISSING_TEXT if text is None else str(text) for text in data], dtype=object)[:, None]
        name = columns[0] if columns else "text"
        told = Column(name=name if isinstance(name, str) else name.name, kind="string")
        return Table(
            columns=(told,), rows=Rows(numbers=np.full((len(texts), 1), np.nan), texts=texts), layout=TextLayout()
        )
    frame = frame_of(data)
    if frame is None:
        return _matrix(data, columns)
    names = [str(name) for name in frame.columns]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ConversionError(f"two columns are named {twice!r}")
    read = [_column(names[place], frame.iloc[:, place]) for place in range(len(names))]
    kinds = tuple(Column(name=name, kind=cast("Any", kind)) for name, (kind, _, _) in zip(names, read, strict=True))
    words = [text for _, _, text in read if text is not None]
    rows = Rows(
        numbers=np.column_stack([numbers for _, numbers, _ in read]), texts=np.column_stack(words) if words else None
    )
    return Table(columns=kinds, rows=rows, layout=FrameLayout(kinds, frame))


def _matrix(data: Any, columns: Sequence[str | Column] | None) -> Table:
    if hasattr(data, "toarray"):
        data = data.toarray()
    try:
        numbers = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConversionError(
            f"rows are no matrix of numbers: {error}; give a DataFrame if columns are of several kinds"
        ) from error
    if numbers.ndim != 2 or not numbers.shape[1]:
        raise ConversionError(f"rows have shape {numbers.shape}, expected [rows, 1 or more columns]")
    told = columns if columns is not None else [f"x{place}" for place in range(numbers.shape[1])]
    named = tuple(column if isinstance(column, Column) else Column(name=column) for column in told)
    return Table(columns=named, rows=Rows(numbers=numbers), layout=Layout())


def texts_of(data: Any) -> bool:
    """Whether these are texts, one a row, as a vectorizer takes them."""
    flat = isinstance(data, list | tuple) or getattr(data, "ndim", 0) == 1
    return flat and bool(len(data)) and all(isinstance(text, str) or text is None for text in data)


def frame_of(data: Any) -> Any | None:
    """A pandas DataFrame of anything that has named columns; None for what has none."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, dict):
        return pd.DataFrame({name: _kept(values) for name, values in cast("Mapping[str, Any]", data).items()})
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # polars; its own way to pandas would need pyarrow
        return pd.DataFrame({name: _kept(data[name].to_list()) for name in data.columns})
    if hasattr(data, "__dataframe__"):
        return pd.api.interchange.from_dataframe(data)
    return None


def _kept(values: Any) -> Any:
    """Texts as they are: pandas would make NaN of None, and to an encoder these are two."""
    import pandas as pd

    texts = isinstance(values, list) and any(isinstance(value, str) for value in values)
    return pd.Series(values, dtype=object) if texts else values


def _column(name: str, series: Any) -> tuple[str, npt.NDArray[np.float64], npt.NDArray[np.object_] | None]:
    """Kind, numbers, and texts if it is one of those."""
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    kind, gaps = series.dtype.kind, series.isna().to_numpy()
    if kind in "Mm":
        numbers = series.to_numpy(copy=True).astype(np.int64).astype(np.float64)
        numbers[gaps] = np.nan
        whole = np.abs(numbers[~gaps]).max(initial=0) <= _WHOLE_MAX
        return "int" if whole else "float", numbers, None
    if kind in "biuf":
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return {"b": "bool", "f": "float"}.get(kind, "int"), numbers, None
    values = series.to_numpy(dtype=object)
    found = [value for value, gap in zip(values, gaps, strict=True) if not gap]
    if all(isinstance(value, str) for value in found):
        texts = np.array(
            [MISSING_TEXT if gap else value for value, gap in zip(values, gaps, strict=True)], dtype=object
        )
        return "string", np.full(len(values), np.nan), texts
    if all(isinstance(value, bool | np.bool_ | int | float | np.integer | np.floating) for value in found):
        numbers = np.array([np.nan if gap else float(value) for value, gap in zip(values, gaps, strict=True)])
        flags = all(isinstance(value, bool | np.bool_) for value in found)
        return "bool" if flags else "float", numbers, None
    odd = next(value for value in found if not isinstance(value, str))
    raise ConversionError(
        f"column {name!r} holds {type(odd).__name__} {odd!r:.40}: a column is numbers, texts or dates, not several"
    )


def _has_none(series: Any) -> bool:
    """Whether None stands for a missing text in this column."""
    return series.dtype == object and any(value is None for value in series)
