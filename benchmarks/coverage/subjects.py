"""Every estimator of scikit-learn, and of the boosters that are installed, fitted on data that it takes."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401 - else they hide

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Subject", "Task", "names", "subjects_of"]

ROWS = 300
FRESH = 200
"""Rows that neither fit, certificate nor golden rows have seen."""
COLUMNS = 6
_WORDS = ("red", "dry", "white", "sweet", "young", "old", "café", "l'eau", "cheap", "fine", "sour", "round")
_TEXTS = {"CountVectorizer", "HashingVectorizer", "TfidfVectorizer"}
_CATEGORIES = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
_COUNTS = {"LatentDirichletAllocation", "TfidfTransformer", "MultinomialNB", "ComplementNB", "CategoricalNB"}
_BOOSTERS = {
    "xgboost": ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"),
    "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
}

Task = str
"""`binary`, `multiclass`, `several targets`, or empty."""


class Subject(NamedTuple):
    """One estimator, and the data for it."""

    name: str
    task: Task
    group: str
    estimator: Any
    X: Any
    y: Any

    def part(self, rows: slice) -> Any:
        """Some rows of the data."""
        return self.X.iloc[rows] if hasattr(self.X, "iloc") else self.X[rows]


def names() -> list[str]:
    """All of them, by name: scikit-learn's, then the boosters'."""
    from sklearn.utils import all_estimators

    return [name for name, _ in all_estimators()] + [
        name for library, found in _BOOSTERS.items() if _has(library) for name in found
    ]


def _has(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def subjects_of(name: str) -> Iterator[Subject]:
    """The estimator as scikit-learn's common tests construct it, not fitted, once for each task that it knows.

    Raises:
        Exception: whatever it raises when it is constructed.
    """
    for estimator in _constructed(name):
        group, tasks = _group(estimator)
        for task in tasks:
            X, y = _data(name, estimator, task)
            yield Subject(name, task, group, estimator, X, y)
        return


def _constructed(name: str) -> Iterator[Any]:
    from sklearn.utils import all_estimators
    from sklearn.utils._test_common.instance_generator import _construct_instances

    for library, found in _BOOSTERS.items():
        if name in found:
            kind = getattr(importlib.import_module(library), name)
            yield kind(n_estimators=10, verbosity=-1 if library == "lightgbm" else 0)
            return
    yield from _construct_instances(dict(all_estimators())[name])


def _group(estimator: Any) -> tuple[str, tuple[Task, ...]]:
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
    from sklearn.utils import get_tags

    tags = get_tags(estimator)
    several = tags.target_tags.multi_output
    if is_classifier(estimator):
        one: tuple[Task, ...] = ("binary", "multiclass") if tags.classifier_tags.multi_class else ("binary",)
        if tags.target_tags.single_output is False:
            one = ()
        return "Classifiers", one + (("several targets",) if several else ())
    if is_regressor(estimator):
        one = ("",) if tags.target_tags.single_output else ()
        return "Regressors", one + (("several targets",) if several else ())
    if is_outlier_detector(estimator):
        return "Outlier detectors", ("",)
    if is_clusterer(estimator):
        return "Clusterers", ("",)
    return "Transformers", ("",)


def _data(name: str, estimator: Any, task: Task) -> tuple[Any, Any]:
    from sklearn.utils import get_tags

    tags, rng = get_tags(estimator), np.random.default_rng(0)
    count = ROWS + FRESH
    centres = rng.integers(0, 3, count)
    X: Any = (rng.normal(size=(count, COLUMNS)) + 1.5 * centres[:, None]).astype(np.float64)
    if name in _TEXTS:
        X = [" ".join(rng.choice(_WORDS, 5)) for _ in range(count)]
    elif name in _CATEGORIES:
        import pandas as pd

        X = pd.DataFrame(
            {"town": rng.choice(["Basel", "Bern", "Genf"], count), "size": rng.choice(["s", "m", "l"], count)}
        )
    elif name in _COUNTS or (tags.input_tags.categorical and not tags.input_tags.two_d_array):
        X = rng.integers(0, 5, (count, COLUMNS)).astype(np.float64)
    elif tags.input_tags.positive_only:
        X = np.abs(X)
    elif name == "IsotonicRegression":
        X = X[:, :1]
    elif tags.input_tags.one_d_array and not tags.input_tags.two_d_array:
        X = rng.choice(["Basel", "Bern", "Genf"], count)
    return X, _target(estimator, task, centres, rng)


def _target(estimator: Any, task: Task, centres: Any, rng: np.random.Generator) -> Any:
    from sklearn.base import is_regressor
    from sklearn.utils import get_tags

    if is_regressor(estimator):
        y = centres * 2.0 + rng.normal(size=len(centres))
        if get_tags(estimator).target_tags.positive_only:
            y = np.abs(y) + 0.1
        return np.column_stack([y, y[::-1] + centres]) if task == "several targets" else y
    if task == "several targets":
        return np.column_stack([centres > 0, centres > 1]).astype(int)
    return (centres > 0).astype(int) if task == "binary" else centres
