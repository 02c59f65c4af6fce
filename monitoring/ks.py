"""Kolmogorov-Smirnov distance of two samples that are known only as counts between the same edges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from monitoring.tails import kolmogorov_tail

if TYPE_CHECKING:
    from monitoring.binning import Counts

MEAN_OF_LIMIT: Final = math.sqrt(math.pi / 2) * math.log(2)  # of the Kolmogorov distribution, 0.8687


def ks(reference: Counts, counts: Counts) -> float:
    """Measure the largest gap between the two empirical distributions at the edges.

    D = max over edges e of |F(e) - G(e)|. Never above the exact statistic, and below it by at most `ks_error`.

    Source: Smirnov, Table for estimating the goodness of fit of empirical distributions, Ann. Math. Stat. 19, 1948.

    Args:
        reference: [bins], with a positive sum.
        counts: [bins], with a positive sum.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> reference, shifted = rng.normal(0.0, 1, 5000), rng.normal(0.5, 1, 1000)
        >>> edges = np.quantile(reference, np.arange(1, 128) / 128)
        >>> cells = [np.bincount(np.searchsorted(edges, x), minlength=128) for x in (reference, shifted)]
        >>> round(ks(*cells), 3), round(ks_error(*cells), 3), ks_p_value(ks(*cells), 1000, 5000) < 1e-6
        (0.227, 0.008, True)
    """
    gaps = np.cumsum(reference) / reference.sum() - np.cumsum(counts) / counts.sum()
    return float(np.abs(gaps).max())


def ks_error(reference: Counts, counts: Counts) -> float:
    """Bound what binning may hide: the largest share that both samples have in one bin, so at most the largest bin.

    Inside a bin the gap cannot grow beyond the gap at either end by more than the smaller of the two shares.
    """
    return float(np.minimum(reference / reference.sum(), counts / counts.sum()).max())


def null_ks(n: int, m: int) -> float:
    """Tell the mean distance of n rows against m of the same distribution: √(π/2) ln 2 √(1/n + 1/m), asymptotically.

    Source: Marsaglia, Tsang and Wang, Evaluating Kolmogorov's distribution, J. Stat. Software 8(18), 2003.
    """
    return MEAN_OF_LIMIT * math.sqrt(1 / n + 1 / m)


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """Tell how often n rows would lie at least this far from m of the same distribution: Q(√(nm / (n + m)) D).

    Asymptotic; ties and binning make the distance smaller, so the p-value only errs upwards.

    Source: Smirnov 1948, as above.
    """
    return kolmogorov_tail(math.sqrt(n * m / (n + m)) * statistic)
