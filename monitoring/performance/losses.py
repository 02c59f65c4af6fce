"""Two proper scores of probabilities, a row at a time: smaller is better, and honest probabilities are best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from monitoring.binning import Counts

    Floats = NDArray[np.floating[Any]]

SURE: Final = float(np.finfo(np.float32).eps)
"""Probabilities are taken as at least this and at most one less it: a model that is sure and wrong would lose
infinitely. The step of float32 at 1, in which models answer."""


def log_losses(truth: Counts, probabilities: Floats) -> Floats:
    """Tell -ln p of the true class, in nats.

    Source: Good, Rational decisions, J. Royal Stat. Society B 14(1), 1952.

    Args:
        truth: [n] index of the true class.
        probabilities: [n, classes].

    Example:
        >>> log_losses(np.array([1]), np.array([[0.5, 0.5]])).round(3).tolist()
        [0.693]
    """
    chosen = probabilities[np.arange(truth.size), truth].astype(np.float64)
    losses: Floats = -np.log(np.clip(chosen, SURE, 1 - SURE))
    return losses


def brier_scores(truth: Counts, probabilities: Floats) -> Floats:
    """Tell the squared distance of the probabilities from what came: of two classes that of one, 0 to 1; of more, Σ.

    Source: Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78(1), 1950.

    Args:
        truth: [n] index of the true class.
        probabilities: [n, classes].

    Example:
        >>> brier_scores(np.array([1, 0]), np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
        [0.25, 0.0]
    """
    came = np.arange(probabilities.shape[1]) == truth[:, np.newaxis]
    squares = (probabilities.astype(np.float64) - came) ** 2
    several = probabilities.shape[1] > 2
    return np.asarray(squares.sum(axis=1) if several else squares[:, 1], dtype=np.float64)
