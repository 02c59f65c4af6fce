"""`hotgate drift`: for a terminal, and as JSON; as one HTML file in `gateway.observe.report`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

import msgspec
from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from gateway.observe.texts import (
    ESTIMATES,
    FIGURES,
    NO_LABELS,
    NOTHING,
    clock,
    concept,
    figures_of,
    kind_of,
    last,
    number,
    served,
    severity,
    share,
    signed,
    time_of,
    told,
    worst_first,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.alerts import Alert
    from gateway.observe.history import History
    from gateway.observe.past import VersionRecord
    from gateway.performance import PerformanceReport
    from gateway.verdicts import DriftReport
    from monitoring.performance.figure import Figure

__all__ = ["seconds_of", "show"]

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_COLOURS: Final = {"none": "", "warning": "yellow", "critical": "bold red"}


def seconds_of(text: str) -> float:
    """A duration such as `90s`, `15m`, `6h`, `7d`.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None:
        raise ValueError(f"a duration is a number and one of s, m, h, d, such as 6h, not {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def show(history: History, *, as_json: bool) -> None:
    """Print it on standard output."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(history).decode() + "\n")
        return
    report, console = history.report, Console()
    console.print(
        f"[bold]{plain(report.model)}[/bold] version {plain(report.version)} ({report.sha256[:12]}), {report.n:,} rows"
        f" since {time_of(report.since)}: [{_COLOURS[report.severity] or 'green'}]{severity(report.severity)}[/]",
        highlight=False,
    )
    console.print(_drift(report))
    if history.performance is None:
        console.print(f"performance: {NOTHING}", highlight=False, markup=False)
    else:
        _show_performance(console, history.performance)
    if history.alerts:
        console.print(_alerts(history.alerts))
    if len(history.versions) > 1:
        console.print(_versions(history.versions))


def _table(title: str, first: str, *others: str) -> Table:
    """With words on the left and numbers on the right."""
    table = Table(first, title=title, title_justify="left", title_style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _drift(report: DriftReport) -> Table:
    table = _table("", "column", "n", "PSI", "KS", "p", "impact", "missing", "outside", "severity")
    for column in worst_first(report.columns):
        numbers = (number(column.psi), number(column.ks), number(column.p_value))
        cells = (f"{column.n:,}", *numbers, signed(column.impact))
        shares = ((column.missing, column.missing_drift), (column.outside, column.outside_drift))
        quality = (f"{share(value)}{' !' if drift else ''}" for value, drift in shares)
        verdict = column.reason or column.severity
        table.add_row(plain(column.name), *cells, *quality, plain(verdict), style=_COLOURS[column.severity])
    return table


def _show_performance(console: Console, report: PerformanceReport) -> None:
    if not any(horizon.realised.n for horizon in report.horizons):
        until = "; until then, what scores let expect" if report.judged == "probabilities" else ""
        console.print(f"performance: {NO_LABELS}{until}", highlight=False)
    console.print(_performance(report))
    console.print(f"concept drift: {concept(report)}", highlight=False, markup=False)


def _performance(report: PerformanceReport) -> Table:
    """Realised figures that there are, below them the estimates."""
    table = _table("Performance", "figure", *map(last, report.horizons), "first labels")
    realised = [*(horizon.realised for horizon in report.horizons), report.first]
    if realised[-2] is not None and realised[-2].n:
        table.add_row("labels", *("-" if found is None else f"{found.n:,}" for found in realised))
        for field, name in figures_of(report).items():
            table.add_row(name, *(_cell(None if found is None else getattr(found, field)) for found in realised))
    estimated = [horizon.estimated for horizon in report.horizons]
    table.add_row("scored", *(f"{found.n:,}" for found in estimated))
    for field in ESTIMATES if report.judged == "probabilities" else ():
        table.add_row(f"{FIGURES[field]}, estimated", *(_cell(getattr(found, field)) for found in estimated))
    return table


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    value, beside = told(figure)
    return f"{value} ({beside})" if figure.value is not None and beside else plain(beside or value)


def _alerts(alerts: Iterable[Alert]) -> Table:
    table = _table("Alerts", "what", "version", "state", "from", "to", "evidence")
    for alert in alerts:
        what = f"{alert.severity} {kind_of(alert)}"
        cells = (what, alert.version or "-", f"{alert.state}{', silenced' if alert.silenced else ''}")
        times = (clock(alert.started_at), clock(alert.ended_at))
        evidence = ", ".join(map(str, alert.evidence)) or alert.text or "-"
        table.add_row(*map(plain, (*cells, *times, evidence)), style=_COLOURS.get(alert.severity, ""))
    return table


def _versions(versions: Iterable[VersionRecord]) -> Table:
    table = _table("Versions", "version", "served", "rows", "drift", "largest PSI", "labels", "accuracy", "ROC AUC")
    for record in versions:
        periods = "\n".join(when for when, _ in served(record))
        worst = "-" if record.worst is None else f"{number(record.psi)} {record.worst}"
        drift = (f"{record.n:,}", severity(record.severity) if record.n else "-", worst)
        figures = (f"{record.labels:,}", told(record.accuracy)[0], told(record.roc_auc)[0])
        table.add_row(*map(plain, (record.version, periods, *drift, *figures)))
    return table
