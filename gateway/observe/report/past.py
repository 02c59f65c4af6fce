"""Alerts and versions of a model, as tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from gateway.observe.report.tables import figure_cell, table
from gateway.observe.texts import clock, kind_of, number, served, severity

if TYPE_CHECKING:
    from gateway.alerts import Alert
    from gateway.observe.past import VersionRecord

__all__ = ["alerts", "versions"]

_ALERT: Final = ("What", "Evidence and what to do", "Version", "State", "From", "To")
_VERSION: Final = ("Version", "Served", "Rows", "Drift", "Largest PSI", "Labels", "Accuracy", "ROC AUC")


def alerts(found: list[Alert]) -> str:
    """One row a breach."""
    if not found:
        return "<p>None in this time.</p>"
    return table(_ALERT, map(_alert, found), words=frozenset(_ALERT))


def _alert(alert: Alert) -> str:
    state = f"{alert.state}{', silenced' if alert.silenced else ''}"
    loud = alert.severity if alert.state == "firing" else ""
    cells = (alert.version or "-", state, clock(alert.started_at), clock(alert.ended_at))
    evidence = ". ".join(part for part in (", ".join(map(str, alert.evidence)), alert.text) if part)
    return (
        f'<tr><td class="{escape(loud)}">{escape(alert.severity)} {escape(kind_of(alert))}</td>'
        f'<td class="words long">{escape(evidence) or "-"}</td>'
        f"{''.join(f'<td class=words>{escape(cell)}</td>' for cell in cells)}</tr>"
    )


def versions(found: list[VersionRecord], shown: tuple[str, str]) -> str:
    """One row a version; the one that the report is about is marked.

    Args:
        found: all of them.
        shown: version and SHA-256 of that one.
    """
    rows = (_version(record, here=(record.version, record.sha256) == shown) for record in found)
    return table(_VERSION, rows, words=frozenset({"Served"}))


def _version(record: VersionRecord, *, here: bool) -> str:
    name = f"<b>{escape(record.version)}</b> (this report)" if here else escape(record.version)
    when = "".join(f"{escape(time)}<small>{escape(why)}</small>" for time, why in served(record))
    worst = "-" if record.worst is None else f"{number(record.psi)}<small>{escape(record.worst)}</small>"
    return (
        f"<tr><td>{name}<small><code>{record.sha256[:12]}</code></small></td>"
        f'<td class="words">{when}</td><td>{record.n:,}</td>'
        f'<td class="{record.severity}">{severity(record.severity) if record.n else "-"}</td><td>{worst}</td>'
        f"<td>{record.labels:,}</td>{figure_cell(record.accuracy)}{figure_cell(record.roc_auc)}</tr>"
    )
