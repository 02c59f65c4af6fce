"""What became of a model: its alerts, and which of its versions served when, on how many rows, and how well."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from gateway.alerts import Alert
from gateway.counts import find_versions
from gateway.verdicts import Window, judge_window
from monitoring.performance.figure import MIN_ROWS, Figure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.counts import Served
    from gateway.performance import Horizon, PerformanceReport
    from gateway.store import Change
    from monitoring import ModelDrift
    from monitoring.performance.measure import Measured

__all__ = ["Period", "VersionRecord", "alerts_of", "asked", "versions_of"]

VERSIONS: Final = 20
"""Most versions that are told of, those that began to serve last."""
ALERTS: Final = 50
"""Most alerts."""
_UNKNOWN: Final = Figure(reason="no labels")

_Key: TypeAlias = tuple[str, str]
"""Version and SHA-256: a version such as `file` may come with another file."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """From when to when a version served as champion, by the history of the store."""

    start: float
    """Unix time."""
    end: float | None
    """None: it still serves."""
    reason: str
    who: str


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One version that serves or served here; drift and rows are of the horizon asked for."""

    version: str
    sha256: str
    since: float
    """When it began to serve last, in Unix time."""
    periods: list[Period]
    """The oldest first; none where the store has no history, as with `serve --model`."""
    n: int
    """Rows that its model file scored; versions of one file share them."""
    severity: str
    worst: str | None
    """The column with the largest PSI; None if nothing could be judged."""
    psi: float | None
    labels: int
    """Labelled rows behind the figures, of the horizon that `asked` chooses."""
    accuracy: Figure
    roc_auc: Figure


def versions_of(
    root: Path, model: str, changes: Iterable[Change], reports: Iterable[PerformanceReport], window: Window, now: float
) -> list[VersionRecord]:
    """The versions of a model, the one that began to serve last first; takes milliseconds for each.

    Args:
        root: the folder that holds counts, one for each model file.
        model: its name.
        changes: of the store, oldest first.
        reports: on any versions.
        window: over which drift and rows are told.
        now: start of the current epoch, wall clock in seconds.

    Raises:
        UnreadableCountsError: as `ModelCounts.spans`.
    """
    known = {(report.version, report.sha256): report for report in reports if report.model == model}
    periods = _periods(model, changes)
    found = []
    for served, counts in find_versions(root, model)[:VERSIONS]:
        key = served.version, counts.folder.name
        report = known.get(key)
        realised = None if report is None else asked(report, window.horizon_s).realised
        drift = judge_window(counts, counts.reference(), window, now=now).drift
        found.append(_record(served, key, periods.get(key, []), drift, realised))
    return found


def _record(
    served: Served, key: _Key, periods: list[Period], drift: ModelDrift, realised: Measured | None
) -> VersionRecord:
    judged = [(column.psi, column.name) for column in drift.columns if column.psi is not None]
    psi, worst = max(judged, default=(None, None))
    return VersionRecord(
        version=key[0],
        sha256=key[1],
        since=served.since,
        periods=periods,
        n=drift.n,
        severity=drift.severity,
        worst=worst,
        psi=psi,
        labels=0 if realised is None else realised.n,
        accuracy=_UNKNOWN if realised is None else realised.accuracy,
        roc_auc=_UNKNOWN if realised is None else realised.roc_auc,
    )


def asked(report: PerformanceReport, horizon_s: float) -> Horizon:
    """The shortest horizon that is as long as the one asked for, up to a week, and has labels enough for a figure.

    If none has, the shortest that is as long.
    """
    longer = [found for found in report.horizons if found.horizon_s >= horizon_s]
    return next((found for found in longer if found.realised.n >= MIN_ROWS), longer[0])


def _periods(model: str, changes: Iterable[Change]) -> dict[_Key, list[Period]]:
    found: dict[_Key, list[Period]] = {}
    serving: list[Period] | None = None
    for change in changes:
        if change.model != model or change.role != "champion":
            continue
        at = change.time.timestamp()
        if serving is not None:
            serving[-1] = msgspec.structs.replace(serving[-1], end=at)
        after = change.after
        serving = None if after is None else found.setdefault((after.version, after.sha256), [])
        if serving is not None:
            serving.append(Period(start=at, end=None, reason=change.reason, who=change.who))
    return found


def alerts_of(folder: Path, model: str, since: float) -> list[Alert]:
    """Each breach of a model, or of the server, that had not ended by `since`, as it was told last.

    Those that fire come first, then the newest.

    Args:
        folder: `monitor/`.
        model: its name.
        since: Unix time.
    """
    last: dict[str, Alert] = {}
    for name in ("alerts.jsonl.1", "alerts.jsonl"):
        for alert in _read(folder / name):
            last[alert.id] = alert
    found = [
        alert
        for alert in last.values()
        if alert.model in {model, ""} and (alert.ended_at is None or alert.ended_at >= since)
    ]
    return sorted(found, key=lambda alert: (alert.state == "firing", alert.started_at), reverse=True)[:ALERTS]


def _read(path: Path) -> list[Alert]:
    """Lines that a power loss tore are left out."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(line, type=Alert))
    return found
