"""Whether a probability can be taken at its word: of the rows told 80 %, do four in five come true?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Calibration", "CalibrationBin", "calibrate"]

_BINS = 10
_LEAST_ROWS = 10
"""In a bin, on average: with fewer its share says little."""


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with probabilities near each other."""

    rows: int
    predicted: float
    """Their mean probability."""
    observed: float
    """The share that came true."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How far predicted probabilities and observed shares are apart."""

    bins: tuple[CalibrationBin, ...]
    """By rising probability, with about equally many rows; equal probabilities share one."""
    brier: float
    """Mean squared distance of probability and outcome, 0 (best) to 1."""
    error: float
    """Expected calibration error: mean over the rows of their bin's distance of the two, 0 (best) to 1."""


def calibrate(codes: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> Calibration:
    """Compare probabilities [n, classes] with the classes' indices [n].

    Of two classes the last one's probability is judged, of more the predicted one's.

    Source: Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, ICML 2017; bins of equal counts.

    Example:
        >>> calibrate(np.array([0, 1]), np.array([[0.75, 0.25], [0.25, 0.75]])).brier
        0.0625
    """
    if probabilities.shape[1] == 2:
        told, true = probabilities[:, 1], codes == 1
    else:
        told, true = probabilities.max(axis=1), probabilities.argmax(axis=1) == codes
    count = max(min(_BINS, len(told) // _LEAST_ROWS), 1)
    edges = np.quantile(told, np.arange(1, count) / count)
    place = np.searchsorted(edges, told, side="right")
    bins = tuple(
        CalibrationBin(rows=int(mask.sum()), predicted=float(told[mask].mean()), observed=float(true[mask].mean()))
        for mask in (place == number for number in range(len(edges) + 1))
        if mask.any()
    )
    apart = sum(one.rows * abs(one.predicted - one.observed) for one in bins)
    return Calibration(bins=bins, brier=float(np.mean((told - true) ** 2)), error=float(apart / len(told)))
