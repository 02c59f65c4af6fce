"""Trees of several outputs: skl2onnx fails on classes of different number, and rounds thresholds to nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from converters.trees import at_most, trees_of

__all__ = ["OUTPUTS", "several_outputs"]


def several_outputs(estimator: Any) -> bool:
    """Whether this is a classifier of trees that predicts several things at once."""
    return type(estimator) in OUTPUTS and getattr(estimator, "n_outputs_", 1) > 1


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """One regression of all probabilities, an output beside the other; the class is read off them, not off a label."""
    model = operator.raw_operator
    if not several_outputs(model):
        get_converter(f"Sklearn{type(model).__name__}")(scope, operator, container)
        return
    label, probabilities = (output.full_name for output in operator.outputs)
    members = [member.tree_ for member in getattr(model, "estimators_", [model])]
    parts = [_attributes(tree, number, shares) for number, (tree, shares) in enumerate(_shares(model, members))]
    attributes = {key: np.concatenate([part[key] for part in parts]).tolist() for key in parts[0]}
    container.add_node(
        "TreeEnsembleRegressor",
        [operator.inputs[0].full_name],
        probabilities,
        op_domain="ai.onnx.ml",
        name=scope.get_unique_operator_name("TreeEnsembleRegressor"),
        n_targets=int(sum(model.n_classes_)),
        post_transform="NONE",
        **attributes,
    )
    container.add_node(
        "ArgMax", [probabilities], label, axis=1, keepdims=0, name=scope.get_unique_operator_name("ArgMax")
    )


def _shares(model: Any, members: list[Any]) -> list[tuple[Any, Any]]:
    """Each tree with the share that a leaf has in each probability, [nodes, all classes]."""
    found = []
    for tree, member in zip(trees_of(model), members, strict=True):
        parts = [member.value[:, place, :count] for place, count in enumerate(model.n_classes_)]
        shares = [part / part.sum(axis=1, keepdims=True) for part in parts]
        found.append((tree, np.concatenate(shares, axis=1) / len(members)))
    return found


def _attributes(tree: Any, number: int, shares: Any) -> dict[str, Any]:
    """The node attributes of one tree."""
    nodes, leaf = len(tree.feature), tree.feature < 0
    leaves = np.flatnonzero(leaf)
    width = shares.shape[1]
    return {
        "nodes_treeids": np.full(nodes, number),
        "nodes_nodeids": np.arange(nodes),
        "nodes_featureids": np.where(leaf, 0, tree.feature),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
        "nodes_values": np.where(leaf, np.float32(0), at_most(np.where(leaf, 0.0, tree.threshold))),
        "nodes_truenodeids": np.where(leaf, 0, tree.left),
        "nodes_falsenodeids": np.where(leaf, 0, tree.right),
        "target_treeids": np.full(len(leaves) * width, number),
        "target_nodeids": np.repeat(leaves, width),
        "target_ids": np.tile(np.arange(width), len(leaves)),
        "target_weights": shares[leaves].astype(np.float32).ravel(),
    }


def _shape(operator: Any) -> None:
    model = operator.raw_operator
    if not several_outputs(model):
        get_shape_calculator(f"Sklearn{type(model).__name__}")(operator)
        return
    rows = operator.inputs[0].type.shape[0]
    operator.outputs[0].type = Int64TensorType([rows])
    operator.outputs[1].type = FloatTensorType([rows, int(sum(model.n_classes_))])


OUTPUTS = dict.fromkeys(
    (DecisionTreeClassifier, ExtraTreeClassifier, ExtraTreesClassifier, RandomForestClassifier), (_convert, _shape)
)
"""Only used where there are several: of one output skl2onnx's own are right."""
