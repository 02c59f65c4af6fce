"""Many tests at once: which of a model's features to believe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def benjamini_hochberg(p_values: ArrayLike, alpha: float) -> NDArray[np.bool_]:
    """Reject so many that at most a share `alpha` of the rejected is false, on average.

    With p sorted, reject the k smallest for the largest k with p(k) ≤ k alpha / m. Where nothing is true, any rejection
    at all has probability alpha. Holds for independent tests and for positively dependent ones.

    Source: Benjamini and Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57(1), 1995.

    Args:
        p_values: any number of them; NaN stands for a test that was not made, and is never rejected.
        alpha: the false discovery rate.

    Returns:
        True where rejected.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> p_values = np.concatenate([[1e-5, 2e-3], rng.uniform(0.1, 1, size=8)])
        >>> benjamini_hochberg(p_values, 0.05).nonzero()[0].tolist()
        [0, 1]
    """
    p = np.asarray(p_values, dtype=np.float64)
    ordered = np.sort(p[~np.isnan(p)])
    passing = np.flatnonzero(ordered <= alpha * np.arange(1, ordered.size + 1) / max(ordered.size, 1))
    return p <= (ordered[passing[-1]] if passing.size else -np.inf)
