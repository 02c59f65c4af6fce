"""xgboost, lightgbm and catboost: their converters are others' packages, looked for only when such a model comes."""

from __future__ import annotations

import copy
from typing import Any, Final

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import _get_sklearn_operator_name
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType, guess_tensor_type
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from converters.cures.forests import DoubleTrees
from converters.errors import ConversionError

__all__ = ["cure_names", "package_of", "register_booster"]

_PACKAGES: Final = ("catboost", "lightgbm", "xgboost")
_OPTIONS: Final[dict[str, Any]] = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
}


def package_of(estimator: Any) -> str:
    """The booster's package that an estimator is of; empty for all others."""
    package = type(estimator).__module__.partition(".")[0]
    return package if package in _PACKAGES else ""


def register_booster(estimator: Any) -> None:
    """Register the converter of a booster with skl2onnx; nothing for other estimators.

    Raises:
        ConversionError: its converter is not installed; gives the install line.
    """
    package = package_of(estimator)
    if not package:
        return
    kind = type(estimator)
    shape = (
        calculate_linear_classifier_output_shapes
        if hasattr(estimator, "predict_proba")
        else calculate_linear_regressor_output_shapes
    )
    options = dict(_OPTIONS) if hasattr(estimator, "predict_proba") else {}
    if package == "lightgbm" and not options:
        options["split"] = None
    parser = _parse_classifier if package == "catboost" and options else None
    alias = f"Hotgate{package.title()}{kind.__name__}"
    update_registered_converter(kind, alias, shape, _converter(package), parser=parser, options=options)


def _converter(package: str) -> Any:
    if package == "catboost":
        return _convert_catboost
    try:
        if package == "xgboost":
            from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

            return convert_xgboost
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    except ImportError as error:
        raise ConversionError(f"converting {package} needs onnxmltools: pip install 'hotgate[boosters]'") from error

    def convert(scope: Any, operator: Any, container: Any) -> None:
        double = isinstance(operator.inputs[0].type, DoubleTensorType)
        convert_lightgbm(scope, operator, DoubleTrees(scope, container, double=double))

    return convert


def _parse_classifier(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Label and probabilities: skl2onnx knows classifiers of scikit-learn's own kind only."""
    del custom_parsers
    operator = scope.declare_local_operator(_get_sklearn_operator_name(type(model)), model)
    operator.inputs = inputs
    texts = np.asarray(model.classes_).dtype.kind in "UO"
    label = StringTensorType() if texts else Int64TensorType()
    operator.outputs.append(scope.declare_local_variable("label", label))
    operator.outputs.append(scope.declare_local_variable("probabilities", guess_tensor_type(inputs[0].type)))
    return operator.outputs


def cure_names(estimator: Any, _gap: Any) -> Any:
    """An xgboost model whose columns are places: its converter reads no names."""
    if package_of(estimator) != "xgboost" or not hasattr(estimator, "get_booster"):
        return estimator
    if not estimator.get_booster().feature_names:
        return estimator
    told = copy.deepcopy(estimator)
    told.get_booster().feature_names = None
    return told


def _convert_catboost(scope: Any, operator: Any, container: Any) -> None:
    """Catboost writes a graph itself: its one node of trees is taken over."""
    from catboost.utils import convert_to_onnx_object
    from onnx import helper

    graph = convert_to_onnx_object(operator.raw_operator).graph
    trees = next(node for node in graph.node if node.op_type.startswith("TreeEnsemble"))
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in trees.attribute}
    container.add_node(
        trees.op_type,
        [operator.inputs[0].full_name],
        [output.full_name for output in operator.outputs],
        op_domain="ai.onnx.ml",
        name=scope.get_unique_operator_name(trees.op_type),
        **{key: value for key, value in attributes.items() if key != "nodes_hitrates"},
    )
