"""Numbers, times and findings in words, the same in a terminal and on a page."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.alerts import Alert
    from gateway.observe.past import VersionRecord
    from gateway.performance import Change, Horizon, PerformanceReport
    from monitoring import FeatureDrift
    from monitoring.performance.estimate import Estimated
    from monitoring.performance.figure import Figure
    from monitoring.performance.measure import Measured

__all__ = [
    "ESTIMATES",
    "FIGURES",
    "NOTHING",
    "NO_LABELS",
    "clock",
    "concept",
    "figures_of",
    "kind_of",
    "last",
    "number",
    "rows_of",
    "served",
    "severity",
    "share",
    "signed",
    "time_of",
    "told",
    "worst_first",
    "zone",
]

FIGURES: Final = {
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
"""Of labelled rows, by field, where answers are probabilities; of other classes there is only the first."""
ERRORS: Final = {
    "mean_absolute_error": "mean absolute error",
    "root_mean_squared_error": "root mean squared error",
    "bias": "bias",
}
"""Likewise, where they are numbers."""
ESTIMATES: Final = ("accuracy", "roc_auc", "log_loss")
NO_LABELS: Final = "no labels yet: POST /feedback"
NOTHING: Final = f"{NO_LABELS}; nor is there an estimate, which needs predictions in the log ([monitor] log_sample)"
"""Where the observer knows nothing of a version."""


def figures_of(report: PerformanceReport) -> dict[str, str]:
    """Those that a version can have, by field."""
    if report.judged == "probabilities":
        return FIGURES
    return ERRORS if report.judged == "number" else {"accuracy": FIGURES["accuracy"]}


def worst_first(columns: Iterable[FeatureDrift]) -> list[FeatureDrift]:
    """Those that drift, then by PSI."""
    return sorted(columns, key=lambda column: (column.drift, column.psi or 0.0), reverse=True)


def signed(value: float | None) -> str:
    """To three decimals, with its sign."""
    return "-" if value is None else f"{value:+.3f}"


def number(value: float | None) -> str:
    """To three decimals, or the power of ten of what is smaller."""
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 or value == 0 else f"{value:.0e}"


def share(value: float | None) -> str:
    """In per cent."""
    return "-" if value is None else f"{value:.1%}"


def time_of(at: float | None) -> str:
    """Local time, with its distance from UTC."""
    return "-" if at is None else datetime.fromtimestamp(at).astimezone().isoformat(" ", "minutes")


def clock(at: float | None) -> str:
    """Local time, where its distance from UTC stands beside it."""
    return "-" if at is None else datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def zone() -> str:
    """The distance of local time from UTC, such as +01:00."""
    return datetime.now().astimezone().isoformat()[-6:]


def severity(found: str) -> str:
    """The verdict on a model."""
    return "no drift" if found == "none" else found


def told(figure: Figure) -> tuple[str, str]:
    """A figure, and its interval, or the reason why there is none."""
    if figure.value is None:
        return "-", figure.reason or ""
    interval = "" if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"
    return f"{figure.value:.3f}", interval


def last(horizon: Horizon) -> str:
    """Name a horizon, such as "last day"."""
    names = {3600: "last hour", 86_400: "last day", 7 * 86_400: "last week"}
    return names.get(horizon.horizon_s, f"last {horizon.horizon_s:,} s")


def rows_of(found: Measured | Estimated, kind: str) -> str:
    """How many rows of a kind stand behind figures."""
    return f"{found.n:,} {kind if found.n != 1 else kind.removesuffix('s')}"


def concept(report: PerformanceReport) -> str:
    """Whether the same rows get other labels than before."""
    newest = "" if report.error_rate is None else f"; {share(report.error_rate)} of the newest labels are errors"
    if report.judged == "number":
        return "not looked for: numbers are never quite right"
    if report.concept_drift is None:
        return f"cannot say: too few labels, or the observer runs without river{newest}"
    if not report.concept_drift:
        return f"no{newest}"
    worse = [change for change in report.changes if change.worse]
    return f"yes{_since(worse[-1]) if worse else ''}{newest}"


def _since(change: Change) -> str:
    return f", since {time_of(change.at)} by {change.detector.replace('_', '-')}: {share(change.before)} errors before"


def kind_of(alert: Alert) -> str:
    """What it is about, in words."""
    return alert.kind.replace("_", " ") + (f" ({alert.about})" if alert.about else "")


def served(record: VersionRecord) -> list[tuple[str, str]]:
    """When it served, the newest first, and why; without a history of the store, only since when."""
    if not record.periods:
        return [(f"since {clock(record.since)}", "")]
    return [
        (f"{clock(found.start)} to {clock(found.end) if found.end else 'now'}", f"{found.reason}, by {found.who}")
        for found in reversed(record.periods)
    ]
