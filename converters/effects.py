"""What each feature does to the score, group by group: measured once, when the model file is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from converters.rows import Rows
from monitoring.binning import as_seen
from monitoring.groups import group_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    from monitoring import FeatureReference, Reference

    Watched: TypeAlias = Callable[[Rows], npt.NDArray[np.float64]]

__all__ = ["with_effects"]

VALUES: Final = 3
"""Values that stand for a group: its own quantiles at 1/6, 1/2 and 5/6."""
SCORED_ROWS: Final = 30_000
"""Most rows that are scored in all, as long as each value is tried on `ROWS_MIN`: under a second."""
ROWS_MIN: Final = 20
_DIGITS: Final = 6


def with_effects(
    reference: Reference,
    watched: Watched,
    train: Rows,
    train_watched: npt.NDArray[np.float64],
    heldout: Rows,
    texts: Sequence[int] = (),
) -> Reference:
    """Add each feature's `effects`: the mean score of held-out rows when the feature is given a group's values.

    Equal inputs give equal numbers. A group without a training row gets the mean score: nothing is known of it.

    Args:
        reference: of these training rows.
        watched: the score [rows] of rows.
        train: rows, whose values are tried.
        train_watched: [n, features], what is counted of them: the length or the code, where a column is text.
        heldout: rows; with many features, evenly spaced ones of them.
        texts: places of the text columns.
    """
    groups = sum(group_starts(column).size for column in reference.features)
    rows = max(ROWS_MIN, SCORED_ROWS // max(groups * VALUES, 1))
    spaced = np.unique(np.linspace(0, len(heldout) - 1, min(rows, len(heldout))).astype(np.intp))
    others = heldout[spaced]
    mean = float(watched(others).mean())
    seen = as_seen(train_watched, reference.dtype).T
    features = []
    for index, (column, values) in enumerate(zip(reference.features, seen, strict=True)):
        text = texts.index(index) if index in texts else None
        told = train.texts[:, text] if train.texts is not None and text is not None else values

        def scored(tried: npt.NDArray[Any], index: int = index, text: int | None = text) -> float:
            return float(watched(_given(others, tried, index, text)).mean())

        effects = _effects(column, values, told, scored, mean)
        features.append(msgspec.structs.replace(column, effects=effects))
    return msgspec.structs.replace(reference, features=features)


def _given(others: Rows, tried: npt.NDArray[Any], index: int, text: int | None) -> Rows:
    """The rows as often as there are values, each time with one of them in the column."""
    rows = others[np.tile(np.arange(len(others)), len(tried))]
    numbers, texts = rows.numbers.copy(), rows.texts
    column = np.repeat(tried, len(others))
    if text is None or texts is None:
        numbers[:, index] = column
    else:
        texts = texts.copy()
        texts[:, text] = column
    return Rows(numbers=numbers, texts=texts)


def _effects(
    column: FeatureReference,
    values: npt.NDArray[Any],
    told: npt.NDArray[Any],
    scored: Callable[[npt.NDArray[Any]], float],
    mean: float,
) -> list[float]:
    """One a group; what stands for a group are the values at its quantiles, told as the model takes them."""
    finite = np.flatnonzero(np.isfinite(values))
    finite = finite[np.argsort(values[finite], kind="stable")]
    effects = []
    for group in _groups(column, values[finite]):
        if not group.size:
            effects.append(round(mean, _DIGITS))
            continue
        places = np.quantile(np.arange(group.size), (np.arange(VALUES) + 0.5) / VALUES, method="nearest")
        effects.append(round(scored(told[finite[group[places]]]), _DIGITS))
    return effects


def _groups(column: FeatureReference, values: npt.NDArray[Any]) -> list[npt.NDArray[np.intp]]:
    """The places, among ascending values, of each group of the column, as `group_starts` has them."""
    if column.kind == "category":
        cells = np.full(values.size, len(column.codes))
        for cell, code in enumerate(column.codes):
            cells[values == code] = cell
    else:
        cells = np.searchsorted(column.edges, values, side="left")
    starts = group_starts(column)
    found = np.searchsorted(starts, cells, side="right") - 1
    return [np.flatnonzero(found == group) for group in range(starts.size)]
