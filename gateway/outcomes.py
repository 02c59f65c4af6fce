"""What one row of an answer means, for models that are no classifiers with probabilities of one target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from converters.answers import parts_of
from gateway.schemas import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from converters.modelfile import Signature, Target

    # Makes an outcome's fields of a target's part of a row.
    Read = Callable[[list[float]], dict[str, Any]]

__all__ = ["outcome_reader"]


def outcome_reader(signature: Signature) -> Callable[[list[float]], Outcome]:
    """A function that makes the outcome of one row [width] of an answer."""
    if len(signature.targets) == 1:
        read = _reader(signature.targets[0])
        return lambda row: Outcome(**read(row))
    parts = [(target.name, _reader(target), columns) for target, columns in parts_of(signature)]

    def read_all(row: list[float]) -> Outcome:
        return Outcome(targets={name: Outcome(**read(row[columns])) for name, read, columns in parts})

    return read_all


def place_of(target: Target, part: list[float]) -> int:
    """The place of the predicted class in a target's part of a row."""
    if target.decides == "given":
        return int(part[0])
    return int(part[0] > 0) if target.decides == "sign" else part.index(max(part))


def _reader(target: Target) -> Read:
    if not target.classes:
        return _one_value if target.width == 1 else lambda part: {"value": part}

    def read(part: list[float]) -> dict[str, Any]:
        place = place_of(target, part)
        scores = part[1:] if target.decides == "given" else part
        told: dict[str, float] | float | msgspec.UnsetType
        if len(scores) == len(target.labels) > 1:
            told = dict(zip(target.labels, scores, strict=True))
        else:
            told = scores[0] if scores else msgspec.UNSET
        key = "probabilities" if target.scores == "probabilities" and isinstance(told, dict) else "scores"
        return {"prediction": target.classes[place], "label": target.labels[place], key: told}

    return read


def _one_value(part: list[float]) -> dict[str, Any]:
    return {"value": part[0]}
