"""Classifiers with a threshold of their own: skl2onnx keeps the probabilities and forgets the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import Int64TensorType, StringTensorType
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from converters.errors import ConversionError

__all__ = ["THRESHOLDS"]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """The probabilities of the classifier inside, and the class by the threshold."""
    model = operator.raw_operator
    inside, threshold = model.estimator_, getattr(model, "best_threshold_", model.__dict__.get("threshold"))
    if model.response_method == "decision_function" or not hasattr(inside, "predict_proba"):
        raise ConversionError(
            f"{type(model).__name__} decides by decision_function: give it a classifier with probabilities"
        )
    kind = sklearn_operator_name_map.get(type(inside))
    if kind is None or hasattr(inside, "steps"):
        raise ConversionError(
            f"{type(model).__name__} holds a {type(inside).__name__}: put its steps in front of the threshold"
        )
    inner = scope.declare_local_operator(kind, inside)
    inner.inputs = operator.inputs
    for name, like in (("label_inside", operator.outputs[0]), ("probabilities_inside", operator.outputs[1])):
        inner.outputs.append(scope.declare_local_variable(name, like.type.__class__()))
    _, probabilities = (output.onnx_name for output in inner.outputs)
    container.add_node("Identity", [probabilities], [operator.outputs[1].full_name])
    classes = np.asarray(model.classes_)
    wanted = model._curve_scorer._get_pos_label() if hasattr(model, "_curve_scorer") else model.pos_label  # noqa: SLF001 - no public way
    positive = 1 if wanted is None else int(np.flatnonzero(classes == wanted)[0])
    above = _above(scope, container, probabilities, positive, 0.5 if threshold == "auto" else threshold)
    texts = classes.dtype.kind in "UO"
    names = []
    for place in (positive, 1 - positive):
        names.append(scope.get_unique_variable_name("class"))
        value = [str(classes[place]).encode()] if texts else [int(classes[place])]
        container.add_initializer(names[-1], TensorProto.STRING if texts else TensorProto.INT64, [1], value)
    container.add_node(
        "Where", [above, *names], [operator.outputs[0].full_name], name=scope.get_unique_operator_name("Where")
    )


def _above(scope: Any, container: Any, probabilities: str, column: int, threshold: float) -> Any:
    """Name of whether the column is at least the threshold, bool [rows]."""
    place, limit, taken, above = (
        scope.get_unique_variable_name(name) for name in ("place", "threshold", "taken", "above")
    )
    container.add_initializer(place, TensorProto.INT64, [], [column])
    container.add_initializer(limit, TensorProto.FLOAT, [1], [float(threshold)])
    container.add_node("Gather", [probabilities, place], taken, axis=1, name=scope.get_unique_operator_name("Gather"))
    single = scope.get_unique_variable_name("single")
    container.add_node("Cast", [taken], single, to=TensorProto.FLOAT, name=scope.get_unique_operator_name("Cast"))
    container.add_node("GreaterOrEqual", [single, limit], above, name=scope.get_unique_operator_name("GreaterOrEqual"))
    return above


def _shape(operator: Any) -> None:
    classes = np.asarray(operator.raw_operator.classes_)
    rows = operator.inputs[0].type.shape[0]
    operator.outputs[0].type = (StringTensorType if classes.dtype.kind in "UO" else Int64TensorType)([rows])
    operator.outputs[1].type = operator.outputs[1].type.__class__([rows, len(classes)])


THRESHOLDS = dict.fromkeys((FixedThresholdClassifier, TunedThresholdClassifierCV), (_convert, _shape))
