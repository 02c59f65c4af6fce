"""A version's report as one HTML file: no script, no request to anywhere, for light and dark, phones and paper."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from gateway.observe.past import asked
from gateway.observe.report.charts import LINES, course, histogram
from gateway.observe.report.past import alerts, versions
from gateway.observe.report.performance import performance
from gateway.observe.report.style import STYLE
from gateway.observe.report.tables import table
from gateway.observe.texts import figures_of, last, number, severity, share, signed, time_of, told, worst_first, zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.observe.history import History
    from gateway.performance import PerformanceReport
    from monitoring import FeatureDrift

__all__ = ["page"]

_HEADS: Final = ("Column", "n", "PSI", "KS", "p", "Impact", "Missing", "Outside", "Severity")
_KEY: Final = '<p class="key"><span><i class="s-before"></i>training data</span><span><i class="s0"></i>now</span></p>'


def page(history: History) -> str:
    """All that is known of a version; names and texts are shown as they are, whatever they hold."""
    report = history.report
    title = f"{escape(report.model)} version {escape(report.version)}"
    sections = _sections(history)
    links = "".join(f'<a href="#{key}">{name}</a>' for key, (name, _) in sections.items())
    body = "".join(f'<section id="{key}"><h2>{name}</h2>{text}</section>' for key, (name, text) in sections.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Report on {title}</title><style>{STYLE}</style></head><body>
<h1>{title}</h1>
<p>{report.n:,} rows since {time_of(report.since)} against the training data. Model file
<code>{report.sha256}</code>. Times are local: UTC{zone()}.</p>
<div class="cards">{"".join(_card(*card) for card in _cards(history))}</div>
<nav>{links}</nav>
{body}
</body></html>
"""


def _cards(history: History) -> Iterator[tuple[str, str, str, str]]:
    """What to know first: a name, a value, its colour, a word beside it."""
    report, known = history.report, history.performance
    drifted = sum(column.drift for column in report.columns)
    yield (
        "Data", severity(report.severity), "good" if report.severity == "none" else report.severity,
        f"{drifted} of {len(report.columns)} columns drift",
    )  # fmt: skip
    if known is not None:
        yield _first_figure(known, history.horizon_s)
        concept = {True: ("yes", "critical"), False: ("no", "good"), None: ("cannot say", "")}[known.concept_drift]
        rate = "" if known.error_rate is None else f"{share(known.error_rate)} errors now"
        yield "Concept drift", *concept, rate
    firing = sum(alert.state == "firing" for alert in history.alerts)
    yield "Alerts", f"{firing} firing", "critical" if firing else "good", f"{len(history.alerts)} in this time"


def _first_figure(known: PerformanceReport, horizon_s: float) -> tuple[str, str, str, str]:
    """Accuracy, by labels or else estimated; of numbers the mean absolute error."""
    horizon = asked(known, horizon_s)
    field, name = next(iter(figures_of(known).items()))
    head = f"{name.capitalize()}, {last(horizon)}"
    realised = getattr(horizon.realised, field)
    if realised.value is None and known.judged == "probabilities":
        value, interval = told(horizon.estimated.accuracy)
        return head, value, "", f"{interval}, estimated"
    value, beside = told(realised)
    return head, value, "", f"{beside}, {horizon.realised.n:,} labels" if realised.value is not None else beside


def _card(name: str, value: str, colour: str, beside: str) -> str:
    return f'<div><small>{name}</small><b class="{colour}">{value}</b><small>{escape(beside)}</small></div>'


def _sections(history: History) -> dict[str, tuple[str, str]]:
    """Name and content by place on the page."""
    report = history.report
    columns = worst_first(report.columns)
    histograms = {column.name: column for column in history.columns}
    drawn = [column.name for column in columns[:LINES] if column.psi is not None]
    bars = "".join(histogram(histograms[column.name]) for column in columns)
    shown = report.version, report.sha256
    return {
        "alerts": ("Alerts", alerts(history.alerts)),
        "drift": ("Columns", table(_HEADS, map(_row, columns))),
        "course": ("PSI over time", course(history.course, drawn)),
        "performance": ("Performance", performance(history)),
        "versions": ("Versions", versions(history.versions, shown)),
        "histograms": ("Histograms", f'{_KEY}<div class="columns">{bars}</div>'),
    }


def _row(column: FeatureDrift) -> str:
    shown = (number(column.psi), number(column.ks), number(column.p_value), signed(column.impact))
    numbers = "".join(f"<td>{value}</td>" for value in shown)
    missing = _quality(column.missing, column.missing_drift, "another share than in the training data")
    outside = _quality(column.outside, column.outside_drift, "the training data has no such values")
    return (
        f'<tr><td class="{column.severity}">{escape(column.name)}</td><td>{column.n:,}</td>{numbers}{missing}{outside}'
        f'<td class="{column.severity}">{escape(column.reason or column.severity)}</td></tr>'
    )


def _quality(part: float | None, drift: bool, title: str) -> str:  # noqa: FBT001 - private, named by its value
    return f'<td class="warning" title="{title}">{share(part)}</td>' if drift else f"<td>{share(part)}</td>"
