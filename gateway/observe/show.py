"""`hotgate drift`: for a terminal, as JSON, and as one HTML file that needs nothing else."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Final

import msgspec
from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.observe.history import Column, History, Point
    from monitoring import FeatureDrift

__all__ = ["page", "seconds_of", "show"]

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_COLOURS: Final = {"none": "", "warning": "yellow", "critical": "bold red"}
_HEADS: Final = ("column", "n", "PSI", "KS", "p", "impact", "missing", "outside", "severity")
_LINES: Final = 5
"""Columns whose course is drawn: those with the largest PSI."""
_STYLE: Final = """
:root { color-scheme: light dark; --bar: #8a94a6; --now: #2563eb; --bad: #b91c1c; --line: #d4d8df; }
@media (prefers-color-scheme: dark) { :root { --bar: #7b8494; --now: #60a5fa; --bad: #f87171; --line: #3a404b; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.warning, .critical { color: var(--bad); font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
.before { fill: var(--bar); } .now { fill: var(--now); } text { fill: currentColor; font-size: 9px; }
polyline { fill: none; stroke-width: 1.5; } .key { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.wide { overflow-x: auto; } code { overflow-wrap: anywhere; }
"""
_STROKES: Final = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed")


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
    report = history.report
    console = Console()
    console.print(
        f"[bold]{plain(report.model)}[/bold] version {plain(report.version)} ({report.sha256[:12]}), {report.n:,} rows"
        f" since {_time(report.since)}: [{_COLOURS[report.severity] or 'green'}]"
        f"{'no drift' if report.severity == 'none' else report.severity}[/]",
        highlight=False,
    )
    table = Table(_HEADS[0])
    for name in _HEADS[1:]:
        table.add_column(name, justify="right")
    for column in _worst_first(report.columns):
        numbers = (_number(column.psi), _number(column.ks), _number(column.p_value))
        cells = (f"{column.n:,}", *numbers, _signed(column.impact))
        shares = ((column.missing, column.missing_drift), (column.outside, column.outside_drift))
        quality = (f"{_share(share)}{' !' if drift else ''}" for share, drift in shares)
        verdict = column.reason or column.severity
        table.add_row(plain(column.name), *cells, *quality, plain(verdict), style=_COLOURS[column.severity])
    console.print(table)


def _worst_first(columns: Iterable[FeatureDrift]) -> list[FeatureDrift]:
    return sorted(columns, key=lambda column: (column.drift, column.psi or 0.0), reverse=True)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _time(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at).astimezone().isoformat(" ", "minutes")


def page(history: History) -> str:
    """One HTML file: no script, no request to anywhere, for light and dark."""
    report = history.report
    columns = _worst_first(report.columns)
    histograms = {column.name: column for column in history.columns}
    title = f"Drift of {escape(report.model)} version {escape(report.version)}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p>{report.n:,} rows since {_time(report.since)} against the training data. Verdict:
<span class="{report.severity}">{"no drift" if report.severity == "none" else report.severity}</span>. Model file
<code>{report.sha256}</code>.</p>
<h2>Columns</h2>
<div class="wide"><table><thead><tr>{"".join(f"<th>{name}</th>" for name in _HEADS)}</tr></thead>
<tbody>{"".join(map(_row, columns))}</tbody></table></div>
<h2>PSI over time</h2>
{_course(history.course, [column.name for column in columns[:_LINES] if column.psi is not None])}
<h2>Histograms</h2>
<p class="key"><span>grey: training data</span><span>blue: now</span></p>
<div class="columns">{"".join(_histogram(histograms[column.name]) for column in columns)}</div>
</body></html>
"""


def _row(column: FeatureDrift) -> str:
    shown = (_number(column.psi), _number(column.ks), _number(column.p_value), _signed(column.impact))
    numbers = "".join(f"<td>{value}</td>" for value in shown)
    missing = _quality(column.missing, column.missing_drift, "another share than in the training data")
    outside = _quality(column.outside, column.outside_drift, "the training data has no such values")
    return (
        f'<tr class="{column.severity}"><td>{escape(column.name)}</td><td>{column.n:,}</td>{numbers}{missing}{outside}'
        f"<td>{escape(column.reason or column.severity)}</td></tr>"
    )


def _quality(share: float | None, drift: bool, title: str) -> str:  # noqa: FBT001 - private, named by its value
    return f'<td class="warning" title="{title}">{_share(share)}</td>' if drift else f"<td>{_share(share)}</td>"


def _histogram(column: Column) -> str:
    most = max((max(group.reference, group.current) for group in column.groups), default=0.0) or 1.0
    width = 300 / max(len(column.groups), 1)
    bars = []
    for index, group in enumerate(column.groups):
        at = index * width
        for share, offset, kind in ((group.reference, 0.08, "before"), (group.current, 0.5, "now")):
            height = 90 * share / most
            bars.append(
                f'<rect class="{kind}" x="{at + offset * width:.1f}" y="{100 - height:.1f}" width="{0.4 * width:.1f}"'
                f' height="{height:.1f}"><title>{escape(group.label)}: {share:.1%}</title></rect>'
            )
    ends = column.groups[0].label, column.groups[-1].label
    return (
        f"<figure><figcaption>{escape(column.name)}</figcaption>"
        f'<svg viewBox="0 0 300 114" role="img" aria-label="histogram of {escape(column.name)}">{"".join(bars)}'
        f'<text x="0" y="112">{escape(ends[0])}</text>'
        f'<text x="300" y="112" text-anchor="end">{escape(ends[1])}</text></svg></figure>'
    )


def _course(points: list[Point], names: list[str]) -> str:
    judged = [point for point in points if point.psi]
    if len(judged) < 2 or not names:
        return "<p>Too few steps with enough rows to draw.</p>"
    begin, end = judged[0].start, judged[-1].start
    top = max(0.25, *(value for point in judged for name, value in point.psi.items() if name in names))
    lines = []
    for name, stroke in zip(names, _STROKES, strict=False):
        at = [
            (f"{600 * (point.start - begin) / (end - begin):.1f},{140 - 130 * point.psi[name] / top:.1f}")
            for point in judged
            if name in point.psi
        ]
        lines.append(f'<polyline stroke="{stroke}" points="{" ".join(at)}"><title>{escape(name)}</title></polyline>')
    limits = "".join(
        f'<line x1="0" x2="600" y1="{140 - 130 * limit / top:.1f}" y2="{140 - 130 * limit / top:.1f}"'
        f' stroke="var(--line)"/><text x="0" y="{138 - 130 * limit / top:.1f}">{limit:g}</text>'
        for limit in (0.1, 0.2)
    )
    key = "".join(
        f'<span style="color:{stroke}">{escape(name)}</span>' for name, stroke in zip(names, _STROKES, strict=False)
    )
    return (
        f'<p class="key">{key}</p><svg viewBox="0 0 600 156" role="img" aria-label="PSI over time">{limits}'
        f'{"".join(lines)}<text x="0" y="154">{_time(begin)}</text>'
        f'<text x="600" y="154" text-anchor="end">{_time(end)}</text></svg>'
    )
