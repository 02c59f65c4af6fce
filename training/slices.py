"""How good a classifier is on parts of the held-out rows: an average may hide a group that it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluate import Metrics, measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from training.data import Dataset
    from training.split import Split

    Mask = npt.NDArray[np.bool_]

__all__ = ["Slice", "measure_slices"]

_LEAST_OF_A_CLASS = 5
"""Rows of each class that a slice's metrics need."""

_MOST_VALUES = 20
"""Of a category, the commonest first."""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Held-out rows that have something in common."""

    name: str
    rows: int
    metrics: Metrics | None
    """None: too few rows of a class."""


def measure_slices(
    dataset: Dataset, split: Split, probabilities: npt.NDArray[np.float64], numbers: Iterable[str]
) -> tuple[Slice, ...]:
    """Judge each value of each category, and each third of some other columns, by the held-out rows.

    Args:
        dataset: all rows.
        split: the thirds' bounds are quantiles of the training rows.
        probabilities: of the held-out rows, [n, classes].
        numbers: names of the other columns; categories among them are not repeated.
    """
    codes = dataset.codes[split.heldout]

    def judged(name: str, mask: Mask) -> Slice:
        counts = np.bincount(codes[mask], minlength=len(dataset.classes))
        enough = counts.min() >= _LEAST_OF_A_CLASS
        return Slice(
            name=name, rows=int(mask.sum()), metrics=measure(codes[mask], probabilities[mask]) if enough else None
        )

    return tuple(judged(name, mask) for name, mask in _masks(dataset, split, frozenset(numbers)) if mask.any())


def _masks(dataset: Dataset, split: Split, numbers: frozenset[str]) -> Iterator[tuple[str, Mask]]:
    for index, (column, kind) in enumerate(zip(dataset.columns, dataset.kinds, strict=True)):
        values = dataset.rows[split.heldout, index]
        if kind == "category":
            found, counts = np.unique(values, return_counts=True)
            for value in found[np.argsort(-counts, kind="stable")][:_MOST_VALUES]:
                yield f"{column} = {value:g}", values == value
        elif column in numbers:
            low, high = np.quantile(dataset.rows[split.train, index], [1 / 3, 2 / 3])
            yield f"{column} < {low:.4g}", values < low
            yield f"{low:.4g} ≤ {column} < {high:.4g}", (values >= low) & (values < high)
            yield f"{column} ≥ {high:.4g}", values >= high
