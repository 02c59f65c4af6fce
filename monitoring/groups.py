"""The few groups of a column's cells that PSI, χ² and a histogram are made of: known from the reference alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from monitoring.psi import merge_groups
from monitoring.reference import MIN_ROWS_PER_BIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from monitoring.reference import FeatureReference

OTHER: Final = "(other)"
"""Name of the cell of all other categories; in brackets, because a category may be called other."""


def group_starts(column: FeatureReference) -> NDArray[np.intp]:
    """Find where each group begins among a column's cells, the missing count left out: for `np.add.reduceat`.

    Numbers: at most ten groups of near-equal share; the cells outside the reference's range belong to the first and
    the last one. A constant has three: below, itself, above. Categories: one each, but the last one is of those with
    fewer than ten rows in the reference and of all others together.
    """
    counts = np.asarray(column.counts, dtype=np.int64)
    if column.kind == "category":
        return np.arange(np.count_nonzero(counts[:-1] >= MIN_ROWS_PER_BIN) + 1)
    if len(column.edges) <= 2:
        return np.arange(counts.size)
    return np.append(0, merge_groups(counts[1:-1])[1:] + 1)


def group_names(column: FeatureReference) -> list[str]:
    """Name the groups, each once: ranges for numbers; a value that equals an edge is in the group below."""
    starts = group_starts(column).tolist()
    if column.kind == "category":
        return [*column.categories[: len(starts) - 1], OTHER]
    if len(column.edges) == 2:
        low, high = f"{round(column.edges[0], 30) + 0.0:.4g}", f"{column.edges[1]:.4g}"  # just below 0 is 0, not -1e-45
        return [f"below {low}", low if low == high else f"{low} to {high}", f"above {high}"]
    cuts = [f"{column.edges[start - 1]:.4g}" for start in starts[1:]]
    if not cuts:
        return ["all"]
    return [f"up to {cuts[0]}", *(f"{low} to {high}" for low, high in itertools.pairwise(cuts)), f"above {cuts[-1]}"]
