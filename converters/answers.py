"""What the columns of an answer mean: the class, the number that is watched, and how far apart two answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from converters.modelfile import Signature, Target

    Answers = npt.NDArray[np.floating[Any]]

__all__ = ["distances", "label_of", "parts_of", "places_of", "score_of", "scores_of"]


def parts_of(signature: Signature) -> Iterator[tuple[Target, slice]]:
    """Each target with the columns of an answer that are its."""
    start = 0
    for target in signature.targets:
        yield target, slice(start, start + target.columns)
        start += target.columns


def places_of(target: Target, part: Answers) -> npt.NDArray[np.float64]:
    """The predicted class of each row, as its place among the target's classes; NaN for a row without an answer.

    Args:
        target: one with classes.
        part: its columns [n, target.columns].
    """
    if target.decides == "given":
        return np.asarray(part[:, 0], dtype=np.float64)
    if target.decides == "sign":
        found, least = part[:, 0] > 0, part[:, 0]
    else:
        found = part[:, 1] > part[:, 0] if part.shape[1] == 2 else part.argmax(axis=1)
        least = part[:, 1] if part.shape[1] == 2 else part.max(axis=1)
    return np.where(np.isnan(least), np.nan, found)


def scores_of(target: Target, part: Answers) -> Answers:
    """The target's scores [n, target.width], without the class."""
    return part[:, 1:] if target.decides == "given" else part


def label_of(signature: Signature, answers: Answers) -> npt.NDArray[np.float64] | None:
    """The first target's class of each row [n], as `places_of`; None if it has no classes."""
    target, columns = next(parts_of(signature))
    return places_of(target, answers[:, columns]) if target.classes else None


def score_of(signature: Signature, answers: Answers) -> npt.NDArray[np.float64]:
    """The one number a row [n] whose distribution is watched, of the first target.

    P(last class) of two, the largest score of more, or the number itself; of several numbers the first, and of a class
    without scores its place.
    """
    target, columns = next(parts_of(signature))
    part = answers[:, columns]
    scores = scores_of(target, part) if target.width else part
    if not target.classes or scores.shape[1] == 1:
        column = scores[:, 0]
    else:
        column = scores[:, 1] if scores.shape[1] == 2 else scores.max(axis=1)
    return np.asarray(column, dtype=np.float64)


def distances(signature: Signature, answered: Answers, expected: Answers) -> npt.NDArray[np.float64]:
    """How far each row's scores are from what is expected [n]: the largest difference, infinite for another class.

    A difference counts in units of its target's `scale`, or of the expected value where that is larger: float32 holds
    seven digits, of a price as of a probability.
    """
    with np.errstate(invalid="ignore"):
        errors = np.abs(answered.astype(np.float64) - expected)
    for target, columns in parts_of(signature):
        first = columns.start
        if target.decides == "given":
            errors[:, first] = np.where(errors[:, first] == 0, 0.0, np.inf)
            first += 1
        errors[:, first : columns.stop] /= np.maximum(target.scale, np.abs(expected[:, first : columns.stop]))
    worst: npt.NDArray[np.float64] = errors.max(axis=1)
    return np.where(np.isnan(worst), np.inf, worst)
