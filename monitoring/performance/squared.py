"""How far numbers are off, large errors counted more."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from monitoring.performance.figure import Figure, mean_figure

if TYPE_CHECKING:
    from monitoring.binning import Values


def root_mean_squared_error(errors: Values) -> Figure:
    """√(Σ e² / n), in the unit of what is predicted; the interval is the root of the mean square's normal one.

    A root keeps the order, so it keeps the coverage too; below 0 the interval is cut. Where few rows have most of the
    error it comes out short, as `mean_figure` says.

    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, Int. J. of Forecasting 22(4), 2006.

    Args:
        errors: [n], n at least 2.

    Example:
        >>> root_mean_squared_error(np.array([1.0, -7.0])).value
        5.0
    """
    square = mean_figure(errors**2)
    value, low, high = (sqrt(max(bound or 0.0, 0.0)) for bound in (square.value, square.low, square.high))
    return Figure(value=value, low=low, high=high)
