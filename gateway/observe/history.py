"""What `hotgate drift` shows of one version: drift and the histograms behind it, performance, alerts, all versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.alerts import Alert
from gateway.course import step_of, step_seconds
from gateway.histogram import Group, groups_of
from gateway.observe.past import VersionRecord, alerts_of, versions_of
from gateway.performance import FILE, PerformanceReport, read_performances
from gateway.store import ModelStore
from gateway.verdicts import DriftReport, Judged, Window, add_up, find_past, report_of
from monitoring import judge
from monitoring.verdict import split_columns

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.counts import ModelCounts
    from gateway.performance import Performances
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
    """All that is known of a version: its drift over a horizon, and what else happened in it."""

    report: DriftReport
    horizon_s: float
    columns: list[Column]
    """Each feature, then the score and the label."""
    course: list[Point]
    performance: PerformanceReport | None
    """Over the observer's own horizons; None if neither labels nor logged predictions have come."""
    performance_at: float
    """When the observer worked it out, in Unix time; 0: not yet."""
    feedback: dict[str, int]
    """Labels of all models by what became of them."""
    alerts: list[Alert]
    """Of all versions and of the server: those that fire, then the newest."""
    versions: list[VersionRecord]
    """The one that began to serve last first."""


def history_of(home: Path, model: str, version: str | None, horizon_s: float, now: float) -> History:
    """Put together what is known of one version over a horizon that ends now.

    Args:
        home: the folder that holds `monitor/` and `store/`.
        model: its name.
        version: of the registry; None is the one that began to serve last.
        horizon_s: how far back.
        now: wall clock, in seconds.

    Raises:
        NotFound: it never served here.
        UnreadableCountsError: as `ModelCounts.spans`.
        StoreError: as `ModelStore.read`.
        ValueError: the observer's report on performance is damaged.
    """
    monitor, window = home / "monitor", Window(horizon_s)
    root = monitor / "counts"
    served, counts = find_past(root, model, version)
    reference = counts.reference()
    since, total = add_up(counts, reference, window, now=now)
    performances = _performances(monitor)
    who = model, served.version, counts.folder.name
    ours = (found for found in performances.models if (found.model, found.version, found.sha256) == who)
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
        performance=next(ours, None),
        performance_at=performances.time,
        feedback=performances.feedback,
        alerts=alerts_of(monitor, model, now - horizon_s),
        versions=versions_of(root, model, ModelStore(home / "store").history(), performances.models, window, now),
    )


def _performances(monitor: Path) -> Performances:
    try:
        return read_performances(monitor)
    except msgspec.MsgspecError as error:
        raise ValueError(
            f"{monitor / FILE} is damaged ({error}): the observer of `hotgate serve` writes it anew within a minute"
        ) from error


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
