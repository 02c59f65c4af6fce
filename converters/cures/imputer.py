"""Imputers in double: onnxruntime's operator knows float32 only."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.impute import SimpleImputer

__all__ = ["IMPUTER"]

_NAME = "SklearnSimpleImputer"


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Where a value is missing, take the statistic; skl2onnx's own for floats and texts."""
    imputer = operator.raw_operator
    plain = len(operator.inputs) == 1 and not imputer.add_indicator and imputer.statistics_.dtype != object
    if not isinstance(operator.inputs[0].type, DoubleTensorType) or not plain or np.isnan(imputer.statistics_).any():
        get_converter(_NAME)(scope, operator, container)
        return
    given, out = operator.inputs[0].full_name, operator.outputs[0].full_name
    filled = scope.get_unique_variable_name("filled")
    gone = scope.get_unique_variable_name("gone")
    container.add_initializer(filled, 11, [1, len(imputer.statistics_)], imputer.statistics_.astype(np.float64))
    if np.isnan(imputer.missing_values):
        container.add_node("IsNaN", [given], gone, name=scope.get_unique_operator_name("IsNaN"))
    else:
        value = scope.get_unique_variable_name("missing")
        container.add_initializer(value, 11, [1], [float(imputer.missing_values)])
        container.add_node("Equal", [given, value], gone, name=scope.get_unique_operator_name("Equal"))
    container.add_node("Where", [gone, filled, given], out, name=scope.get_unique_operator_name("Where"))


def _shape(operator: Any) -> None:
    get_shape_calculator(_NAME)(operator)


IMPUTER = {SimpleImputer: (_convert, _shape)}
