"""Estimators that answer with one that they have fitted: searches and self-training."""

from __future__ import annotations

from typing import Any

from sklearn.model_selection._search import BaseSearchCV
from sklearn.semi_supervised import SelfTrainingClassifier

__all__ = ["cure_wrapper"]


def cure_wrapper(estimator: Any, _gap: Any) -> Any:
    """Take the one that answers; skl2onnx knows no search but `GridSearchCV`."""
    if isinstance(estimator, BaseSearchCV):
        return getattr(estimator, "best_estimator_", estimator)
    return getattr(estimator, "estimator_", estimator) if isinstance(estimator, SelfTrainingClassifier) else estimator
