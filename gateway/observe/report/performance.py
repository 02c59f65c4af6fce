"""How good a version is: figures by its labels, estimates, calibration, confusion and concept drift."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from gateway.observe.past import asked
from gateway.observe.report.charts import reliability_curve
from gateway.observe.report.tables import figure_cell, table
from gateway.observe.texts import (
    ESTIMATES,
    FIGURES,
    NO_LABELS,
    NOTHING,
    clock,
    concept,
    figures_of,
    last,
    number,
    rows_of,
    share,
    time_of,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.observe.history import History
    from gateway.performance import Change, Horizon, PerformanceReport
    from monitoring.performance.measure import Measured

__all__ = ["performance"]

_CLASSES: Final = 20
"""Most classes whose confusion is drawn."""


def performance(history: History) -> str:
    """The section's content."""
    report = history.performance
    if report is None:
        return f"<p>{escape(_capital(NOTHING))}.</p>{_feedback(history.feedback)}"
    labelled = any(horizon.realised.n for horizon in report.horizons)
    head = _head(report, f"as of {time_of(history.performance_at)}", labelled=labelled)
    horizon = asked(report, history.horizon_s)
    return (
        f"<p>{head}</p>{_figures(report, labelled=labelled)}"
        f"{_by_labels(report, horizon) if labelled else ''}"
        f"<h3>Concept drift</h3><p>{escape(_capital(concept(report)))}.</p>"
        f"{_changes(report.changes)}{_feedback(history.feedback)}"
    )


def _head(report: PerformanceReport, at: str, *, labelled: bool) -> str:
    estimated = report.judged == "probabilities"
    if not labelled:
        until = f"Until then, what scores let expect, {at}, with 95 % intervals" if estimated else _capital(at)
        return f"{_capital(NO_LABELS)}. {until}."
    estimates = (
        "; estimates are of all rows, from their scores alone, and hold if nothing but the data has changed"
        if estimated
        else ""
    )
    return f"{_capital(at)}, with 95 % intervals. Figures are of rows whose label has come{estimates}."


def _feedback(counts: dict[str, int]) -> str:
    words = ", ".join(f"{n:,} {escape(state.replace('_', ' '))}" for state, n in counts.items() if n)
    return f'<p class="muted">Labels of all models, by what became of them: {words}.</p>' if words else ""


def _figures(report: PerformanceReport, *, labelled: bool) -> str:
    columns = [last(horizon).capitalize() for horizon in report.horizons]
    estimated = [horizon.estimated for horizon in report.horizons]
    rows = []
    if labelled:
        realised = [*(horizon.realised for horizon in report.horizons), report.first]
        columns.append("First labels")
        rows.append(_row("Labelled rows", (_count(found) for found in realised)))
        for field, name in figures_of(report).items():
            rows.append(_row(_capital(name), (_cell(found, field) for found in realised)))
        if report.judged == "probabilities":
            rows.append(_row("Calibration error by chance", map(_by_chance, realised)))
    blank = "<td></td>" if labelled else ""
    rows.append(_row("Scored rows", (f"<td>{found.n:,}</td>" for found in estimated), blank))
    for field in ESTIMATES if report.judged == "probabilities" else ():
        cells = (figure_cell(getattr(found, field)) for found in estimated)
        rows.append(_row(f"{_capital(FIGURES[field])}, estimated", cells, blank))
    return table(("Figure", *columns), rows)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _row(name: str, cells: Iterable[str], blank: str = "") -> str:
    return f"<tr><td>{name}</td>{''.join(cells)}{blank}</tr>"


def _count(found: Measured | None) -> str:
    return "<td>-</td>" if found is None else f"<td>{found.n:,}</td>"


def _by_chance(found: Measured | None) -> str:
    return f"<td>{number(None if found is None else found.calibration_by_chance)}</td>"


def _cell(found: Measured | None, field: str) -> str:
    return "<td>-</td>" if found is None else figure_cell(getattr(found, field))


def _by_labels(report: PerformanceReport, horizon: Horizon) -> str:
    """Calibration and confusion, over one horizon; numbers have neither."""
    if report.judged == "number":
        return ""
    found = horizon.realised
    words = f"{last(horizon)}, {rows_of(found, 'labels')}"
    return (
        f'<div class="pair"><div><h3>Calibration ({words})</h3>{_calibration(report, found)}</div>'
        f"<div><h3>Confusion ({words})</h3>{_confusion(report.labels, found.confusion)}</div></div>"
    )


def _calibration(report: PerformanceReport, found: Measured) -> str:
    error = found.calibration_error
    if error.value is None or not found.reliability:
        return f"<p>No curve: {escape(error.reason or 'no labels')}.</p>"
    event = (
        f"the score is the probability of <b>{escape(report.labels[1])}</b>, and it came"
        if len(report.labels) == 2
        else "the score is the largest probability, and the prediction was right"
    )
    value, interval = told(error)
    return (
        f"<p>Expected calibration error <b>{value}</b> ({interval}; chance alone gives"
        f" {found.calibration_by_chance or 0:.3f}). Each point is a tenth of the rows: {event}. On the dashed line"
        f" scores mean what they say.</p>{reliability_curve(found.reliability)}"
    )


def _confusion(labels: list[str], rows: list[list[int]]) -> str:
    if len(labels) > _CLASSES:
        return f"<p>{len(labels)} classes are too many to draw; <code>--json</code> has all of it.</p>"
    body = (_row(escape(label), _shares(row)) for label, row in zip(labels, rows, strict=True))
    words = "Rows by what came true (down) and what was predicted (across)."
    return f"<p>{words}</p>{table(('true', *labels), body)}"


def _shares(row: list[int]) -> Iterator[str]:
    total = sum(row)
    for n in row:
        part = n / total if total else 0.0
        yield f'<td class="cell" style="--share:{60 * part:.0f}%">{n:,}<small>{share(part)}</small></td>'


def _changes(changes: list[Change]) -> str:
    if not changes:
        return ""
    names = ("Change", "by", "after labels", "errors before", "errors after")
    rows = (
        f'<tr class="{"warning" if change.worse else ""}"><td>{clock(change.at)}</td>'
        f"<td>{change.detector.replace('_', '-')}</td><td>{change.labels:,}</td><td>{share(change.before)}</td>"
        f"<td>{share(change.after)}</td></tr>"
        for change in reversed(changes)
    )
    return table(names, rows)
