"""What `/monitor/drift` answers: the verdict on a model's version, over a window of what all workers have counted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.counts import ModelCounts, find_counts, find_versions, folders_in
from gateway.errors import BadRequest, NotFound
from monitoring import FeatureDrift, RowCounter, add_newest, judge

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.counts import Served
    from gateway.generation import Generation
    from monitoring import Counts, ModelDrift, Reference, Span

__all__ = [
    "HORIZON_MAX_S",
    "HORIZON_MIN_S",
    "UNTIL_MAX",
    "DriftReport",
    "Judged",
    "Window",
    "add_up",
    "checked_horizon",
    "checked_until",
    "find_past",
    "judge_past",
    "judge_serving",
    "judge_window",
    "report_of",
]

HORIZON_MIN_S = 10.0
HORIZON_MAX_S = 7 * 86_400.0
"""Counts are kept for a day longer."""
UNTIL_MAX = 1e11
"""Latest Unix time that may be asked about."""


class Window(NamedTuple):
    """Which counts are judged: the newest that hold `rows`, but none older than `horizon_s` seconds."""

    horizon_s: float
    rows: int = sys.maxsize


class Judged(NamedTuple):
    """A verdict, and the wall clock's second at which its window begins; None if nothing was counted in it."""

    since: float | None
    drift: ModelDrift


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """A model's drift verdict, over the newest rows that all workers scored; `since` is in Unix time."""

    model: str
    version: str
    sha256: str
    since: float | None
    n: int
    severity: str
    score: FeatureDrift
    label: FeatureDrift | None
    """The predicted classes."""
    features: list[FeatureDrift]

    @property
    def columns(self) -> list[FeatureDrift]:
        """All verdicts: the features', the score's and the label's."""
        return [*self.features, self.score, *([self.label] if self.label is not None else [])]


def judge_window(
    counts: ModelCounts, reference: Reference, window: Window, *, now: float, unshared: Iterable[Span] = ()
) -> Judged:
    """Judge what all processes have counted of one model file; arguments and errors as `add_up`."""
    since, total = add_up(counts, reference, window, now=now, unshared=unshared)
    return Judged(since, judge(reference, total))


def add_up(
    counts: ModelCounts, reference: Reference, window: Window, *, now: float, unshared: Iterable[Span] = ()
) -> tuple[float | None, Counts]:
    """Add up what all processes have counted of one model file: when the window begins, and the sum.

    Args:
        counts: where it is.
        reference: of that file.
        window: which of it.
        now: start of the current epoch, wall clock in seconds.
        unshared: what is counted and not there.

    Raises:
        UnreadableCountsError: as `ModelCounts.spans`.
    """
    spans = [*counts.spans(now - window.horizon_s), *unshared]
    return add_newest(spans, RowCounter(reference), now=now, window_rows=window.rows, horizon_s=window.horizon_s)


def judge_serving(generation: Generation, horizon_s: float | None) -> DriftReport:
    """The verdict on a generation that serves, this worker's newest rows included; takes milliseconds."""
    judged = generation.feed.verdict(horizon_s)
    return report_of(generation.name, generation.version, generation.sha256, judged)


def judge_past(root: Path, model: str, version: str | None, horizon_s: float, now: float) -> DriftReport:
    """The verdict on a version that served once, or on the last one, over all that was counted within the horizon.

    Args:
        root: the folder that holds one for each model file.
        model: its name.
        version: of the registry; None is the one that began to serve last.
        horizon_s: how far back.
        now: wall clock, in seconds.

    Raises:
        NotFound: it never served here.
        UnreadableCountsError: as `ModelCounts.spans`.
    """
    served, counts = find_past(root, model, version)
    judged = judge_window(counts, counts.reference(), Window(horizon_s), now=now)
    return report_of(model, served.version, counts.folder.name, judged)


def find_past(root: Path, model: str, version: str | None) -> tuple[Served, ModelCounts]:
    """What was counted of a version, or of the one that began to serve last.

    Raises:
        NotFound: it never served here.
    """
    found = find_counts(root, model, version)
    if found is None:
        raise NotFound(_never_served(root, model, version))
    return found


def _never_served(root: Path, model: str, version: str | None) -> str:
    versions = {served.version for served, _ in find_versions(root, model)}
    if versions:
        return f"{model} version {version} was never served here, but {_some(versions)}"
    models = {served.model for folder in folders_in(root) for served in ModelCounts(folder).served()}
    return f"no model {model!r} served here, " + (f"but {_some(models)}" if models else "nor any other")


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:10]) + (", …" if len(names) > 10 else "")


def checked_horizon(given: float) -> float:
    """The caller's horizon.

    Raises:
        BadRequest: it is none that counts are kept for.
    """
    if HORIZON_MIN_S <= given <= HORIZON_MAX_S:
        return given
    raise BadRequest(f"horizon_s must be {HORIZON_MIN_S:g} to {HORIZON_MAX_S:g}, not {given:g}")


def checked_until(given: float) -> float:
    """The caller's end of a window, in Unix time.

    Raises:
        BadRequest: there is no such time.
    """
    if 0 <= given <= UNTIL_MAX:
        return given
    raise BadRequest(f"until must be 0 to {UNTIL_MAX:g} seconds of Unix time, not {given:g}")


def report_of(model: str, version: str, sha256: str, judged: Judged) -> DriftReport:
    """A verdict, and who it speaks of."""
    found = judged.drift
    return DriftReport(
        model=model,
        version=version,
        sha256=sha256,
        since=judged.since,
        n=found.n,
        severity=found.severity,
        score=found.score,
        label=found.label,
        features=found.features,
    )
