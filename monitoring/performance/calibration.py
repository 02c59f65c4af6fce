"""Are rows with a score of 0.8 right eight times in ten? The reliability curve, and its distance from the diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from monitoring.performance.figure import Figure, Z

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

BINS: Final = 10


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of similar score."""

    n: int
    score: float
    """Their mean score."""
    rate: float
    """The share of them in which the event came."""


def reliability(scores: Floats, came: NDArray[np.bool_], bins: int = BINS) -> list[ReliabilityBin]:
    """Sort rows by score into bins of near-equal number; equal scores never part, so there may be fewer bins.

    Source: Niculescu-Mizil and Caruana, Predicting good probabilities with supervised learning, ICML 2005.

    Args:
        scores: [n], probabilities of an event.
        came: [n], whether it came.
        bins: most bins.

    Example:
        >>> reliability(np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False]), 2)[1].rate
        0.5
    """
    cuts = np.quantile(scores, np.arange(1, bins) / bins)
    cell = np.searchsorted(cuts, scores)
    n = np.bincount(cell, minlength=bins)
    score, rate = (np.bincount(cell, weights=weights, minlength=bins) for weights in (scores, came))
    return [
        ReliabilityBin(n=int(n[at]), score=float(score[at] / n[at]), rate=float(rate[at] / n[at]))
        for at in np.flatnonzero(n)
    ]


def calibration_error(curve: list[ReliabilityBin]) -> tuple[Figure, float]:
    """Measure Σ n(b)/n |rate(b) - score(b)|, the expected calibration error, and what chance alone gives.

    Rates are noisy, so the error of perfect scores is above 0: about Σ n(b)/n √(2 s(1 - s) / (π n(b))) with s the
    bin's score. The value is as measured, that part included. A bin's |gap| is expected above the true one by at most
    that part, and varies no more than the gap: the interval reaches from the value less chance less 1.96 deviations to
    the value and 1.96 deviations, which errs on the wide side. It bounds the error between bins; what cancels within a
    bin is not seen.

    Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015;
    on the bias Bröcker, Estimating reliability and resolution of probability forecasts, Climate Dynamics 39, 2012.

    Returns:
        The error with its interval, and the mean by chance.

    Example:
        >>> figure, by_chance = calibration_error([ReliabilityBin(n=100, score=0.5, rate=0.8)])
        >>> round(figure.value, 2), round(by_chance, 2)
        (0.3, 0.04)
    """
    n = np.array([found.n for found in curve])
    score, rate = np.array([found.score for found in curve]), np.array([found.rate for found in curve])
    share = n / n.sum()
    value = float(share @ np.abs(rate - score))
    chance = float(share @ np.sqrt(2 * score * (1 - score) / (np.pi * n)))
    spread = Z * float(np.sqrt((share**2 * rate * (1 - rate) / n).sum()))
    return Figure(value=value, low=max(value - chance - spread, 0.0), high=value + spread), chance
