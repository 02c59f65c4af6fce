"""Pictures as SVG; their words are HTML beside them, which keeps its size on a phone."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from gateway.observe.texts import clock, share
from monitoring.performance.proportion import wilson
from monitoring.verdict import CRITICAL_PSI, MIN_EFFECT

if TYPE_CHECKING:
    from gateway.observe.history import Column, Point
    from monitoring.performance.calibration import ReliabilityBin

__all__ = ["LINES", "course", "histogram", "reliability_curve"]

LINES: Final = 5
"""Most lines of a course: so many colours are told apart."""
_LIMITS: Final = (MIN_EFFECT, CRITICAL_PSI)
"""PSI less chance from which drift is a warning, and critical."""


def histogram(column: Column) -> str:
    """A column's shares by group, in the training data and now."""
    most = max((max(group.reference, group.current) for group in column.groups), default=0.0) or 1.0
    width = 300 / max(len(column.groups), 1)
    bars = []
    for index, group in enumerate(column.groups):
        at = index * width
        for part, offset, kind in ((group.reference, 0.08, "before"), (group.current, 0.5, "now")):
            height = 100 * part / most
            bars.append(
                f'<rect class="{kind}" x="{at + offset * width:.1f}" y="{100 - height:.1f}" width="{0.4 * width:.1f}"'
                f' height="{height:.1f}"><title>{escape(group.label)}: {part:.1%}</title></rect>'
            )
    name = escape(column.name)
    return (
        f'<figure><figcaption>{name}</figcaption><svg class="histogram" viewBox="0 0 300 100" role="img"'
        f' preserveAspectRatio="none" aria-label="histogram of {name}">{"".join(bars)}</svg>'
        f"{_ends(column.groups[0].label, column.groups[-1].label)}</figure>"
    )


def _ends(first: str, last: str) -> str:
    return f'<div class="ends"><span>{escape(first)}</span><span>{escape(last)}</span></div>'


def course(points: list[Point], names: list[str]) -> str:
    """PSI of some columns over time."""
    judged = [point for point in points if point.psi]
    if len(judged) < 2 or not names:
        return "<p>Too few steps with enough rows to draw.</p>"
    begin, end = judged[0].start, judged[-1].start
    top = max(0.25, *(value for point in judged for name, value in point.psi.items() if name in names))
    lines, key = [], []
    for place, name in enumerate(names):
        at = [
            f"{600 * (point.start - begin) / (end - begin):.1f},{100 - 100 * point.psi[name] / top:.2f}"
            for point in judged
            if name in point.psi
        ]
        title = f"<title>{escape(name)}</title>"
        lines.append(f'<polyline class="s{place}" points="{" ".join(at)}">{title}</polyline>')
        key.append(f'<span><i class="s{place}"></i>{escape(name)}</span>')
    rules = "".join(
        f'<line class="limit" x1="0" x2="600" y1="{100 - 100 * limit / top:.2f}" y2="{100 - 100 * limit / top:.2f}"/>'
        for limit in _LIMITS
    )
    # One word for both lines where they are too near for two.
    marked = (*(_LIMITS if top < 1 else _LIMITS[1:]), top)
    words = "".join(f'<small style="bottom:{100 * value / top:.1f}%">{value:.2g}</small>' for value in marked)
    return (
        f'<p class="key">{"".join(key)}</p><div class="plot"><svg class="course" viewBox="0 0 600 100" role="img"'
        f' preserveAspectRatio="none" aria-label="PSI over time, up to {top:.2f}">'
        f'<line class="frame" x1="0" x2="600" y1="100" y2="100"/>{rules}{"".join(lines)}</svg>{words}</div>'
        f"{_ends(clock(begin), clock(end))}"
    )


def reliability_curve(bins: list[ReliabilityBin]) -> str:
    """How often the event came by score, with each share's interval, beside the diagonal of perfect scores."""
    marks, at = [], []
    for found in bins:
        low, high = (100 - 100 * bound for bound in wilson(found.rate, found.n))
        x, y = 100 * found.score, 100 - 100 * found.rate
        at.append(f"{x:.1f},{y:.1f}")
        marks.append(
            f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6"><title>score {found.score:.3f}: {share(found.rate)} of'
            f" {found.n:,} rows</title></circle>"
        )
    frame = "".join(
        f'<line class="frame" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
        for part in (0, 50, 100)
        for x1, y1, x2, y2 in ((part, 0, part, 100), (0, part, 100, part))
    )
    return (
        f'<div class="curve"><small>share in which it came, to 100 %</small>'
        f'<svg class="square s0" viewBox="-2 -2 104 104" role="img" aria-label="reliability curve">{frame}'
        f'<line class="limit" x1="0" y1="100" x2="100" y2="0"/><polyline points="{" ".join(at)}"/>'
        f"{''.join(marks)}</svg>"
        f"{_ends('score 0', 'score 1')}</div>"
    )
