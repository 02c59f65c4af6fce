"""Voting: a flag that says nothing of the answers keeps skl2onnx from converting."""

from __future__ import annotations

import copy
from typing import Any

from sklearn.ensemble import VotingClassifier

__all__ = ["cure_voting"]


def cure_voting(estimator: Any, _gap: Any) -> Any:
    """Set `flatten_transform=False`, which only `transform` looks at."""
    if not isinstance(estimator, VotingClassifier) or not estimator.flatten_transform:
        return estimator
    flat = copy.copy(estimator)
    flat.flatten_transform = False
    return flat
