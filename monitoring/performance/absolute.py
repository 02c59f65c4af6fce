"""How far numbers are off, on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from monitoring.performance.figure import Figure, mean_figure

if TYPE_CHECKING:
    from monitoring.binning import Values


def mean_absolute_error(errors: Values) -> Figure:
    """Σ |e| / n with its normal interval, in the unit of what is predicted.

    Source: Willmott and Matsuura, Advantages of the mean absolute error (MAE) over the root mean square error (RMSE),
    Climate Research 30, 2005.

    Args:
        errors: [n], n at least 2.

    Example:
        >>> mean_absolute_error(np.array([1.0, -1.0, 3.0, -3.0])).value
        2.0
    """
    return mean_figure(np.abs(errors))
