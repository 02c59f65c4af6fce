"""What `hotgate drift` shows of one version: the verdict, the histograms behind it, and PSI over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gateway.counts import EPOCH_S
from gateway.verdicts import DriftReport, Judged, Window, add_up, find_past, judge_window, report_of
from monitoring import judge
from monitoring.groups import group_names, group_starts
from monitoring.verdict import split_columns

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.counts import ModelCounts
    from monitoring import Counts, FeatureReference, Reference

__all__ = ["Column", "Group", "History", "Point", "history_of"]

POINTS = 48
"""Steps of the course over time, at most."""
_FINE_S, _COARSE_S = 300, 3600
"""A step is a whole number of the first, or of the second for a horizon of over 6 hours: counts are not kept finer."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of a histogram: a range of the column, and the share of the values in it, before and now."""

    label: str
    reference: float
    current: float


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
            _column(column, cells[:-1]) for column, cells in zip(columns, split_columns(columns, total), strict=True)
        ],
        course=_course(counts, reference, horizon_s, now),
    )


def _column(column: FeatureReference, live: Counts) -> Column:
    before = np.asarray(column.counts, dtype=np.int64)
    starts = group_starts(column)
    few_before, few_live = np.add.reduceat(before, starts), np.add.reduceat(live, starts)
    groups = [
        Group(label=label, reference=float(then), current=float(now))
        for label, then, now in zip(
            group_names(column),
            few_before / max(few_before.sum(), 1),
            few_live / max(few_live.sum(), 1),
            strict=True,
        )
    ]
    return Column(name=column.name, groups=groups)


def _course(counts: ModelCounts, reference: Reference, horizon_s: float, now: float) -> list[Point]:
    unit = _FINE_S if horizon_s <= 6 * _COARSE_S else _COARSE_S
    step = -(-int(horizon_s) // (POINTS * unit)) * unit
    end = now // step * step
    points = []
    for start in np.arange(end - horizon_s // step * step, end, step).tolist():
        judged = judge_window(counts, reference, Window(float(step)), now=start + step - EPOCH_S)
        psi = {column.name: column.psi for column in judged.drift.columns if column.psi is not None}
        if judged.drift.n:
            points.append(Point(start=start, n=judged.drift.n, psi=psi))
    return points
