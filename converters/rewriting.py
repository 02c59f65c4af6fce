"""A fitted estimator as skl2onnx can take it: columns by place, cures applied, all on copies."""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from converters.cures import CURES, cure_scaled_trees
from converters.cures.boosters import package_of
from converters.errors import ConversionError
from converters.trees import trees_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["PICK", "Inputs", "Pick", "inner", "last_of", "rewrite"]

_MEMBERS = ("estimator_", "best_estimator_", "estimator", "regressor_")


class Pick(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Columns in a given order; skl2onnx drops a reordering of all columns."""

    def __init__(self, places: Sequence[int]) -> None:
        self.places = places


def _convert_pick(scope: Any, operator: Any, container: Any) -> None:
    places = scope.get_unique_variable_name("places")
    container.add_initializer(places, 7, [len(operator.raw_operator.places)], list(operator.raw_operator.places))
    container.add_node(
        "Gather",
        [operator.inputs[0].full_name, places],
        operator.outputs[0].full_name,
        axis=1,
        name=scope.get_unique_operator_name("Pick"),
    )


def _shape_pick(operator: Any) -> None:
    taken = operator.inputs[0].type
    kind = StringTensorType if isinstance(taken, StringTensorType) else type(taken) or FloatTensorType
    operator.outputs[0].type = kind([taken.shape[0], len(operator.raw_operator.places)])


PICK = {Pick: (_convert_pick, _shape_pick)}


class Inputs(NamedTuple):
    """What an estimator's columns are in the graph."""

    place: Callable[[int], int] = int
    """Of a column of the data, its place in the graph's inputs."""
    blocks: tuple[range, ...] = ()
    """The places of each of the graph's inputs; none where the rows are not the data any more."""
    gap: Any = np.nan
    """What stands for a missing text in the data."""
    double: bool = False
    """Whether the graph computes in double."""

    def later(self) -> Inputs:
        """Those of an estimator that is given another's answers."""
        return Inputs(gap=self.gap, double=self.double)


def rewrite(estimator: Any, inputs: Inputs) -> Any:
    """Return an estimator that answers the same and converts; the given one stays as it is.

    Raises:
        ConversionError: a part of it has no form in a graph.
    """
    for cure in CURES:
        estimator = cure(estimator, inputs.gap)
    if not inputs.double:
        estimator = cure_scaled_trees(estimator)
    if isinstance(estimator, FunctionTransformer) and estimator.func is not None:
        raise ConversionError(
            f"FunctionTransformer calls {getattr(estimator.func, '__name__', estimator.func)!r}, which no graph can:"
            " calculate before the model, or give a transformer of your own and its converter (`converters=`)"
        )
    if isinstance(estimator, Pipeline):
        return _pipeline(estimator, inputs)
    if isinstance(estimator, ColumnTransformer):
        return _by_place(estimator, inputs)
    if isinstance(estimator, FeatureUnion):
        told = copy.copy(estimator)
        told.transformer_list = [(name, _rewritten(each, inputs)) for name, each in estimator.transformer_list]
        return told
    return _members(estimator, inputs)


def _rewritten(part: Any, inputs: Inputs) -> Any:
    """A part, if it is an estimator and not a word."""
    return rewrite(part, inputs) if isinstance(part, BaseEstimator) else part


def _pipeline(estimator: Pipeline, inputs: Inputs) -> Pipeline:
    steps = []
    for name, step in estimator.steps:
        if step is None or step == "passthrough":
            continue
        if inputs.double and _sees_floats(step):
            steps.append((f"{name}_to_float", CastTransformer(dtype=np.float32)))  # as its own `predict` does
        steps.append((name, rewrite(step, inputs)))
        if not isinstance(step, FunctionTransformer):
            inputs = inputs.later()
    told = copy.copy(estimator)
    told.steps = steps
    return told


def _sees_floats(model: Any) -> bool:
    """Whether a model of trees makes float32 of its rows before it compares."""
    if hasattr(model, "_predictors") or package_of(model) == "lightgbm":
        return False
    return bool(package_of(model) or trees_of(model))


def _by_place(estimator: ColumnTransformer, inputs: Inputs) -> ColumnTransformer:
    """Each transformer with the places of its columns: names, slices, masks and functions are of the data."""
    told = copy.copy(estimator)
    transformers = []
    for name, each, _ in estimator.transformers_:
        columns = estimator._transformer_to_input_indices[name]  # noqa: SLF001 - no public way
        places = [inputs.place(int(column)) for column in columns]
        if not places or each == "drop":
            continue
        inside = _rewritten(each, inputs.later()) if each != "passthrough" else FunctionTransformer()
        if any(list(block) == sorted(places) for block in inputs.blocks) and places != sorted(places):
            inside = Pipeline([("pick", Pick([place - min(places) for place in places])), ("then", inside)])
            places = sorted(places)
        transformers.append((name, inside, places))
    told.transformers_ = transformers
    return told


def _members(estimator: Any, inputs: Inputs) -> Any:
    """An estimator made of others: each of them rewritten; itself, if none of them changes."""
    new: dict[str, Any] = {}
    for attribute in _MEMBERS:
        part = vars(estimator).get(attribute)
        if isinstance(part, BaseEstimator) and hasattr(part, "n_features_in_"):  # else a template, never fitted
            new[attribute] = rewrite(part, inputs)
    for attribute, change in (("estimators_", _rewritten), ("calibrated_classifiers_", _members)):
        parts = vars(estimator).get(attribute)
        if isinstance(parts, list):
            new[attribute] = [change(each, inputs) for each in parts]
    if all(_same(value, getattr(estimator, attribute)) for attribute, value in new.items()):
        return estimator
    told = copy.copy(estimator)
    for attribute, value in new.items():
        setattr(told, attribute, value)
    return told


def _same(new: Any, old: Any) -> bool:
    return all(map(operator.is_, new, old)) if isinstance(new, list) else new is old


def last_of(estimator: Any) -> Any:
    """The step of a pipeline that answers."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def inner(estimator: Any) -> Iterator[Any]:
    """The estimator and all that it is made of."""
    yield estimator
    parts = [step for _, step in getattr(estimator, "steps", ())]
    parts += [each for _, each in getattr(estimator, "transformer_list", ())]
    parts += [each for _, each, *_ in getattr(estimator, "transformers_", ())]
    parts += [getattr(estimator, attribute, None) for attribute in _MEMBERS]
    several = getattr(estimator, "estimators_", ())
    parts += list(several) if isinstance(several, list | tuple) else []
    parts += list(getattr(estimator, "calibrated_classifiers_", ()))
    for part in parts:
        if hasattr(part, "__dict__") and not isinstance(part, str | type):
            yield from inner(part)
