"""Rows on both sides of where an answer changes: found by asking, whatever stands between the data and the trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from converters.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from converters.modelfile import Column
    from converters.oracle import Oracle

    Doubles = npt.NDArray[np.float64]
    Ordinals = npt.NDArray[np.int64]

__all__ = ["crossing_rows"]

_ROWS = 256
_STEPS = 34
"""Enough to halve all float32 numbers down to two neighbours."""
_LARGEST = 2.0**24
_NOTHING = 1e-30
"""lightgbm parts what is 0 from what is not at 1e-35, where it takes some of either for the other."""


def crossing_rows(oracle: Oracle, heldout: Rows, columns: Sequence[Column], rng: np.random.Generator) -> list[Rows]:
    """Pairs of rows that differ in one number by as little as its kind can, and in what scikit-learn answers.

    Between the values that a column has in two held-out rows the answer of trees changes somewhere; halving the way,
    counted in float32 numbers or in whole ones, ends at a threshold as the data sees it: behind imputers, scalers and
    encoders, in any booster. A block of the lower sides, and one of the upper; none if no answer changes.
    """
    numeric = [place for place, column in enumerate(columns) if column.kind in {"float", "int"}]
    if not numeric:
        return []
    base, others = (heldout[rng.integers(len(heldout), size=_ROWS)] for _ in range(2))
    places, index = rng.choice(numeric, size=_ROWS), np.arange(_ROWS)
    ends = np.sort([base.numbers[index, places], others.numbers[index, places]], axis=0)
    kept = np.isfinite(ends).all(axis=0) & (np.abs(ends) < _LARGEST).all(axis=0) & (ends[0] < ends[1])
    base, places, ends = base[kept], places[kept], ends[:, kept]
    if not len(base):
        return []
    whole = np.array([columns[place].kind == "int" for place in places])
    low, high = (_ordinals(end, whole) for end in ends)
    first = _asked(oracle, base, places, _values(low, whole))
    differs = (_asked(oracle, base, places, _values(high, whole)) != first).any(axis=1)
    base, places, whole = base[differs], places[differs], whole[differs]
    low, high, first = low[differs], high[differs], first[differs]
    if not len(base):
        return []
    for _ in range(_STEPS):
        middle = (low + high) // 2
        same = (_asked(oracle, base, places, _values(middle, whole)) == first).all(axis=1)
        low, high = np.where(same, middle, low), np.where(same | (middle == low), high, middle)
        if (high - low <= 1).all():
            break
    told = np.maximum(*(np.abs(_values(side, whole)) for side in (low, high))) > _NOTHING
    return [_with(base[told], places[told], _values(side, whole)[told]) for side in (low, high)]


def _asked(oracle: Oracle, rows: Rows, places: npt.NDArray[Any], values: Doubles) -> Doubles:
    return np.concatenate(oracle.scores(_with(rows, places, values)), axis=1)


def _with(rows: Rows, places: npt.NDArray[Any], values: Doubles) -> Rows:
    """The rows with one number each replaced."""
    numbers = rows.numbers.copy()
    numbers[np.arange(len(rows)), places] = values
    return Rows(numbers=numbers, texts=rows.texts)


def _ordinals(values: Doubles, whole: npt.NDArray[np.bool_]) -> Ordinals:
    """The how many-th float32 a value is, counted from 0; a whole number itself."""
    bits = values.astype(np.float32).view(np.int32).astype(np.int64)
    return np.where(whole, values.astype(np.int64), np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF)))


def _values(ordinals: Ordinals, whole: npt.NDArray[np.bool_]) -> Doubles:
    size = np.abs(ordinals).astype(np.int32).view(np.float32).astype(np.float64)
    return np.where(whole, ordinals.astype(np.float64), np.where(ordinals < 0, -size, size))
