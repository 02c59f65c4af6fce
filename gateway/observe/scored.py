"""What was predicted, in the form in which it is held against what came true: that of a model's first target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from converters.answers import parts_of, places_of
from gateway.performance import Judged
from monitoring.performance.estimate import CELLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from converters.modelfile import Target
    from gateway.feedback import Label
    from gateway.observe.intake import Batch

__all__ = ["Scored", "Version", "scored"]

_LARGEST: Final = float(np.finfo(np.float32).max)


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered."""

    model: str
    version: str
    sha256: str
    classes: tuple[bool | int | float | str, ...]
    """What may be true, in the order of the probabilities; none of numbers."""
    labels: tuple[str, ...]
    """Their display names."""
    judged: Judged = "probabilities"

    def truth_of(self, label: Label) -> float | None:
        """The place of the class that a label names, by its value or its display name, or the number; None if neither.

        A number that float32 cannot hold is none: the model could not have said it.
        """
        if self.judged == "number":
            fits = isinstance(label, int | float) and not isinstance(label, bool) and abs(label) <= _LARGEST
            return float(label) if fits else None
        for names in (self.classes, self.labels):
            if label in names:
                return names.index(label)
        return None

    def is_wrong(self, answer: NDArray[np.float32], truth: float) -> int | None:
        """Whether another class was predicted, 1 or 0; None of a number, which is never quite right."""
        if self.judged == "number":
            return None
        return int((answer.argmax() if self.judged == "probabilities" else answer[0]) != truth)

    @property
    def cells(self) -> tuple[int, ...]:
        """The shape of what is counted of its scores: without probabilities, only how many there are."""
        return (len(self.classes), 2, CELLS) if self.judged == "probabilities" else (1,)


class Scored(NamedTuple):
    """Rows that one version has scored at about one time."""

    version: Version
    time: float
    """Unix time."""
    request_ids: Sequence[str]
    """[n]."""
    rows: NDArray[np.integer[Any]]
    """[n], of each row within its request."""
    answers: NDArray[np.float32]
    """[n, classes], [n, 1] of places of classes or [n, 1] of numbers, by what the version is judged by."""


def scored(batch: Batch) -> Scored:
    """The first target of what was answered: what labels are about."""
    found, signature = batch
    head = found.head
    target, columns = next(parts_of(signature))
    judged, answers = _judged(target, found.answers[:, columns])
    version = Version(
        model=head.model,
        version=head.version,
        sha256=head.sha256,
        classes=target.classes,
        labels=target.labels,
        judged=judged,
    )
    return Scored(version, head.time, found.request_ids, found.numbers, answers)


def _judged(target: Target, part: NDArray[np.float32]) -> tuple[Judged, NDArray[np.float32]]:
    """What a target is judged by, and that of each row; NaN of a class that there is not."""
    if not target.classes:
        return "number", part[:, :1]
    if (target.scores, target.decides) == ("probabilities", "argmax"):
        return "probabilities", part
    places = places_of(target, part)
    known = np.where(np.isin(places, range(len(target.classes))), places, np.nan)
    return "class", known[:, np.newaxis].astype(np.float32)
