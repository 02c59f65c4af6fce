"""How good a classifier is: by cross-validation to choose one, on held-out rows to say what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from training.data import Dataset

    Matrix = npt.NDArray[np.float64]

__all__ = [
    "CrossValidation",
    "Importance",
    "Metrics",
    "cross_validate",
    "importances",
    "measure",
    "measure_one",
    "permutation_importances",
]

_DEALS = 5
"""Of each column; their spread is told too."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What one set of answers is worth."""

    accuracy: float
    f1: float
    """Of the last of two classes; with more classes the unweighted mean."""
    roc_auc: float
    """Of the last of two classes; with more classes the unweighted mean of one against the rest."""
    log_loss: float
    """In nats; lower is better."""


class CrossValidation(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics over the folds."""

    folds: int
    mean: Metrics
    std: Metrics


class Importance(msgspec.Struct, frozen=True, kw_only=True):
    """What a column is worth to a fitted model."""

    drop: float
    """How much worse the metric is without it; below 0: better, by luck."""
    std: float
    """Of the drop, over the deals."""


def measure(codes: npt.NDArray[np.int64], probabilities: Matrix) -> Metrics:
    """Judge probabilities [n, classes] by the classes' indices [n]; the prediction is the most probable class."""
    return Metrics(**{name: measure_one(name, codes, probabilities) for name in Metrics.__struct_fields__})


def measure_one(name: str, codes: npt.NDArray[np.int64], probabilities: Matrix) -> float:
    """One of the metrics alone."""
    from sklearn import metrics

    several = probabilities.shape[1] > 2
    every = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)
    match name:
        case "accuracy":
            value = metrics.accuracy_score(codes, predicted)
        case "f1" if several:
            value = metrics.f1_score(codes, predicted, labels=every, average="macro", zero_division=0.0)
        case "f1":
            value = metrics.f1_score(codes, predicted, zero_division=0.0)
        case "roc_auc" if several:
            value = metrics.roc_auc_score(codes, probabilities, labels=every, multi_class="ovr")
        case "roc_auc":
            value = metrics.roc_auc_score(codes, probabilities[:, 1])
        case "log_loss":
            value = metrics.log_loss(codes, probabilities, labels=every)
        case _:
            raise ValueError(f"no metric is called {name!r}; there are {', '.join(Metrics.__struct_fields__)}")
    return float(value)


def cross_validate(
    build: Callable[[], Any], dataset: Dataset, train: npt.NDArray[np.int64], *, folds: int, seed: int
) -> CrossValidation:
    """Fit on all folds but one and judge that one, each in turn; equal seeds give every candidate the same folds."""
    from sklearn.model_selection import StratifiedKFold

    rows, codes, y = dataset.rows[train], dataset.codes[train], dataset.y[train]
    scores = []
    for fit, judge in StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, codes):
        estimator = build().fit(rows[fit], y[fit])
        scores.append(msgspec.structs.astuple(measure(codes[judge], estimator.predict_proba(rows[judge]))))
    mean, std = np.mean(scores, axis=0), np.std(scores, axis=0, ddof=1)
    return CrossValidation(folds=folds, mean=Metrics(**_named(mean)), std=Metrics(**_named(std)))


def importances(estimator: Any, columns: Sequence[str]) -> dict[str, float]:
    """Share of each column in what the model looks at, largest first, summing to 1; empty if the model tells none.

    A tree ensemble tells its decrease of impurity, a linear model the size of its coefficients: their mean over the
    classes, comparable only if the columns were scaled.
    """
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    weights = getattr(last, "feature_importances_", None)
    if weights is None and hasattr(last, "coef_"):
        weights = np.abs(last.coef_).mean(axis=0)
    if weights is None or len(weights) != len(columns):
        return {}
    shares = np.asarray(weights, dtype=np.float64) / (np.sum(weights) or 1.0)
    return {columns[index]: float(shares[index]) for index in np.argsort(-shares, kind="stable")}


def permutation_importances(
    estimator: Any,
    rows: Matrix,
    codes: npt.NDArray[np.int64],
    columns: Sequence[str],
    *,
    metric: str,
    seed: int,
) -> dict[str, Importance]:
    """How much worse the answers are if a column's values are dealt out anew among the rows, largest first.

    Two columns that say the same stand in for each other, so that each alone looks unimportant.

    Source: Breiman, Random forests, Machine Learning 45, 2001; for any model Fisher, Rudin and Dominici, JMLR 20, 2019.

    Args:
        estimator: fitted on other rows.
        rows: [n, columns].
        codes: [n].
        columns: their names.
        metric: a name in `Metrics`.
        seed: equal seeds deal equally, a column's deals being its own.
    """
    sign = -1.0 if metric == "log_loss" else 1.0
    base = measure_one(metric, codes, estimator.predict_proba(rows))
    found = {}
    for index, column in enumerate(columns):
        rng = np.random.default_rng([seed, index])
        dealt = np.tile(rows, (_DEALS, 1))
        dealt[:, index] = np.concatenate([rng.permutation(rows[:, index]) for _ in range(_DEALS)])
        answers = estimator.predict_proba(dealt).reshape(_DEALS, len(rows), -1)
        drops = [sign * (base - measure_one(metric, codes, one)) for one in answers]
        found[column] = Importance(drop=float(np.mean(drops)), std=float(np.std(drops, ddof=1)))
    return dict(sorted(found.items(), key=lambda item: -item[1].drop))


def _named(values: Matrix) -> dict[str, float]:
    return dict(zip(Metrics.__struct_fields__, values.tolist(), strict=True))
