"""The estimators that compete: a name, a class and its parameters each; scikit-learn is imported by `build` only."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["CANDIDATES", "Candidate"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the search."""

    name: str
    estimator: str
    """Class in `sklearn.ensemble` or `sklearn.linear_model`."""
    parameters: dict[str, Any]
    scaled: bool = False
    """Whether a StandardScaler comes first."""

    def build(self, seed: int) -> Any:
        """Make an unfitted estimator; equal seeds give equal probabilities, bit for bit.

        Nothing runs in parallel inside: a forest with `n_jobs` adds its trees up in the order their threads finish.
        """
        from sklearn import ensemble, linear_model
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        kind = getattr(ensemble, self.estimator, None) or getattr(linear_model, self.estimator)
        estimator = kind(**self.parameters, random_state=seed)
        return make_pipeline(StandardScaler(), estimator) if self.scaled else estimator


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate(
            name="forest-50x4", estimator="RandomForestClassifier", parameters={"n_estimators": 50, "max_depth": 4}
        ),
        Candidate(
            name="forest-100x8", estimator="RandomForestClassifier", parameters={"n_estimators": 100, "max_depth": 8}
        ),
        Candidate(
            name="forest-200", estimator="RandomForestClassifier", parameters={"n_estimators": 200, "max_depth": None}
        ),
        Candidate(
            name="logistic", estimator="LogisticRegression", parameters={"C": 1.0, "max_iter": 1000}, scaled=True
        ),
        Candidate(
            name="boosting",
            estimator="GradientBoostingClassifier",
            parameters={"n_estimators": 100, "max_depth": 3, "learning_rate": 0.1},
            scaled=True,
        ),
    )
}
"""By name, in the order they are tried; earlier ones win ties."""
