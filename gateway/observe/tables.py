"""A frame of the prediction log as a table: what its columns are called, and what they hold; needs pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from converters.answers import parts_of, places_of, scores_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from converters.modelfile import Column, Signature, Target
    from gateway.predictions import Predictions

__all__ = ["ColumnNames", "TargetNames", "classes_of", "names_of", "table", "type_of"]

_TYPES: Final = {"string": pa.string(), "bool": pa.bool_(), "int": pa.int64()}


class ColumnNames(NamedTuple):
    """What the log's own columns are called beside those of the model."""

    label: str
    """Of the predicted class's display name if there is one target, and in an export of what came true."""
    request_id: str
    row: str
    time: str
    model: str
    version: str
    sha256: str
    targets: tuple[TargetNames, ...]


class TargetNames(NamedTuple):
    """What the columns of one target are called."""

    label: str
    """Of the class, as the answer shows it; unused by a target without classes, as the next one."""
    prediction: str
    scores: tuple[str, ...]


def names_of(signature: Signature) -> ColumnNames:
    """The own columns' names: each as it is called here, with as many `_` behind it as make it unlike all before it."""
    taken = {column.name for column in signature.columns}

    def free(name: str) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    label = free("label")
    return ColumnNames(
        label=label,
        request_id=free("request_id"),
        row=free("row"),
        time=free("time"),
        model=free("model"),
        version=free("version"),
        sha256=free("sha256"),
        targets=tuple(
            TargetNames(
                label=label if len(signature.targets) == 1 else free(f"{target.name}_label"),
                prediction=free(f"{_prefix(signature, target)}prediction"),
                scores=tuple(free(f"{_prefix(signature, target)}{name}") for name in _score_names(target)),
            )
            for target in signature.targets
        ),
    )


def _prefix(signature: Signature, target: Target) -> str:
    """Several targets are told apart by their names."""
    return "" if len(signature.targets) == 1 else f"{target.name}_"


def _score_names(target: Target) -> list[str]:
    """By class where each has a score, as in the answer; else numbered."""
    by_class = len(target.labels) == target.width > 1
    kind = "score" if target.classes else "value"
    if by_class and target.scores == "probabilities":
        kind = "probability"
    if target.width == 1:
        return [kind]
    return [f"{kind}_{name}" for name in (target.labels if by_class else range(target.width))]


def table(found: Predictions, signature: Signature) -> pa.Table:
    """A frame's rows: the model's columns (null where missing or redacted), then the log's own.

    Args:
        found: what was read of the frame.
        signature: of its model file.
    """
    head, count = found.head, len(found.request_ids)
    names = names_of(signature)
    numbers, texts = iter(found.rows.T), iter(found.texts)
    columns = {}
    for place, column in enumerate(signature.columns):
        kind = type_of(signature, column)
        if place in head.redacted:
            columns[column.name] = pa.nulls(count, kind)
        elif column.kind == "string":
            columns[column.name] = pa.array(next(texts), kind)
        else:
            columns[column.name] = pa.array(next(numbers), from_pandas=True).cast(kind)
    stamp = pa.scalar(int(head.time * 1e6), pa.timestamp("us", tz="UTC"))
    own = {
        **_answered(signature, names, found.answers),
        names.request_id: pa.array(found.request_ids, pa.string()),
        names.row: pa.array(found.numbers),
        names.time: pa.repeat(stamp, count),
        names.model: pa.repeat(head.model, count),
        names.version: pa.repeat(head.version, count),
        names.sha256: pa.repeat(head.sha256, count),
    }
    return pa.table({**columns, **own})


def type_of(signature: Signature, column: Column) -> pa.DataType:
    """What a column's values are in a file: of their kind where they were held to it, else what the graph was given."""
    if signature.form == "table" and column.kind in _TYPES:
        return _TYPES[column.kind]
    return pa.float64() if signature.dtype == "float64" else pa.float32()


def _answered(signature: Signature, names: ColumnNames, answers: NDArray[np.float32]) -> dict[str, pa.Array]:
    """Each target's class, if it has any, and its scores."""
    columns = {}
    for (target, part), called in zip(parts_of(signature), names.targets, strict=True):
        found = answers[:, part]
        if target.classes:
            places = places_of(target, found)
            known = np.isin(places, range(len(target.classes)))  # of a class that is given, the graph may say anything
            best = pa.array(np.where(known, places, np.nan), from_pandas=True).cast(pa.int64())
            columns[called.label] = pa.array(target.labels, pa.string()).take(best)
            columns[called.prediction] = classes_of(target.classes).take(best)
        columns.update(zip(called.scores, map(pa.array, scores_of(target, found).T), strict=True))
    return columns


def classes_of(classes: Sequence[bool | int | float | str]) -> pa.Array:
    """What `predict` returns for each class, as text if they are of several kinds."""
    kinds = {type(value) for value in classes}
    return pa.array(classes if len(kinds) == 1 else [str(value) for value in classes])
