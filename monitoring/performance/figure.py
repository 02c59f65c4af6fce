"""What every statistic here answers with: a number, its interval, or the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from monitoring.binning import Values

Z: Final = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


MIN_ROWS: Final = 30
"""Rows below which an interval would say nothing of use."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic with its 95 % interval; without a value, the reason says what is missing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def mean_figure(values: Values) -> Figure:
    """The mean of independent rows with its normal interval: mean ± 1.96 s/√n, by the central limit theorem.

    Of a skewed loss the interval comes out a little short: a rare large loss may not have been drawn yet.

    Args:
        values: [n], n at least 2.

    Example:
        >>> mean_figure(np.array([0.0, 1.0, 0.0, 1.0])).value
        0.5
    """
    mean, half = float(values.mean()), Z * float(values.std(ddof=1)) / float(np.sqrt(values.size))
    return Figure(value=mean, low=mean - half, high=mean + half)
