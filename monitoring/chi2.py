"""Do two histograms over the same cells come from one distribution? Pearson's χ², and what p-value to believe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring.psi import psi_p_value
from monitoring.tails import chi_square_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from monitoring.binning import Counts


def chi2(reference: Counts, counts: Counts) -> float:
    """Measure how far the two rows of a 2 x B table are from having the same shares: Σ (O - E)² / E.

    E = row sum · column sum / total. A cell empty on both sides says nothing.

    Source: Pearson, On the criterion …, Philosophical Magazine 50(302), 1900; for two samples Cochran, The χ² test of
    goodness of fit, Ann. Math. Stat. 23(3), 1952.

    Args:
        reference: [cells], with a positive sum.
        counts: [cells], with a positive sum.

    Example:
        >>> round(chi2(np.array([50, 50]), np.array([90, 10])), 2)
        38.1
    """
    table: NDArray[np.int64] = np.stack([reference, counts])
    table = table[:, table.sum(axis=0) > 0]
    expected: NDArray[Any] = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def chi2_p_value(reference: Counts, counts: Counts) -> float:
    """Tell how often two samples of one distribution would have at least this χ²: a chi-square with B - 1 degrees.

    B are the cells that are not empty on both sides. Source and arguments as `chi2`.
    """
    freedom = int(((reference + counts) > 0).sum()) - 1
    return chi_square_tail(freedom, chi2(reference, counts)) if freedom else 1.0


def homogeneity_p_value(reference: Counts, counts: Counts) -> float:
    """Take the larger p-value of two tests of one table with the same limit: each errs where the other one does not.

    The likelihood ratio (`psi_p_value`) rejects too often where a cell that should have a few rows has none: 3 times at
    0.01 for a cell of 7 %, m = 50 and n = 10⁵. Pearson's statistic does so where a cell that should have hardly any has
    a few: 16 times at 0.001 for a cell of 1 %, m and n likewise. The larger of the two stayed within 1.4 times 0.01 in
    simulations with 2 to 20 cells, m from 50 to 10⁶ and n from 100 to 10⁵. Where all cells are well filled they agree.
    """
    return max(psi_p_value(reference, counts), chi2_p_value(reference, counts))
