"""Scikit-learn's side of a certificate: what a fitted estimator answers, in the columns of an answer."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from msgspec.structs import replace
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.svm import SVC, NuSVC

from converters.answers import places_of
from converters.errors import ConversionError
from converters.modelfile import Target
from converters.rows import join

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from converters.rows import Rows
    from converters.table import Layout

    Doubles = npt.NDArray[np.float64]
    Task = Literal["classification", "regression", "outliers", "clusters", "transformation"]
    Method = Literal["predict_proba", "decision_function", "transform", "predict", ""]

__all__ = ["Asked", "Oracle", "oracle_of", "settle"]


class Asked(NamedTuple):
    """Scikit-learn's answers to some rows."""

    answers: Doubles
    """[n, width], as a graph should give them."""
    places: Doubles
    """[n, targets]: the predicted class as its place among the target's classes; NaN where there are no classes."""
    margins: Doubles
    """[n, targets]: how far the row is from another class; infinite where the scores do not say."""


class Oracle(NamedTuple):
    """A fitted estimator that is asked for scores and classes."""

    estimator: Any
    layout: Layout
    task: Task
    method: Method
    """Where the scores come from; empty: there are none."""
    targets: tuple[Target, ...]

    def scores(self, rows: Rows) -> list[Doubles]:
        """A target's scores [n, width] each."""
        return _scores(self.estimator, self.layout.as_input(rows), self.method, self.targets)

    def places(self, rows: Rows) -> Doubles:
        """[n, targets]: the predicted classes."""
        if not self.targets[0].classes:
            return np.full((len(rows), len(self.targets)), np.nan)
        with quietly():
            predicted = np.asarray(self.estimator.predict(self.layout.as_input(rows)))
        predicted = predicted.reshape(len(rows), -1)
        return np.column_stack([
            _places(np.asarray(target.classes), predicted[:, place]) for place, target in enumerate(self.targets)
        ])  # fmt: skip

    def ask(self, rows: Rows) -> Asked:
        """Scores, classes and margins; the doubles of the rows are asked, not what a graph would see of them."""
        places, parts, margins = self.places(rows), [], []
        for place, (target, scores) in enumerate(zip(self.targets, self.scores(rows), strict=True)):
            margins.append(_margins(target, scores, places[:, place]))
            parts.append(np.column_stack([places[:, place], scores]) if target.decides == "given" else scores)
        return Asked(np.concatenate(parts, axis=1), places, np.column_stack(margins))


def oracle_of(estimator: Any, layout: Layout, sample: Rows, labels: Sequence[str] | None = None) -> Oracle:
    """Find out what an estimator predicts; how its classes follow from the scores is for `settle`.

    Raises:
        ConversionError: nothing that an answer could hold, or labels that do not fit the classes.
    """
    name, data = type(estimator).__name__, layout.as_input(sample)
    if is_classifier(estimator) or (hasattr(estimator, "predict_proba") and hasattr(estimator, "predict")):
        task: Task = "classification" if is_classifier(estimator) else "clusters"
        classes = _classes(estimator, data) if task == "classification" else [_clusters(estimator, data)]
        methods: Sequence[Method] = ("predict_proba", "decision_function")
    elif is_outlier_detector(estimator):
        task, classes, methods = "outliers", [np.array([-1, 1])], ("decision_function",)
        labels = labels or ("outlier", "inlier")
    elif is_clusterer(estimator) and hasattr(estimator, "predict"):
        task, classes, methods = "clusters", [_clusters(estimator, data)], ("transform",)
    elif is_regressor(estimator) and hasattr(estimator, "predict"):
        task, classes, methods = "regression", [], ("predict",)
    elif hasattr(estimator, "transform"):
        task, classes, methods = "transformation", [], ("transform",)
    else:
        raise ConversionError(
            f"{name} has neither predict for new rows nor transform: there is nothing to serve"
            " (of clusterers KMeans predicts; of outlier detectors those with novelty=True)"
        )
    method: Method = next((method for method in methods if hasattr(estimator, method)), "")
    bare = tuple(Target(name=f"{index}", classes=tuple(each.tolist()), width=0) for index, each in enumerate(classes))
    scores = _scores(estimator, data, method, bare)
    if not classes and task == "regression":
        scores = [column[:, None] for column in scores[0].T]
    targets = _targets(method, classes, scores, labels)
    return Oracle(estimator, layout, task, method, targets)


def settle(oracle: Oracle, heldout: Rows, adversarial: Rows, tolerance: float) -> Oracle:
    """Fix how each target's class follows from its scores, and what its scores are measured against.

    A class is read off the scores only if `predict` does so too on all held-out rows, and on all others but for ties
    (far from the data probabilities are 0 and 1); else the graph has to say it.

    Args:
        oracle: of `oracle_of`.
        heldout: rows, whose spread of scores is the scale.
        adversarial: further rows.
        tolerance: what counts as a tie.
    """
    rows = join([heldout, adversarial])
    scores, places = oracle.scores(rows), oracle.places(rows)
    settled = []
    for place, (target, part) in enumerate(zip(oracle.targets, scores, strict=True)):
        scale = 1.0 if target.scores == "probabilities" else _spread(part[: len(heldout)])
        told = replace(target, scale=scale)
        if target.classes:
            decides = _decides(told, part, places[:, place], len(heldout), tolerance)
            told = replace(told, decides="given" if _votes(oracle.estimator, len(told.classes)) else decides)
        settled.append(told)
    return oracle._replace(targets=tuple(settled))


def _votes(estimator: Any, classes: int) -> bool:
    """Whether votes decide the class: their ties differ from the scores, though no held-out row may show it."""
    while True:
        inside = estimator.steps[-1][1] if hasattr(estimator, "steps") else getattr(estimator, "best_estimator_", None)
        if inside is None:
            return isinstance(estimator, SVC | NuSVC) and classes > 2 and not estimator.break_ties
        estimator = inside


def _decides(
    target: Target, scores: Doubles, places: Doubles, heldout: int, tolerance: float
) -> Literal["argmax", "sign", "given"]:
    ways: list[Literal["argmax", "sign"]] = []
    if target.width == len(target.classes) >= 2:
        ways = ["argmax"]
    elif len(target.classes) == 2 and target.width == 1:
        ways = ["sign"]
    for way in ways:
        told = replace(target, decides=way)
        wrong = places_of(told, scores) != places
        wrong[heldout:] &= _margins(told, scores, places)[heldout:] > tolerance
        if not wrong.any():
            return way
    return "given"


def _margins(target: Target, scores: Doubles, places: Doubles) -> Doubles:
    """In units of the scale: between the two largest scores, or from 0; infinite where another decides the class."""
    if not target.classes or not target.width:
        return np.full(len(places), np.inf)
    if target.width == 1:
        margins = np.abs(scores[:, 0])
        read = (scores[:, 0] > 0).astype(np.float64)
    else:
        ordered = np.sort(scores, axis=1)
        margins, read = ordered[:, -1] - ordered[:, -2], scores.argmax(axis=1).astype(np.float64)
        if target.width != len(target.classes):
            return np.full(len(places), np.inf)
    if target.decides == "given":
        margins = np.where(read == places, margins, np.inf)
    return margins / target.scale


def _classes(estimator: Any, data: Any) -> list[npt.NDArray[Any]]:
    """Of each target."""
    name, classes = type(estimator).__name__, getattr(estimator, "classes_", None)
    with quietly():
        predicted = np.asarray(estimator.predict(data))
    if predicted.ndim == 2 and predicted.shape[1] > 1:
        if isinstance(classes, list):
            return [np.asarray(each) for each in classes]
        return [np.array([0, 1])] * predicted.shape[1]  # a matrix of labels, each 0 or 1
    if isinstance(classes, list) and len(classes) == 1:
        classes = classes[0]
    if classes is None:
        raise ConversionError(f"{name} does not say which classes it knows: it has no classes_")
    if len(classes) < 2:
        raise ConversionError(
            f"{name} knows only the class {np.asarray(classes).tolist()}: there is nothing to predict"
        )
    return [np.asarray(classes)]


def _clusters(estimator: Any, data: Any) -> npt.NDArray[Any]:
    """Clusters have no names: they are numbered."""
    model = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    for attribute in ("cluster_centers_", "weights_", "subcluster_labels_"):
        if hasattr(model, attribute):
            found = getattr(model, attribute)
            return np.arange(int(np.max(found)) + 1 if attribute == "subcluster_labels_" else len(found))
    with quietly():
        return np.arange(int(np.max(estimator.predict(data))) + 1)


def _scores(estimator: Any, data: Any, method: Method, targets: Sequence[Target]) -> list[Doubles]:
    if not method:
        return [np.empty((len(data), 0)) for _ in targets]
    with quietly():
        told = getattr(estimator, method)(data)
    if isinstance(told, list):
        return [np.asarray(part, dtype=np.float64) for part in told]
    if hasattr(told, "toarray"):
        told = told.toarray()
    dense = np.asarray(told, dtype=np.float64)
    if dense.ndim == 1:
        dense = dense[:, None]
    if dense.ndim == 3:
        return list(dense)
    if len(targets) < 2:
        return [dense]
    if method == "predict_proba":  # of a matrix of labels: the probability of 1
        return [np.column_stack([1 - column, column]) for column in dense.T]
    return [column[:, None] for column in dense.T]


def _targets(
    method: Method, classes: list[npt.NDArray[Any]], scores: list[Doubles], labels: Sequence[str] | None
) -> tuple[Target, ...]:
    kinds: dict[str, Literal["probabilities", "decision"]] = {
        "predict_proba": "probabilities",
        "decision_function": "decision",
    }
    told: list[tuple[npt.NDArray[Any], tuple[str, ...]]] = [(np.array([]), ())] * len(scores)
    if classes:
        told = [(each, tuple(str(value) for value in each.tolist())) for each in classes]
    if labels is not None:
        if len(told) != 1 or len(labels) != len(told[0][0]):
            counts = ", ".join(str(len(each)) for each, _ in told)
            raise ConversionError(f"{len(labels)} labels for {counts} classes")
        told = [(told[0][0], tuple(labels))]
    word = "label" if classes else "value"
    return tuple(
        Target(
            name=word if len(told) == 1 else f"{word}_{place}",
            classes=tuple(each.tolist()),
            labels=shown,
            scores=kinds.get(method, "value"),
            width=part.shape[1],
            decides="given" if len(each) else "argmax",
        )
        for place, ((each, shown), part) in enumerate(zip(told, scores, strict=True))
    )


def _places(classes: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> Doubles:
    order = np.argsort(classes)
    found = np.searchsorted(classes, predicted, sorter=order)
    return order[np.minimum(found, len(classes) - 1)].astype(np.float64)


def _spread(values: Doubles) -> float:
    """The standard deviation, or their size where all are one; 1 where that is 0."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 1.0
    spread = float(finite.std())
    return spread if spread > 1e-12 * float(np.abs(finite).max()) else float(np.abs(finite).max()) or 1.0


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No warnings: rows made to break a model make it warn, and a DataFrame's model is judged on a bare matrix too."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
