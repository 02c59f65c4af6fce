"""Two more distances of histograms over the same bins, for people: neither decides anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from monitoring.binning import Counts


def jensen_shannon(reference: Counts, counts: Counts) -> float:
    """Measure the distance √((KL(p‖m) + KL(q‖m)) / 2) in bits, with m = (p + q) / 2: 0 if equal, 1 if disjoint.

    A metric, and finite whatever cells are empty. Like PSI it is never 0 by chance.

    Source: Endres and Schindelin, A new metric for probability distributions, IEEE Trans. Inf. Theory 49(7), 2003.

    Args:
        reference: [cells], with a positive sum.
        counts: [cells], with a positive sum.

    Example:
        >>> round(jensen_shannon(np.array([50, 50]), np.array([90, 10])), 3)
        0.383
    """
    p, q = reference / reference.sum(), counts / counts.sum()
    middle = (p + q) / 2
    divergence = sum(
        float((share[share > 0] * np.log2(share[share > 0] / middle[share > 0])).sum()) for share in (p, q)
    )
    return float(np.sqrt(max(divergence / 2, 0.0)))


def wasserstein(edges: ArrayLike, reference: Counts, counts: Counts) -> float | None:
    """Measure how far a value must move on average, in the column's own unit: ∫ |F - G|, between the outer edges.

    F and G are known at the edges and taken as straight between them; what lies in the open bins at the ends is taken
    to lie at the outer edge, so a shift that goes beyond the reference's range is larger than it looks here.

    Source: Vallender, Calculation of the Wasserstein distance between probability distributions on the line, Theory of
    Probability and its Applications 18(4), 1974.

    Args:
        edges: [k], ascending.
        reference: [k + 1], with a positive sum.
        counts: [k + 1], with a positive sum.

    Returns:
        None with fewer than two edges: there is no unit to measure in.

    Example:
        >>> wasserstein([0.0, 1.0, 2.0], np.array([0, 10, 0, 0]), np.array([0, 0, 10, 0]))
        1.0
    """
    at = np.asarray(edges, dtype=np.float64)
    if at.size < 2:
        return None
    gaps = (np.cumsum(reference) / reference.sum() - np.cumsum(counts) / counts.sum())[:-1]
    left, right, width = gaps[:-1], gaps[1:], np.diff(at)
    same_side = np.abs(left + right) / 2
    # Where the gap changes its sign within a bin, two triangles; elsewhere a trapezium.
    total = np.abs(left) + np.abs(right)
    crossing = np.divide(left**2 + right**2, 2 * total, out=np.zeros_like(total), where=total > 0)
    return float((width * np.where(left * right < 0, crossing, same_side)).sum())
