"""What each feature does to the score, group by group: measured once, when the model file is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from monitoring.binning import as_seen
from monitoring.groups import group_starts

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy.typing as npt

    from monitoring import FeatureReference, Reference

    Watched: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]

__all__ = ["with_effects"]

VALUES: Final = 3
"""Values that stand for a group: its own quantiles at 1/6, 1/2 and 5/6."""
SCORED_ROWS: Final = 30_000
"""Most rows that are scored in all, as long as each value is tried on `ROWS_MIN`: under a second."""
ROWS_MIN: Final = 20
_DIGITS: Final = 6


def with_effects(
    reference: Reference, watched: Watched, train_rows: npt.NDArray[np.float64], heldout_rows: npt.NDArray[np.float64]
) -> Reference:
    """Add each feature's `effects`: the mean score of held-out rows when the feature is given a group's values.

    Equal inputs give equal numbers. A group without a training row gets the mean score: nothing is known of it.

    Args:
        reference: of these training rows.
        watched: the score [rows] of rows [rows, features].
        train_rows: [n, features].
        heldout_rows: [m, features]; with many features, evenly spaced ones of them.
    """
    groups = sum(group_starts(column).size for column in reference.features)
    rows = max(ROWS_MIN, SCORED_ROWS // max(groups * VALUES, 1))
    spaced = np.unique(np.linspace(0, len(heldout_rows) - 1, min(rows, len(heldout_rows))).astype(np.intp))
    others = np.asarray(as_seen(heldout_rows[spaced], reference.dtype), dtype=np.float32)
    mean = float(watched(others).mean())
    columns = as_seen(train_rows, reference.dtype).T
    return msgspec.structs.replace(
        reference,
        features=[
            msgspec.structs.replace(column, effects=_effects(column, index, values, watched, others, mean))
            for index, (column, values) in enumerate(zip(reference.features, columns, strict=True))
        ],
    )


def _effects(
    column: FeatureReference,
    index: int,
    values: npt.NDArray[Any],
    watched: Watched,
    others: npt.NDArray[np.float32],
    mean: float,
) -> list[float]:
    effects = []
    for group in _groups(column, values[np.isfinite(values)]):
        if not group.size:
            effects.append(round(mean, _DIGITS))
            continue
        tried = np.quantile(group, (np.arange(VALUES) + 0.5) / VALUES, method="nearest")
        rows = np.tile(others, (VALUES, 1))
        rows[:, index] = np.repeat(tried, len(others))
        effects.append(round(float(watched(rows).mean()), _DIGITS))
    return effects


def _groups(column: FeatureReference, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The values of each group of the column, as `group_starts` has them."""
    if column.kind == "category":
        cells = np.full(values.size, len(column.codes))
        for cell, code in enumerate(column.codes):
            cells[values == code] = cell
    else:
        cells = np.searchsorted(column.edges, values, side="left")
    starts = group_starts(column)
    found = np.searchsorted(starts, cells, side="right") - 1
    return [values[found == group] for group in range(starts.size)]
