"""Models of trees that compare doubles: their nodes, rounded so that every float32 goes the way it should, or exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from converters.trees import at_most

__all__ = ["DoubleTrees"]

_FLAGS = "nodes_missing_value_tracks_true"
_NUMBERS = ("nodes_values", "class_weights", "target_weights", "base_values")


class DoubleTrees:
    """skl2onnx's container with cures for the nodes of trees that compare doubles.

    Flags become the integers that onnx asks for (skl2onnx 1.20: "Expected an int, got a boolean"). Thresholds are
    rounded down to float32, not to nearest: rounded up a threshold would send the value right behind it the other way.
    In a graph that computes in double they stay as they are: the node then takes its numbers as tensors, and its
    answer, which is float32 whatever goes in, is cast.

    Args:
        scope: skl2onnx's.
        container: skl2onnx's.
        double: whether the graph computes in double.
        thresholds: float64, one a node, not finite where there is none; else those that the converter gives.
    """

    def __init__(self, scope: Any, container: Any, *, double: bool, thresholds: Any = None) -> None:
        self._scope = scope
        self._container = container
        self._double = double
        self._thresholds = thresholds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, operator: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        """Add a node, cured if it holds trees."""
        if "nodes_values" not in attributes:
            self._container.add_node(operator, inputs, outputs, **attributes)
            return
        attributes[_FLAGS] = [int(flag) for flag in attributes[_FLAGS]]
        given = np.asarray(attributes["nodes_values"], dtype=np.float64)
        if self._thresholds is None:
            compares = [mode in {"BRANCH_LEQ", b"BRANCH_LEQ"} for mode in attributes["nodes_modes"]]
            thresholds = np.where(compares, given, np.nan)
        else:
            thresholds = self._thresholds
        if not self._double:
            down = np.where(np.isfinite(thresholds), at_most(thresholds), given.astype(np.float32))
            attributes["nodes_values"] = down.astype(np.float32)
            self._container.add_node(operator, inputs, outputs, **attributes)
            return
        attributes["nodes_values"] = np.where(np.isfinite(thresholds), thresholds, given)
        *labels, scores = [outputs] if isinstance(outputs, str) else outputs
        single = self._scope.get_unique_variable_name("single")
        self._container.add_node(operator, inputs, [*labels, single], **_as_tensors(attributes))
        name = self._scope.get_unique_operator_name("Cast")
        self._container.add_node("Cast", [single], scores, to=TensorProto.DOUBLE, name=name)


def _as_tensors(attributes: dict[str, Any]) -> dict[str, Any]:
    """The node's numbers as doubles; those that it does not need go."""
    told = {key: value for key, value in attributes.items() if key != "nodes_hitrates"}
    for name in _NUMBERS:
        if name in told:
            values = np.asarray(told.pop(name), dtype=np.float64)
            key = f"{name}_as_tensor"
            told[key] = helper.make_tensor(key, TensorProto.DOUBLE, values.shape, values)
    told["op_version"] = 3
    return told
