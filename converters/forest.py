"""Whether the nodes of a tree ensemble are trees: each reached from its root, once, within a bounded depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from converters.errors import ConversionError

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    Places = npt.NDArray[np.int64]

__all__ = ["MAX_DEPTH", "check_forest"]

MAX_DEPTH = 2_000
"""Of a tree. onnxruntime loads trees by recursion: with 8 MiB of stack it dies between a depth of 10,000 and 30,000."""

_LISTS = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
)


def check_forest(node: onnx.NodeProto) -> None:
    """Refuse a TreeEnsembleClassifier or -Regressor whose nodes form anything but trees.

    Raises:
        ConversionError: lists of unequal length, a node twice, an unknown child, two parents, a cycle, too deep.
    """
    lists = {item.name: item.strings if item.name == "nodes_modes" else item.ints for item in node.attribute}
    lengths = {name: len(lists.get(name, ())) for name in _LISTS}
    if len(set(lengths.values())) != 1:
        raise ConversionError(f"operator {node.op_type} has lists of unequal length: {lengths}")
    trees, ids, features = (np.asarray(lists.get(name, ()), dtype=np.int64) for name in _LISTS[:3])
    if features.size and features.min() < 0:
        raise ConversionError(f"operator {node.op_type} reads column {features.min()}")
    branches = np.flatnonzero(np.array(lists.get("nodes_modes", ()), dtype=object) != b"LEAF")
    order = np.lexsort((ids, trees))
    trees, ids = trees[order], ids[order]
    if np.any((trees[1:] == trees[:-1]) & (ids[1:] == ids[:-1])):
        raise ConversionError(f"operator {node.op_type} has a node twice")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    children = [
        _find(trees, ids, trees[place[branches]], np.asarray(lists[name], dtype=np.int64)[branches], node.op_type)
        for name in _LISTS[4:]
        if len(branches)
    ]
    _check_reached(place[branches], children, len(ids), node.op_type)


def _find(trees: Places, ids: Places, of: Places, wanted: Places, operator: str) -> Places:
    """Places, among nodes sorted by tree and id, of the nodes `wanted` of the trees `of`."""
    starts = np.searchsorted(trees, of, side="left")
    # Ids are sorted within a tree only: the two keys are made one, dense in the ids that occur.
    dense = np.unique(ids)
    rank = np.searchsorted(dense, wanted)
    known = (rank < len(dense)) & (dense[np.minimum(rank, len(dense) - 1)] == wanted)
    first = np.searchsorted(trees, trees, side="left")
    keys = first * len(dense) + np.searchsorted(dense, ids)
    key = starts * len(dense) + rank
    found = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    unknown = np.flatnonzero(~known | (keys[found] != key))
    if unknown.size:
        raise ConversionError(f"operator {operator} goes to node {wanted[unknown[0]]}, which its tree does not have")
    return found


def _check_reached(branches: Places, children: list[Places], count: int, operator: str) -> None:
    """Walk all trees at once, level by level, from the nodes that have no parent."""
    if not len(branches):
        return
    parents = np.bincount(np.concatenate(children), minlength=count)
    if parents.max() > 1:
        raise ConversionError(f"operator {operator} has a node with two parents: no tree")
    child = np.full((count, 2), -1, dtype=np.int64)
    child[branches] = np.stack(children, axis=1)
    level, reached = np.flatnonzero(parents == 0), 0
    for _ in range(MAX_DEPTH + 1):
        reached += len(level)
        level = child[level].ravel()
        level = level[level >= 0]
        if not len(level):
            break
    else:
        raise ConversionError(f"operator {operator} has a tree deeper than {MAX_DEPTH:,}")
    if reached != count:
        raise ConversionError(f"operator {operator} has nodes in a cycle: no tree")
