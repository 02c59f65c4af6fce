"""Which rows are held out: a stratified draw that looks like the rest in every column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from monitoring.psi import EMPTY_CELL, GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Rows = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]
    Masks = npt.NDArray[np.bool_]

__all__ = ["Split", "balanced_split"]

_ENOUGH_ROWS = 20_000
"""Above this one draw is balanced already: PSI by luck is about 9 (1/n + 1/m), under 0.003 at a quarter held out."""

_BLOCK_CELLS = 2**22
"""Cells of the largest intermediate matrix."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Rows to fit on and rows to judge by, disjoint and complete."""

    train: npt.NDArray[np.int64]
    """Ascending row numbers."""
    heldout: npt.NDArray[np.int64]
    """Ascending row numbers."""
    max_psi: float
    """Largest PSI in tenths, over the columns, of the held-out rows against the training rows."""
    max_ks: float
    """Largest Kolmogorov-Smirnov distance, over the columns, between the two."""


def balanced_split(rows: Rows, codes: Codes, *, share: float, draws: int, seed: int) -> Split:
    """Hold out a stratified `share`: of `draws` seeded draws the one whose largest PSI of a column is smallest.

    A plain quarter of 569 rows has, by luck alone, a column with a PSI above 0.1 in nearly every draw (median of the
    largest of 30 columns: 0.18), and a monitor fed with the held-out rows would call them drifted for ever. Choosing
    among random draws by the covariates only, never by an outcome, leaves the held-out metrics honest.

    Source: Morgan and Rubin, Rerandomization to improve covariate balance in experiments, Ann. Stat. 40(2), 2012.

    Args:
        rows: [n, columns].
        codes: [n], class of each row.
        share: of every class that is held out; each class keeps at least one row on both sides.
        draws: how many to choose from; one, if there are more than 20,000 rows.
        seed: equal seeds give equal splits.

    Raises:
        ValueError: a class has fewer than two rows.
    """
    held = _quota(codes, share)
    cells = _tenths(rows)
    best_psi, best_ks, best = np.inf, np.inf, np.zeros(len(codes), dtype=np.bool_)
    for masks in _draw(codes, held, draws if len(codes) <= _ENOUGH_ROWS else 1, np.random.default_rng(seed)):
        worst = _largest_psi(cells, masks)
        for index in np.flatnonzero(worst == min(worst.min(), best_psi)):
            distance = _largest_ks(rows, masks[index])
            if (worst[index], distance) < (best_psi, best_ks):
                best_psi, best_ks, best = float(worst[index]), distance, masks[index]
    return Split(train=np.flatnonzero(~best), heldout=np.flatnonzero(best), max_psi=best_psi, max_ks=best_ks)


def _quota(codes: Codes, share: float) -> npt.NDArray[np.int64]:
    """Rows of each class to hold out: their sum is the share of all rows, each within one row of its own share."""
    sizes: npt.NDArray[np.int64] = np.bincount(codes)
    if sizes.min() < 2:
        raise ValueError(f"class {sizes.argmin()} has {sizes.min()} rows, a split needs 2")
    exact = sizes * share
    quota: npt.NDArray[np.int64] = np.floor(exact).astype(np.int64)
    rest = round(exact.sum()) - int(quota.sum())
    quota[np.argsort(-(exact - quota), kind="stable")[:rest]] += 1
    kept: npt.NDArray[np.int64] = np.clip(quota, 1, sizes - 1)
    return kept


def _draw(codes: Codes, quota: npt.NDArray[np.int64], draws: int, rng: np.random.Generator) -> Iterator[Masks]:
    """Yield stratified draws in blocks, bool [draws, n], true where a row is held out."""
    block = max(1, _BLOCK_CELLS // len(codes))
    for start in range(0, draws, block):
        keys = rng.random((min(block, draws - start), len(codes)))
        masks = np.zeros(keys.shape, dtype=np.bool_)
        for code, held in enumerate(quota):
            members = np.flatnonzero(codes == code)
            chosen = np.argpartition(keys[:, members], held - 1, axis=1)[:, :held]
            np.put_along_axis(masks, members[chosen], True, axis=1)
        yield masks


def _tenths(rows: Rows) -> npt.NDArray[np.int64]:
    """Put each value into a tenth of its column, [n, columns]; equal values share one, so some may stay empty."""
    edges = np.quantile(rows, np.arange(1, GROUPS) / GROUPS, axis=0)
    columns = zip(edges.T, rows.T, strict=True)
    cells: npt.NDArray[np.int64] = np.column_stack([np.searchsorted(inner, values) for inner, values in columns])
    return cells


def _largest_psi(cells: npt.NDArray[np.int64], masks: Masks) -> Rows:
    """For each draw the largest PSI over the columns, [draws]: all counts of a block of columns in one product."""
    n, columns = cells.shape
    picked = masks.astype(np.float32)
    held = masks.sum(axis=1)[:, None, None]
    worst = np.zeros(len(masks))
    block = max(1, _BLOCK_CELLS // (GROUPS * max(n, len(masks))))
    for start in range(0, columns, block):
        onehot = (cells[:, start : start + block, None] == np.arange(GROUPS)).reshape(n, -1).astype(np.float32)
        counts = (picked @ onehot).reshape(len(masks), -1, GROUPS).astype(np.float64)
        others = onehot.sum(axis=0, dtype=np.float64).reshape(-1, GROUPS) - counts
        seen = counts + others > 0
        q = np.maximum(counts, EMPTY_CELL) / held
        p = np.maximum(others, EMPTY_CELL) / (n - held)
        psi = np.where(seen, (q - p) * np.log(q / p), 0.0).sum(axis=2)
        worst = np.maximum(worst, psi.max(axis=1))
    return worst


def _largest_ks(rows: Rows, mask: npt.NDArray[np.bool_]) -> float:
    """Largest distance, over the columns, of the two sides' empirical distributions."""
    step = np.where(mask, 1 / mask.sum(), -1 / (~mask).sum())
    worst = 0.0
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        gaps = np.cumsum(step[order])
        last = np.append(np.diff(column[order]) > 0, True)
        worst = max(worst, float(np.abs(gaps[last]).max()))
    return worst
