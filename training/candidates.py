"""The estimators that compete: a name, a class and its parameters each; scikit-learn is imported by `build` only."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import msgspec

__all__ = ["CANDIDATES", "MODULES", "Candidate", "estimator_class"]

MODULES = (
    "ensemble",
    "linear_model",
    "tree",
    "naive_bayes",
    "neighbors",
    "neural_network",
    "discriminant_analysis",
    "svm",
)
"""Of scikit-learn, in the order in which an estimator's class is looked for."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the search."""

    name: str
    estimator: str
    """Class in one of `MODULES`."""
    parameters: dict[str, Any]
    scaled: bool = False
    """Whether a StandardScaler comes first."""
    family: str = ""
    """Of the search space; empty: none."""

    @property
    def described(self) -> dict[str, Any]:
        """What the model file's provenance says of how it was made."""
        return {"candidate": self.name, "estimator": self.estimator, "scaled": self.scaled, **self.parameters}

    def build(self, seed: int) -> Any:
        """Make an unfitted estimator; equal seeds give equal probabilities, bit for bit.

        Nothing runs in parallel inside: a forest with `n_jobs` adds its trees up in the order their threads finish.
        """
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        kind = estimator_class(self.estimator)
        seeded = {"random_state": seed} if "random_state" in inspect.signature(kind).parameters else {}
        estimator = kind(**self.parameters, **seeded)
        return make_pipeline(StandardScaler(), estimator) if self.scaled else estimator


def estimator_class(name: str) -> Any:
    """The class of that name in the first of `MODULES` that has one.

    Raises:
        LookupError: none has.
    """
    for module in MODULES:
        found = getattr(importlib.import_module(f"sklearn.{module}"), name, None)
        if found is not None:
            return found
    raise LookupError(name)


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
