"""A version's drift over time, step by step: what the page's map and the report's curves are drawn from."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from gateway.counts import EPOCH_S, find_versions
from gateway.verdicts import find_past
from monitoring import RowCounter, add_newest, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.counts import FoldedSpan, ModelCounts
    from monitoring import Reference, Span

__all__ = ["Course", "Courses", "PastVersion", "Step", "step_of", "step_seconds"]

_STEPS: Final = 48
"""Most steps of a course."""
_UNITS: Final = ((900.0, 60), (6 * 3600.0, 300))
"""Up to which horizon counts are kept by the minute and by five minutes; beyond that, by the hour."""
_SETTLED_S: Final = 60.0
"""After a step's end, until no process commits to it any more."""
_KEPT: Final = 512
"""Most settled steps that are kept: 40 MB where models have 1,000 columns, 1 MB where they have 30."""

_Key: TypeAlias = tuple[str, str, int, int]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step, and what could be judged in it."""

    start: float
    """Unix time."""
    version: str
    """The one that scored the most rows in it."""
    n: int
    """Rows of that version."""
    psi: list[float | None]
    """Each feature's, then the score's and the label's; to four decimals, null where too few values came."""
    severity: list[str]
    """Likewise; `none` also where nothing could be judged."""


class PastVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version that serves or served here."""

    version: str
    sha256: str
    since: float
    """When it began to serve last, in Unix time."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What `/monitor/course` answers: the steps in which rows came, the oldest first; the last one is not over."""

    model: str
    start: float
    """Unix time at which the first step begins, or would."""
    step_s: int
    columns: list[str]
    """The features' names, then `score` and `label`."""
    steps: list[Step]
    versions: list[PastVersion]
    """All of this model, the one that began to serve last first."""


def step_seconds(horizon_s: float) -> int:
    """The length of a step: a whole number of the unit that counts are kept in for so long."""
    unit = next((unit for limit, unit in _UNITS if horizon_s <= limit), 3600)
    return -(-int(horizon_s) // (_STEPS * unit)) * unit


def step_of(
    spans: Iterable[Span | FoldedSpan], reference: Reference, version: str, *, start: float, step_s: int
) -> Step | None:
    """Judge one step; None if no rows came in it.

    Args:
        spans: of the counts of that time, and perhaps more.
        reference: that they were counted with.
        version: that they are of.
        start: Unix time, a whole number of steps.
        step_s: length of the step.
    """
    counter = RowCounter(reference)
    inside = [span for span in spans if start <= span.start < start + step_s]
    last_epoch = start + step_s - EPOCH_S
    _, total = add_newest(inside, counter, now=last_epoch, window_rows=sys.maxsize, horizon_s=float(step_s))
    if not counter.rows(total):
        return None
    verdict = judge(reference, total)
    columns = verdict.columns
    return Step(
        start=start,
        version=version,
        n=verdict.n,
        psi=[None if column.psi is None else round(column.psi, 4) for column in columns],
        severity=[column.severity for column in columns],
    )


class Courses:
    """Courses of any version; steps that are over are judged once, and kept.

    Args:
        root: the folder that holds one for each model file.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Guarded by `_lock`, which also lets one course be made at a time: it may take a core for a second.
        self._kept: dict[_Key, Step | None] = {}
        self._lock = threading.Lock()

    def course_of(self, model: str, version: str | None, horizon_s: float, now: float) -> Course:
        """The course of a version, or of all that have the columns of the newest one, up to now.

        Raises:
            NotFound: it never served here.
            UnreadableCountsError: as `ModelCounts.spans`.
        """
        _, newest = find_past(self._root, model, version)
        names = _names(newest.reference())
        step_s = step_seconds(horizon_s)
        end = (now // step_s + 1) * step_s
        starts = range(int(end - max(horizon_s // step_s, 1) * step_s), int(end), step_s)
        versions = find_versions(self._root, model)
        best: dict[float, Step] = {}
        with self._lock:
            for served, counts in versions:
                if version not in {None, served.version} or not counts.names(starts[0]):
                    continue
                for step in self._steps(served.version, counts, starts, now, names):
                    if step.start not in best or step.n > best[step.start].n:
                        best[step.start] = step
        return Course(
            model=model,
            start=starts[0],
            step_s=step_s,
            columns=names,
            steps=[best[start] for start in sorted(best)],
            versions=[
                PastVersion(version=served.version, sha256=counts.folder.name, since=served.since)
                for served, counts in versions
            ],
        )

    def _steps(self, version: str, counts: ModelCounts, starts: range, now: float, names: list[str]) -> Iterator[Step]:
        """Those in which rows came; none if the version has other columns."""
        reference = counts.reference()
        if _names(reference) != names:
            return
        spans = counts.spans(starts[0])
        for start in starts:
            key = counts.folder.name, version, starts.step, start
            if key in self._kept:
                step = self._kept[key]
            else:
                step = step_of(spans, reference, version, start=start, step_s=starts.step)
                if now >= start + starts.step + _SETTLED_S:
                    self._keep(key, step)
            if step is not None:
                yield step

    def _keep(self, key: _Key, step: Step | None) -> None:
        self._kept[key] = step
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]


def _names(reference: Reference) -> list[str]:
    """Of the columns: the features, the score, the label."""
    return [column.name for column in reference.columns]
