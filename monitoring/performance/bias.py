"""Whether numbers are predicted too high or too low."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitoring.performance.figure import Figure, mean_figure

if TYPE_CHECKING:
    from monitoring.binning import Values


def mean_error(errors: Values) -> Figure:
    """Σ e / n with its normal interval, in the unit of what is predicted: above 0 predictions are too high.

    Without bias 0 lies within the interval, 95 times in 100.

    Source: Walther and Moore, The concepts of bias, precision and accuracy, Ecography 28(6), 2005.

    Args:
        errors: [n], predicted less true, n at least 2.

    Example:
        >>> mean_error(np.array([1.0, -1.0, 3.0, -1.0])).value
        0.5
    """
    return mean_figure(errors)
