"""The one way values become counts, for the reference and for live rows alike.

A column with inner edges e1 < e2 < … < ek has k + 1 bins with open ends: (-inf, e1], (e1, e2], …, (ek, inf). A value
that equals an edge belongs to the bin below it, so the counts up to an edge are the empirical distribution there. One
more cell, the last, counts NaN: a missing value. A column of categories has a cell for each code, one for any other
value, and the one for missing values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike

Counts: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.floating[Any]]


def as_seen(values: ArrayLike, dtype: DTypeLike) -> Values:
    """Cast to the dtype the model reads; what it cannot hold becomes infinite, as it would on the way to the model."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=dtype)


def fence(edges: ArrayLike, dtype: DTypeLike) -> Values:
    """Close the last bin with +inf: NaN sorts after it, so the same search tells a large value from a missing one."""
    return np.append(np.asarray(edges, dtype=dtype), np.asarray(np.inf, dtype=dtype))


def count_into(cells: Counts, fences: Values, values: Values) -> None:
    """Add one column's values to its cells, in place.

    The values are sorted and the edges searched in them, not the other way round: 0.17 µs for a row of 31 columns with
    128 bins in blocks of 1,024, against 1.28 µs. Blocks of under 100 rows cost 90 µs whatever their size: gather small
    ones first.

    Args:
        cells: one cell a bin and one for missing values: as many as `fences` plus one.
        fences: what `fence` made of the inner edges.
        values: [n], any n, of the dtype of `fences`.

    Raises:
        TypeError: the dtypes differ. A float32 value beside an edge that is a double falls on either side of it at
            random, which looks like drift.
    """
    if values.dtype != fences.dtype:
        raise TypeError(f"values are {values.dtype}, edges are {fences.dtype}: cast the values first")
    up_to = np.searchsorted(np.sort(values), fences, side="right")
    cells[:-1] += up_to
    cells[1:-1] -= up_to[:-1]
    cells[-1] += values.size - up_to[-1]


def count_codes_into(cells: Counts, codes: Values, values: Values) -> None:
    """Add one column's categories to its cells, in place; a value that is no code counts as another category.

    Args:
        cells: one for each code, one for other values, one for missing values: as many as `codes` plus two.
        codes: distinct and finite, in any order.
        values: [n], any n, of the dtype of `codes`.

    Raises:
        TypeError: the dtypes differ, so that a code may equal none of the values that stand for it.
    """
    if values.dtype != codes.dtype:
        raise TypeError(f"values are {values.dtype}, codes are {codes.dtype}: cast the values first")
    ordered = np.sort(values)
    found = np.searchsorted(ordered, codes, side="right") - np.searchsorted(ordered, codes, side="left")
    present = np.searchsorted(ordered, np.inf, side="right")
    cells[:-2] += found
    cells[-2] += present - found.sum()
    cells[-1] += values.size - present


class Bins:
    """Several columns' cells, one column after the other, in one int64 vector that merges by addition.

    Args:
        marks: each column's inner edges, or its codes.
        dtype: of the values.
        coded: whether a column's marks are codes; none of them, if left out.
    """

    def __init__(self, marks: Sequence[ArrayLike], dtype: DTypeLike, coded: Sequence[bool] | None = None) -> None:
        self.dtype = np.dtype(dtype)
        self._coded = list(coded) if coded is not None else [False] * len(marks)
        self._marks = [
            np.asarray(column, dtype=self.dtype) if codes else fence(column, self.dtype)
            for column, codes in zip(marks, self._coded, strict=True)
        ]
        ends = np.cumsum([np.size(column) + 2 for column in marks]).tolist()
        self._cells = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self.size: int = ends[-1]

    def __repr__(self) -> str:
        """Show how many columns and cells there are."""
        return f"Bins(columns={len(self._cells)}, cells={self.size})"

    def zeros(self) -> Counts:
        """Make an empty count vector."""
        return np.zeros(self.size, dtype=np.int64)

    def count(self, counts: Counts, columns: Sequence[Values]) -> None:
        """Add one block of values, a vector for each column, to `counts` in place."""
        for cells, marks, codes, values in zip(self._cells, self._marks, self._coded, columns, strict=True):
            (count_codes_into if codes else count_into)(counts[cells], marks, values)
