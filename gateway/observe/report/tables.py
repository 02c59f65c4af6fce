"""Tables that scroll by themselves where the page is narrow."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gateway.observe.texts import told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitoring.performance.figure import Figure

__all__ = ["figure_cell", "table"]


def table(heads: Iterable[str], rows: Iterable[str], *, words: frozenset[str] = frozenset()) -> str:
    """Rows, as HTML, below names, as text; columns of words are named.

    Numbers stand on the right, words on the left.
    """
    cells = "".join(f"<th{' class=words' if name in words else ''}>{escape(name)}</th>" for name in heads)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def figure_cell(figure: Figure) -> str:
    """A figure above its interval, or above the reason why there is none."""
    value, beside = told(figure)
    return f"<td>{value}<small>{escape(beside)}</small></td>"
