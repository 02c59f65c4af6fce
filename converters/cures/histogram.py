"""Histogram gradient boosting: flags that are integers, thresholds that send every value as scikit-learn does."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from converters.cures.forests import DoubleTrees
from converters.trees import trees_of

__all__ = ["BOOSTING"]


def _converter(name: str) -> tuple[Any, Any]:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        thresholds = np.concatenate([tree.threshold for tree in trees_of(operator.raw_operator)])
        double = isinstance(operator.inputs[0].type, DoubleTensorType)
        get_converter(name)(scope, operator, DoubleTrees(scope, container, double=double, thresholds=thresholds))

    def shape(operator: Any) -> None:
        get_shape_calculator(name)(operator)

    return convert, shape


BOOSTING = {
    HistGradientBoostingClassifier: _converter("SklearnHistGradientBoostingClassifier"),
    HistGradientBoostingRegressor: _converter("SklearnHistGradientBoostingRegressor"),
}
