"""What a fitted scikit-learn ensemble looks like inside: its trees, and rows that reach a chosen split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

__all__ = ["Tree", "at_most", "reaching", "scalers_and_model", "trees_of"]

_SCALERS = frozenset({"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"})


class Tree(NamedTuple):
    """One tree as arrays over its nodes; node 0 is the root, a row goes left if its value is at most the threshold."""

    feature: npt.NDArray[np.int64]
    """Column that the node looks at, -1 in a leaf."""
    threshold: npt.NDArray[np.float64]
    """NaN where the node does not compare with a number (leaves, splits by category)."""
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]

    def splits(self) -> npt.NDArray[np.int64]:
        """Nodes that compare a column with a finite number."""
        return np.flatnonzero((self.feature >= 0) & np.isfinite(self.threshold))

    def parents(self) -> npt.NDArray[np.int64]:
        """The node above each node, -1 for the root."""
        parents = np.full(len(self.feature), -1)
        inner = np.flatnonzero(self.feature >= 0)
        parents[self.left[inner]] = inner
        parents[self.right[inner]] = inner
        return parents


def scalers_and_model(estimator: Any) -> tuple[list[Any], Any]:
    """Split a pipeline into its scalers, column by column and monotone, and the model behind them.

    Anything else, a pipeline with other steps included, is a model with no scalers.
    """
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        before = [step for _, step in estimator.steps[:-1]]
        if all(type(step).__name__ in _SCALERS for step in before):
            return before, estimator.steps[-1][1]
    return [], estimator


def trees_of(model: Any) -> list[Tree]:
    """All trees of a tree, a forest, boosted trees, or a calibrated one of these; empty for other models."""
    return list(_walk(model))


def _walk(model: Any) -> Iterator[Tree]:
    if hasattr(model, "tree_"):
        tree = model.tree_
        leaf = tree.feature < 0
        yield Tree(
            feature=np.where(leaf, -1, tree.feature),
            threshold=np.where(leaf, np.nan, tree.threshold),
            left=tree.children_left,
            right=tree.children_right,
        )
    elif hasattr(model, "_predictors"):  # histogram gradient boosting: [iterations][classes]
        for predictor in (one for iteration in model._predictors for one in iteration):  # noqa: SLF001 - no public way
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            yield Tree(
                feature=np.where(leaf, -1, nodes["feature_idx"]),
                threshold=np.where(leaf | nodes["is_categorical"].astype(bool), np.nan, nodes["num_threshold"]),
                left=nodes["left"].astype(np.int64),
                right=nodes["right"].astype(np.int64),
            )
    else:
        for member in _members(model):
            yield from _walk(member)


def _members(model: Any) -> list[Any]:
    """The fitted models that an ensemble is made of; a pipeline among them has no trees of its own."""
    members = getattr(model, "estimators_", None)
    if members is None:
        members = [calibrated.estimator for calibrated in getattr(model, "calibrated_classifiers_", ())]
    # Not np.ravel for lists: to numpy a pipeline is a sequence of its steps.
    return list(members.ravel() if isinstance(members, np.ndarray) else members)


def at_most(threshold: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The largest float32 that a double threshold still sends left."""
    with np.errstate(over="ignore"):
        rounded = threshold.astype(np.float32)
    down: npt.NDArray[np.float32] = np.where(
        rounded > threshold, np.nextafter(rounded, np.float32(-np.inf), dtype=np.float32), rounded
    )
    return down


def reaching(
    tree: Tree, node: int, row: npt.NDArray[np.float32], parents: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """A row near `row` that arrives at `node` of the tree.

    A value that its path does not allow is moved well inside what it does, so that rounding on the way back through a
    scaler leaves it there.
    """
    low = np.full(len(row), -np.inf, dtype=np.float32)
    high = np.full(len(row), np.inf, dtype=np.float32)
    below, above = node, int(parents[node])
    while above >= 0:
        column, last = int(tree.feature[above]), at_most(tree.threshold[above : above + 1])[0]
        if np.isfinite(last):
            if tree.left[above] == below:
                high[column] = min(high[column], last)
            else:
                low[column] = max(low[column], np.nextafter(last, np.float32(np.inf)))
        below, above = above, int(parents[above])
    with np.errstate(over="ignore", invalid="ignore"):  # where a bound is missing, its branch is not taken
        middle = low / 2 + high / 2
        aside = np.where(np.isfinite(low), low + _margin(low), high - _margin(high))
    inside = np.where(np.isfinite(low) & np.isfinite(high), middle, aside)
    return np.where((row < low) | (row > high), np.clip(inside, low, high), row)


def _margin(bound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    margin: npt.NDArray[np.float32] = np.float32(1e-3) * (np.abs(bound) + np.float32(1))
    return margin
