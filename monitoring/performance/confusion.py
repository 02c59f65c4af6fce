"""Which class was taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from monitoring.binning import Counts


def confusion(truth: Counts, predicted: Counts, classes: int) -> Counts:
    """Count rows by true class (rows) and predicted class (columns); merges by addition.

    Args:
        truth: [n] index of the true class.
        predicted: [n] index of the predicted class.
        classes: how many there are.

    Example:
        >>> confusion(np.array([0, 1, 1]), np.array([0, 1, 0]), 2).tolist()
        [[1, 0], [1, 1]]
    """
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)
