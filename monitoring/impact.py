"""What a feature's shift does to the score: by how much the mean score changes for it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitoring.binning import Counts


def impact(effects: Sequence[float], reference: Counts, counts: Counts) -> float:
    """Estimate the change of the mean score from one feature's shift: Σ (q - p) e over its groups.

    p and q are the groups' shares, e the score's partial dependence: its mean where the feature has a value of the
    group and all other features are as they were. So it is what would happen if only this feature had moved. It says
    nothing of what features do together, nor of missing values; features that move together each get the whole of what
    they share. Estimates of windows and workers merge as their counts do.

    Source: Friedman, Greedy function approximation: a gradient boosting machine, Ann. Statist. 29(5), 2001, 8.2.

    Args:
        effects: [groups].
        reference: [groups], with a positive sum.
        counts: [groups], with a positive sum.

    Example:
        >>> impact([0.1, 0.9], np.array([50, 50]), np.array([25, 75]))
        0.2
    """
    shift = counts / counts.sum() - reference / reference.sum()
    return float(shift @ np.asarray(effects, dtype=np.float64))
