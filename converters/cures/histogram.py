"""Histogram gradient boosting: flags that are integers, thresholds that send every value as scikit-learn does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skl2onnx.common._registration import get_converter, get_shape_calculator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from converters.trees import at_most, trees_of

if TYPE_CHECKING:
    from converters.trees import Tree

__all__ = ["BOOSTING"]

_CLASSIFIER = "SklearnHistGradientBoostingClassifier"
_REGRESSOR = "SklearnHistGradientBoostingRegressor"


class _Container:
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


def _converter(name: str) -> tuple[Any, Any]:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        get_converter(name)(scope, operator, _Container(container, trees_of(operator.raw_operator)))

    def shape(operator: Any) -> None:
        get_shape_calculator(name)(operator)

    return convert, shape


BOOSTING = {
    HistGradientBoostingClassifier: _converter(_CLASSIFIER),
    HistGradientBoostingRegressor: _converter(_REGRESSOR),
}
