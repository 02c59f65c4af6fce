"""A fitted scikit-learn classifier becomes an ONNX graph, with the cures that keep it faithful in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import skl2onnx
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.base import BaseEstimator, is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from converters.errors import ConversionError
from converters.graph import check_graph
from converters.trees import at_most, scalers_and_model, trees_of

if TYPE_CHECKING:
    import onnx

    from converters.trees import Tree

__all__ = ["INPUT_NAME", "SCORE_OUTPUT", "TARGET_OPSET", "convert", "cure"]

INPUT_NAME = "X"
SCORE_OUTPUT = "probabilities"
TARGET_OPSET = {"": 21, "ai.onnx.ml": 3}

_BOOSTING = "SklearnHistGradientBoostingClassifier"
_SHOWN = 300


def convert(estimator: Any, width: int) -> onnx.ModelProto:
    """Convert a classifier of `width` float columns to a graph float32 [rows, width] → probabilities [rows, classes].

    Equal estimators give equal bytes: nothing in the graph is random or dated.

    Raises:
        ConversionError: the estimator has no such form; the text says why.
    """
    name = type(estimator).__name__
    _check_servable(estimator, name, width)
    try:
        model: onnx.ModelProto = skl2onnx.convert_sklearn(
            cure(estimator),
            name="hotgate",
            initial_types=[(INPUT_NAME, FloatTensorType([None, width]))],
            options={"zipmap": False},
            target_opset=TARGET_OPSET,
            custom_conversion_functions={HistGradientBoostingClassifier: _convert_boosting},
            custom_shape_calculators={HistGradientBoostingClassifier: _shape_boosting},
        )
    except Exception as error:  # skl2onnx raises whatever its converters meet, sometimes with whole arrays in the text
        said = " ".join(str(error).split())
        shown = said if len(said) <= _SHOWN else said[:_SHOWN] + " …"
        raise ConversionError(f"skl2onnx cannot convert {name}: {shown or type(error).__name__}") from error
    outputs = [output.name for output in model.graph.output]
    if SCORE_OUTPUT not in outputs:
        raise ConversionError(f"the converted graph answers {outputs}, not {SCORE_OUTPUT!r}")
    check_graph(model)
    return model


def _check_servable(estimator: Any, name: str, width: int) -> None:
    if (
        not isinstance(estimator, BaseEstimator)
        or not is_classifier(estimator)
        or not hasattr(estimator, "predict_proba")
    ):
        raise ConversionError(
            f"{name} is no classifier with predict_proba; hotgate serves those"
            " (wrap a classifier without probabilities in CalibratedClassifierCV)"
        )
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ConversionError(f"{name} is not fitted: call fit first") from error
    classes = estimator.classes_
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        raise ConversionError(f"{name} predicts several targets at once; hotgate serves one")
    if len(classes) < 2:
        raise ConversionError(f"{name} knows only the class {classes.tolist()}: there is nothing to predict")
    taken = getattr(estimator, "n_features_in_", width)
    if taken != width:
        raise ConversionError(f"{name} was fitted on {taken} columns, {width} are named")


def cure(estimator: Any) -> Any:
    """Let a scaler before trees compute in double, as scikit-learn does.

    In float32 the scaled value of a row lands on the other side of a tree's threshold often enough to flip labels
    (3.9 % of rows off by more than 1e-4 with a random forest); between two casts the error stays below 1e-6.
    """
    scalers, model = scalers_and_model(estimator)
    if not scalers or not trees_of(model):
        return estimator
    *before, last = estimator.steps
    return Pipeline(
        [
            ("hotgate_to_double", CastTransformer(dtype=np.float64)),
            *before,
            ("hotgate_to_float", CastTransformer(dtype=np.float32)),
            last,
        ]
    )


class _BoostingContainer:
    """skl2onnx's container with two cures for the nodes of histogram gradient boosting.

    Flags become the integers that onnx asks for (skl2onnx 1.20: "Expected an int, got a boolean"). Thresholds are
    rounded down to float32, not to nearest: scikit-learn compares doubles there, and rounded up a threshold would send
    the value right behind it the other way.
    """

    def __init__(self, container: Any, trees: list[Tree]) -> None:
        self._container = container
        self._trees = trees

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> Any:
        flags = "nodes_missing_value_tracks_true"
        if flags in attributes:
            attributes[flags] = [int(flag) for flag in attributes[flags]]
            thresholds = np.concatenate([tree.threshold for tree in self._trees])
            given = np.asarray(attributes["nodes_values"], dtype=np.float32)
            attributes["nodes_values"] = np.where(np.isfinite(thresholds), at_most(thresholds), given)
        return self._container.add_node(*arguments, **attributes)


def _convert_boosting(scope: Any, operator: Any, container: Any) -> None:
    get_converter(_BOOSTING)(scope, operator, _BoostingContainer(container, trees_of(operator.raw_operator)))


def _shape_boosting(operator: Any) -> None:
    get_shape_calculator(_BOOSTING)(operator)
