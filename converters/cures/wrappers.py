"""What only passes rows on to an estimator inside it has no converter: the one inside is converted."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

__all__ = ["cure_wrapper"]

_INSIDE = {
    "FrozenEstimator": "estimator",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "SelfTrainingClassifier": "estimator_",
}
"""By name: scikit-learn hides the experimental ones until they are asked for."""


def cure_wrapper(estimator: Any, _gap: Any) -> Any:
    """The fitted estimator inside, which answers for its wrapper; through several wrappers if need be."""
    while isinstance(estimator, BaseEstimator) and type(estimator).__name__ in _INSIDE:
        inside = getattr(estimator, _INSIDE[type(estimator).__name__], None)
        if inside is None:
            break
        estimator = inside
    return estimator
