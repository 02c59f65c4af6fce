"""Every estimator there is, with data of the form that it asks for."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import SkipTest

import numpy as np
import sklearn
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators, get_tags
from sklearn.utils._test_common.instance_generator import _construct_instances

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Data", "Subject", "boosters", "build", "data_of", "names", "subjects"]

FITTED_ROWS = 240
FRESH_ROWS = 200
_FEATURES = 5
_WORDS = ("red", "green", "blue", "fast", "slow", "house", "river", "gate")
_BOOSTERS = {
    "xgboost": ("XGBClassifier", "XGBRegressor"),
    "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
    "catboost": ("CatBoostClassifier", "CatBoostRegressor"),
}


_SELECTORS = {"SelectFromModel", "SelectKBest", "SelectPercentile", "SequentialFeatureSelector"}
"""Their tags do not say that they need `y` here."""


class Subject(NamedTuple):
    """One row of the table."""

    name: str
    data: str
    """`two classes`, `three classes`, `one number`, `two numbers`, `texts` or `rows`."""
    group: str


class Data(NamedTuple):
    """What an estimator is fitted on, and rows that it has never seen."""

    X: Any
    y: Any
    fresh: Any


def names() -> list[str]:
    """Of every estimator of scikit-learn, those of `sklearn.experimental` too."""
    return [name for name, _ in all_estimators()]


def boosters() -> list[str]:
    """Of the gradient boosting libraries that are installed."""
    return [name for module, told in _BOOSTERS.items() if importlib.util.find_spec(module) for name in told]


def build(name: str) -> Any:
    """An estimator with its defaults, small; a meta-estimator around one that suits it.

    Raises:
        SkipTest: scikit-learn itself knows no arguments for it.
    """
    for module, told in _BOOSTERS.items():
        if name in told:
            few = {"n_estimators": 10, "random_state": 0}
            quiet = {"catboost": {"verbose": 0, "allow_writing_files": False}, "lightgbm": {"verbose": -1}}
            return getattr(importlib.import_module(module), name)(**few, **quiet.get(module, {}))
    kind = dict(all_estimators())[name]
    if name == "FrozenEstimator":
        rows, classes = make_classification(FITTED_ROWS, _FEATURES, random_state=0)
        return kind(LogisticRegression().fit(rows, classes))
    if name == "DummyClassifier":
        return DummyClassifier(strategy="prior")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a deprecated estimator has its row too
        estimator = next(iter(_construct_instances(kind)))
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    return estimator


def subjects() -> Iterator[Subject]:
    """Every row of the table, in the order of the names."""
    for name in [*names(), *boosters()]:
        group, forms = "transformers", ["rows"]
        try:
            estimator = build(name)
            tags = get_tags(estimator)
        except (SkipTest, TypeError, ValueError):
            yield Subject(name, "rows", group)
            continue
        kind = tags.estimator_type
        group = {
            "classifier": "classifiers",
            "regressor": "regressors",
            "outlier_detector": "outlier detectors",
            "clusterer": "clusterers",
            "density_estimator": "clusterers",
        }.get(kind or "", "transformers")
        if kind == "classifier":
            several = tags.classifier_tags is None or tags.classifier_tags.multi_class
            forms = ["two classes", "three classes"] if several else ["two classes"]
        elif kind == "regressor":
            forms = ["one number"] if tags.target_tags.single_output else []
            forms += ["two numbers"] if tags.target_tags.multi_output or not forms else []
        if tags.input_tags.string and not tags.input_tags.two_d_array:
            forms = ["texts"]
        if name in boosters():
            group = "boosters"
        elif {"estimator", "estimators", "base_estimator", "transformers", "transformer_list", "steps"} & set(
            estimator.get_params(deep=False)
        ):
            group = "meta-estimators"
        yield from (Subject(name, form, group) for form in forms)


def data_of(subject: Subject, estimator: Any) -> Data:
    """Rows by the estimator's tags, and a target by the subject's form; equal at every run."""
    tags, rng = get_tags(estimator), np.random.default_rng(0)
    count = FITTED_ROWS + FRESH_ROWS
    if subject.data == "texts":
        texts = [" ".join(rng.choice(_WORDS, 5)) for _ in range(count)]
        return Data(texts[:FITTED_ROWS], None, texts[FITTED_ROWS:])
    rows, three = make_classification(
        count, _FEATURES, n_informative=4, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=0
    )
    if subject.name in {"CategoricalNB", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}:
        rows = np.clip(np.round(rows), -2, 2) + 2
    elif tags.input_tags.positive_only:
        rows = np.abs(rows)
    if subject.name == "IsotonicRegression":
        rows = rows[:, :1]
    number = rows @ np.arange(1, rows.shape[1] + 1) + rng.normal(size=count)
    if tags.target_tags.positive_only:
        number = np.abs(number) + 0.1
    y = {
        "two classes": (three > 0).astype(int),
        "three classes": three,
        "one number": number,
        "two numbers": np.column_stack([number, number[::-1]]),
        "rows": (three > 0).astype(int) if tags.target_tags.required or subject.name in _SELECTORS else None,
    }[subject.data]
    if y is not None and subject.name in {"MultiOutputClassifier", "ClassifierChain"}:
        y = np.column_stack([y > 0, rows[:, 0] > 0]).astype(int)
    return Data(rows[:FITTED_ROWS], y if y is None else y[:FITTED_ROWS], rows[FITTED_ROWS:])


VERSION = sklearn.__version__
