"""What `hotgate drift` shows of one version: the verdict, the histograms behind it, and PSI over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.course import step_of, step_seconds
from gateway.histogram import Group, groups_of
from gateway.verdicts import DriftReport, Judged, Window, add_up, find_past, report_of
from monitoring import judge
from monitoring.verdict import split_columns

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.counts import ModelCounts
    from monitoring import Reference

__all__ = ["Column", "History", "Point", "history_of"]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One step: PSI of every column that could be judged in it."""

    start: float
    """Unix time."""
    n: int
    psi: dict[str, float]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column's histogram, over the groups that PSI is made of."""

    name: str
    groups: list[Group]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A version's drift over a horizon."""

    report: DriftReport
    horizon_s: float
    columns: list[Column]
    """Each feature, then the score and the label."""
    course: list[Point]


def history_of(root: Path, model: str, version: str | None, horizon_s: float, now: float) -> History:
    """Put together what is known of one version over a horizon that ends now; arguments as `judge_past`.

    Raises:
        NotFound: it never served here.
        UnreadableCountsError: as `ModelCounts.spans`.
    """
    served, counts = find_past(root, model, version)
    reference = counts.reference()
    since, total = add_up(counts, reference, Window(horizon_s), now=now)
    judged = Judged(since, judge(reference, total))
    columns = reference.columns
    return History(
        report=report_of(model, served.version, counts.folder.name, judged),
        horizon_s=horizon_s,
        columns=[
            Column(name=column.name, groups=groups_of(column, cells[:-1]))
            for column, cells in zip(columns, split_columns(columns, total), strict=True)
        ],
        course=_course(counts, reference, served.version, horizon_s, now),
    )


def _course(counts: ModelCounts, reference: Reference, version: str, horizon_s: float, now: float) -> list[Point]:
    step_s = step_seconds(horizon_s)
    end = now // step_s * step_s
    begin = end - horizon_s // step_s * step_s
    names = [column.name for column in reference.columns]
    spans = counts.spans(begin)
    steps = (
        step_of(spans, reference, version, start=start, step_s=step_s) for start in range(int(begin), int(end), step_s)
    )
    return [
        Point(
            start=step.start,
            n=step.n,
            psi={name: value for name, value in zip(names, step.psi, strict=True) if value is not None},
        )
        for step in steps
        if step is not None
    ]
