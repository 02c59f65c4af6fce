"""Histogram gradient boosting: flags that are integers, thresholds that send every value as scikit-learn does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from converters.trees import at_most, trees_of

if TYPE_CHECKING:
    from converters.trees import Tree

__all__ = ["BOOSTING"]

_CLASSIFIER = "SklearnHistGradientBoostingClassifier"
_REGRESSOR = "SklearnHistGradientBoostingRegressor"


class _Container:
    """skl2onnx's container with cures for the nodes of histogram gradient boosting.

    Flags become the integers that onnx asks for (skl2onnx 1.20: "Expected an int, got a boolean"). Thresholds are
    rounded down to float32, not to nearest: scikit-learn compares doubles there, and rounded up a threshold would send
    the value right behind it the other way. In a graph that computes in double they stay as they are: the node then
    takes its numbers as tensors, and its answer, which is float32 whatever goes in, is cast.
    """

    def __init__(self, scope: Any, container: Any, trees: list[Tree], *, double: bool) -> None:
        self._scope = scope
        self._container = container
        self._trees = trees
        self._double = double

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, operator: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        flags = "nodes_missing_value_tracks_true"
        if flags in attributes:
            attributes[flags] = [int(flag) for flag in attributes[flags]]
            thresholds = np.concatenate([tree.threshold for tree in self._trees])
            given = np.asarray(attributes["nodes_values"], dtype=np.float32)
            if self._double:
                attributes["nodes_values"] = np.where(np.isfinite(thresholds), thresholds, given.astype(np.float64))
                *labels, scores = [outputs] if isinstance(outputs, str) else outputs
                single = self._scope.get_unique_variable_name("single")
                self._container.add_node(operator, inputs, [*labels, single], **_as_tensors(attributes))
                self._container.add_node(
                    "Cast", [single], scores, to=TensorProto.DOUBLE, name=self._scope.get_unique_operator_name("Cast")
                )
                return
            attributes["nodes_values"] = np.where(np.isfinite(thresholds), at_most(thresholds), given)
        self._container.add_node(operator, inputs, outputs, **attributes)


def _as_tensors(attributes: dict[str, Any]) -> dict[str, Any]:
    """The node's numbers as doubles; those that it does not need go."""
    told = {key: value for key, value in attributes.items() if key != "nodes_hitrates"}
    for name in ("nodes_values", "class_weights", "target_weights", "base_values"):
        if name in told:
            values = np.asarray(told.pop(name), dtype=np.float64)
            key = f"{name}_as_tensor"
            told[key] = helper.make_tensor(key, TensorProto.DOUBLE, values.shape, values)
    told["op_version"] = 3
    return told


def _converter(name: str) -> tuple[Any, Any]:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        double = isinstance(operator.inputs[0].type, DoubleTensorType)
        cured = _Container(scope, container, trees_of(operator.raw_operator), double=double)
        get_converter(name)(scope, operator, cured)

    def shape(operator: Any) -> None:
        get_shape_calculator(name)(operator)

    return convert, shape


BOOSTING = {
    HistGradientBoostingClassifier: _converter(_CLASSIFIER),
    HistGradientBoostingRegressor: _converter(_REGRESSOR),
}
