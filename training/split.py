"""Which rows are held out: a stratified draw, balanced until it looks like the rest in every column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from monitoring.psi import EMPTY_CELL, GROUPS, psi

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

__all__ = ["Split", "balanced_split"]

_ENOUGH_ROWS = 20_000
"""Above this a plain draw is balanced: PSI by luck is about 9 (1/n + 1/m), under 0.003 at a quarter held out."""

_FINE_GROUPS = 2 * GROUPS
"""Twice as many as a monitor looks at: merging cells never raises a PSI, so tenths cut elsewhere fare no worse."""

_PAIRS = 500
"""Switches in a draw; the best of them is made if it helps."""

_POWER = 4
"""Columns count with this power of their PSI, so that the worst one matters most and the others still do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Rows to fit on and rows to judge by, disjoint and complete."""

    train: Indices
    """Ascending row numbers."""
    heldout: Indices
    """Ascending row numbers."""
    max_psi: float
    """Largest PSI in tenths, over the columns, of the held-out rows against the training rows."""
    max_ks: float
    """Largest Kolmogorov-Smirnov distance, over the columns, between the two."""


def balanced_split(
    rows: Rows, codes: Indices, *, share: float, draws: int, seed: int, keep: Mask | None = None
) -> Split:
    """Hold out a stratified `share`, then switch pairs of rows of one class while that brings the two sides closer.

    A plain quarter of 569 rows has, by luck alone, a column with a PSI above 0.1 in nearly every draw (median of the
    largest of 30 columns: 0.18), and a monitor fed with the held-out rows would call them drifted for ever. Balancing
    looks at the columns only, never at an outcome or a model, so the held-out metrics stay honest.

    Source: Zhu and Liu, Pair-switching rerandomization, Biometrics 79(3), 2023, after Morgan and Rubin,
    Rerandomization to improve covariate balance in experiments, Ann. Stat. 40(2), 2012.

    Args:
        rows: [n, columns].
        codes: [n], class of each row.
        share: of every class that is held out; each class keeps at least one row on both sides.
        draws: of pairs that may be switched; 0, and more than 20,000 rows, leave the split as it was drawn.
        seed: equal seeds give equal splits.
        keep: [n], true where a row is held out whatever is drawn; the share is drawn from the others.

    Raises:
        ValueError: a class has fewer than two rows that are not kept.
    """
    rng = np.random.default_rng(seed)
    kept = np.zeros(len(codes), dtype=np.bool_) if keep is None else keep
    held = kept.copy()
    held[~kept] = _draw(codes[~kept], share, rng)
    if len(codes) <= _ENOUGH_ROWS:
        _balance(_cells(rows, _FINE_GROUPS), codes, held, draws, rng, kept)
    return Split(
        train=np.flatnonzero(~held),
        heldout=np.flatnonzero(held),
        max_psi=_largest_psi(_cells(rows, GROUPS), held),
        max_ks=_largest_ks(rows, held),
    )


def _draw(codes: Indices, share: float, rng: np.random.Generator) -> Mask:
    """Draw the share of each class to within one row, and of all rows exactly; true where a row is held out."""
    sizes = np.bincount(codes)
    if sizes.min() < 2:
        raise ValueError(f"class {sizes.argmin()} has {sizes.min()} rows, a split needs 2")
    exact = sizes * share
    quota = np.floor(exact).astype(np.int64)
    rest = round(exact.sum()) - int(quota.sum())
    quota[np.argsort(-(exact - quota), kind="stable")[:rest]] += 1
    held = np.zeros(len(codes), dtype=np.bool_)
    for code, count in enumerate(np.clip(quota, 1, sizes - 1)):
        held[rng.permutation(np.flatnonzero(codes == code))[:count]] = True
    return held


def _cells(rows: Rows, groups: int) -> Indices:
    """Put each value into a quantile group of its column, [n, columns]; equal values share one, so some stay empty."""
    edges = np.quantile(rows, np.arange(1, groups) / groups, axis=0)
    cells: Indices = np.column_stack([np.searchsorted(*column) for column in zip(edges.T, rows.T, strict=True)])
    return cells


def _count(cells: Indices, groups: int) -> Rows:
    """Rows in each cell, [columns, groups]."""
    return np.stack([np.bincount(column, minlength=groups) for column in cells.T]).astype(np.float64)


def _balance(cells: Indices, codes: Indices, held: Mask, draws: int, rng: np.random.Generator, kept: Mask) -> None:
    """Switch pairs in `held`, in place, but for the kept ones.

    A column is out of balance by its PSI, which sees single cells, plus the squared distances of the two distribution
    functions, which see a shift spread over many cells, as KS does. A switch moves one row out of and one into a cell,
    so what it does to either is known from two numbers a cell, before any pair is looked at.
    """
    n, size, column = len(cells), int(held.sum()), np.arange(cells.shape[1])
    step = 1 / size + 1 / (n - size)
    totals, counts = _count(cells, _FINE_GROUPS), _count(cells[held], _FINE_GROUPS)
    for _ in range(draws):
        terms = _terms(counts, totals, size, n)
        less, more = (_terms(counts + one, totals, size, n) - terms for one in (-1, 1))
        gaps = (counts / size - (totals - counts) / (n - size)).cumsum(axis=1)
        above = 2 * step * gaps[:, ::-1].cumsum(axis=1)[:, ::-1]
        leaving, entering = _pairs(codes, held, rng, kept)
        out_of, into = cells[leaving], cells[entering]
        changes = np.where(out_of == into, 0.0, less[column, out_of] + more[column, into])
        changes += above[column, into] - above[column, out_of] + step**2 * np.abs(into - out_of)
        now = terms.sum(axis=1) + (gaps**2).sum(axis=1)
        then = ((now + changes) ** _POWER).sum(axis=1)
        best = then.argmin()
        if then[best] < (now**_POWER).sum():
            held[leaving[best]], held[entering[best]] = False, True
            counts[column, out_of[best]] -= 1
            counts[column, into[best]] += 1


def _terms(counts: Rows, totals: Rows, size: int, n: int) -> Rows:
    """What each cell adds to its column's PSI, [columns, groups]."""
    q = np.maximum(counts, EMPTY_CELL) / size
    p = np.maximum(totals - counts, EMPTY_CELL) / (n - size)
    return np.where(totals > 0, (q - p) * np.log(q / p), 0.0)


def _pairs(codes: Indices, held: Mask, rng: np.random.Generator, kept: Mask) -> tuple[Indices, Indices]:
    """Held-out rows that are not kept, each with a training row of its class."""
    leaving = rng.choice(np.flatnonzero(held & ~kept), _PAIRS)
    entering = np.empty_like(leaving)
    for code in np.unique(codes[leaving]):
        alike = codes[leaving] == code
        entering[alike] = rng.choice(np.flatnonzero(~held & (codes == code)), int(alike.sum()))
    return leaving, entering


def _largest_psi(cells: Indices, held: Mask) -> float:
    sides = (np.stack([np.bincount(column[side], minlength=GROUPS) for column in cells.T]) for side in (~held, held))
    return max(psi(reference, counts) for reference, counts in zip(*sides, strict=True))


def _largest_ks(rows: Rows, held: Mask) -> float:
    step = np.where(held, 1 / held.sum(), -1 / (~held).sum())
    worst = 0.0
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        gaps = np.cumsum(step[order])
        last = np.append(np.diff(column[order]) > 0, True)
        worst = max(worst, float(np.abs(gaps[last]).max()))
    return worst
