"""Alarms from labels: a model that is worse than it may be, and one whose errors have become more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gateway.alerts import Evidence
from gateway.observe.base import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.performance import Horizon, PerformanceReport
    from monitoring.performance.figure import Figure
    from monitoring.performance.measure import Measured
    from monitoring.verdict import Severity

__all__ = ["ALARM_HORIZON_S", "Limits", "PerformanceSource"]

ALARM_HORIZON_S: Final = 86_400
"""Performance is judged over the rows of the last day."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Beyond which a model is too bad."""

    accuracy_min: float | None = None
    roc_auc_min: float | None = None
    margin: float = 0.05
    """How far accuracy or ROC AUC may be below those of the version's first labels."""
    error_margin: float = 0.2
    """By which share mean absolute or root mean squared error may be above those of the first labels."""


class _Held(NamedTuple):
    """A figure and its limit."""

    name: str
    statistic: str
    figure: Figure
    limit: float
    severity: Severity
    largest: bool = False
    """Whether the limit is the largest good value: of errors."""

    def is_beyond(self, value: float) -> bool:
        return value > self.limit if self.largest else value < self.limit

    def is_surely_beyond(self) -> bool:
        """With its whole interval."""
        best = self.figure.low if self.largest else self.figure.high
        return best is not None and self.is_beyond(best)


class PerformanceSource:
    """What reports say of each version.

    A breach begins where a figure's whole interval is beyond its limit, and ends where the figure itself is back; in
    between nothing can be said, so that an alarm does not come and go with every label.

    Args:
        reports: gives the newest ones.
        limits: what is too bad.
    """

    name = "performance"

    def __init__(self, reports: Callable[[], list[PerformanceReport]], limits: Limits) -> None:
        self._reports = reports
        self._limits = limits

    def look(self, seen: Mapping[str, float], now: float) -> list[Condition]:
        """One condition of each kind for each version, as of now."""
        del seen  # both are made sure of at the source
        return [condition for report in self._reports() for condition in self._conditions(report, now)]

    def _conditions(self, report: PerformanceReport, now: float) -> Iterator[Condition]:
        who = {"model": report.model, "version": report.version, "sha256": report.sha256}
        since, evidence = _concept_drift(report, now)
        yield Condition(kind="concept_drift", **who, since=since, until=now, evidence=evidence, at_once=True)
        worse = self._performance(report)
        yield Condition(kind="performance", **who, since=now, until=now, evidence=worse, at_once=True)

    def _performance(self, report: PerformanceReport) -> tuple[Evidence, ...] | None:
        horizon = next(found for found in report.horizons if found.horizon_s == ALARM_HORIZON_S)
        evidence: list[Evidence] = []
        unsure = False
        for held in self._held(report, horizon):
            value = held.figure.value
            if value is None:
                unsure = True
            elif held.is_surely_beyond():
                rows, seconds = horizon.realised.n, horizon.horizon_s
                found = Evidence(name=held.name, statistic=held.statistic, value=value, threshold=held.limit, n=rows)
                evidence.append(msgspec.structs.replace(found, window_s=seconds, severity=held.severity))
            elif held.is_beyond(value):
                unsure = True
        return None if unsure and not evidence else tuple(evidence)

    def _held(self, report: PerformanceReport, horizon: Horizon) -> Iterator[_Held]:
        """Figures and their limits: one that was set is critical, one that was usual a warning.

        Only those that the version can have: of one that it never has nothing could be said, nor an alarm end.
        """
        realised = horizon.realised
        if report.judged == "number":
            yield from self._errors(report, realised)
            return
        held = [("accuracy", realised.accuracy, self._limits.accuracy_min)]
        if report.judged == "probabilities":
            held.append(("roc_auc", realised.roc_auc, self._limits.roc_auc_min))
        for name, figure, least in held:
            if least is not None:
                yield _Held(name, "min", figure, least, "critical")
            usual = _usual(report, name)
            if usual is not None:
                yield _Held(name, "first", figure, usual - self._limits.margin, "warning")

    def _errors(self, report: PerformanceReport, realised: Measured) -> Iterator[_Held]:
        for name in ("mean_absolute_error", "root_mean_squared_error"):
            usual = _usual(report, name)
            if usual is not None:
                limit = usual * (1 + self._limits.error_margin)
                yield _Held(name, "first", getattr(realised, name), limit, "warning", largest=True)


def _usual(report: PerformanceReport, name: str) -> float | None:
    value: float | None = getattr(report.first, name).value if report.first is not None else None
    return value


def _concept_drift(report: PerformanceReport, now: float) -> tuple[float, tuple[Evidence, ...] | None]:
    """When errors became more, and what tells it; nothing tells it if they are back."""
    if report.concept_drift is None:
        return now, None
    worse = [change for change in report.changes if change.worse]
    if not report.concept_drift or not worse:
        return now, ()
    last = worse[-1]
    rate = last.after if report.error_rate is None else report.error_rate
    found = Evidence(name="error_rate", statistic=last.detector, value=rate, threshold=last.level, n=last.labels)
    return last.at, (found,)
