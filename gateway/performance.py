"""How good the models are by what came true: written by the observer, answered by any worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.errors import BadRequest, NotFound
from monitoring.performance.estimate import Estimated
from monitoring.performance.measure import Measured

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["FILE", "Change", "Horizon", "Judged", "PerformanceReport", "Performances", "read_performances", "select"]

FILE = "performance.json"
"""In `monitor/`."""


Judged = Literal["probabilities", "class", "number"]
"""What a version's answers are judged by: a class with the probabilities that it follows from, a class, or a number."""


class Horizon(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that were predicted in the last `horizon_s` seconds."""

    horizon_s: int
    since: float | None
    """When the oldest labelled row was predicted, in Unix time: later than the horizon where rows are many."""
    realised: Measured
    """By those that have a label."""
    estimated: Estimated
    """Of all of them, with or without a label, by what their scores are worth; only of probabilities."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A detector says that the error rate has changed."""

    detector: Literal["adwin", "page_hinkley"]
    at: float
    """When the row was predicted whose label told it, in Unix time."""
    labels: int
    """Labels of this version so far."""
    before: float
    """Error rate from the last change to about here."""
    after: float
    """Of the newest rows."""
    level: float
    """What the error rate has to come back to."""

    @property
    def worse(self) -> bool:
        """Whether it is for the worse."""
        return self.after > self.before


class PerformanceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one version."""

    model: str
    version: str
    sha256: str
    judged: Judged = "probabilities"
    """Of several targets, the first one is."""
    labels: list[str]
    """Display names of the classes, in the order of the confusion matrix; none of numbers."""
    horizons: list[Horizon]
    first: Measured | None
    """By the first 1,000 labels: what later ones are held against; None until they have come."""
    concept_drift: bool | None
    """Whether the error rate has risen and not come back; None where that cannot be said, as of numbers."""
    error_rate: float | None
    """Of the newest labels, up to 200."""
    changes: list[Change]
    """The newest ten, oldest first."""


class Performances(msgspec.Struct, frozen=True, kw_only=True):
    """All versions that labels or predictions have come for, and what became of all labels."""

    time: float = 0.0
    """When this was worked out, in Unix time; 0: not yet."""
    feedback: dict[str, int] = {}
    """Labels by what became of them."""
    models: list[PerformanceReport] = []


_decoder = msgspec.json.Decoder(Performances)


def read_performances(folder: Path) -> Performances:
    """What the observer has last written into `monitor/`; nothing if it has not yet.

    Raises:
        msgspec.MsgspecError: the file is damaged; it is written anew within a minute.
    """
    try:
        return _decoder.decode((folder / FILE).read_bytes())
    except FileNotFoundError:
        return Performances()


def select(found: Performances, model: str | None, version: str | None, serving: Collection[str]) -> Performances:
    """What a caller asks for.

    Args:
        found: all there is.
        model: its name; None is all.
        version: of that model; None is all.
        serving: names of models that serve, about which nothing may be known yet.

    Raises:
        NotFound: no such model or version.
        BadRequest: a version without a model.
    """
    if model is None:
        if version is not None:
            raise BadRequest("version needs a model: /monitor/performance?model=NAME&version=2")
        return found
    of_model = [report for report in found.models if report.model == model]
    if not of_model and model not in serving:
        raise NotFound(f"no model {model!r} was ever judged here, and none serves")
    chosen = [report for report in of_model if version in {None, report.version}]
    if version is not None and not chosen:
        raise NotFound(f"{model} version {version} has neither labels nor predictions in the last seven days")
    return msgspec.structs.replace(found, models=chosen)
