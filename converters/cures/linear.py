"""Linear discriminant analysis of two classes: skl2onnx takes its one decision for two."""

from __future__ import annotations

from typing import Any

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

__all__ = ["cure_discriminant"]


def cure_discriminant(estimator: Any, _gap: Any) -> Any:
    """Of two classes its probability is a logistic function of one decision: say it as a logistic regression does."""
    if not isinstance(estimator, LinearDiscriminantAnalysis) or len(getattr(estimator, "classes_", ())) != 2:
        return estimator
    told = LogisticRegression()
    told.classes_ = estimator.classes_
    told.coef_, told.intercept_ = estimator.coef_, estimator.intercept_
    told.n_features_in_ = estimator.n_features_in_
    return told
