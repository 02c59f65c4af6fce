"""Changes that are made to rows of a bundled set, of known size and at a known row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from benchmarks.drift.subjects import Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.drift.figures import Kind

__all__ = ["PERIOD_ROWS", "SHIFTS", "WIDTH_ROWS", "Shift", "draw", "presence", "shifted"]

WIDTH_ROWS: Final = 2000
"""Of a gradual change: the share of changed rows grows from none to all over so many."""
PERIOD_ROWS: Final = 1000
"""Of a recurring change: so many changed, so many as before, and again."""
MISSING_SHARE: Final = 0.2
MIX: Final = 3.0
"""How much more often rows of the last class come, once the classes' mix has changed."""

Change: TypeAlias = Callable[[np.random.Generator, Block, Block], Block]
"""From the population and some of its rows to what comes in their place."""


class Shift(NamedTuple):
    """One way in which rows change."""

    name: str
    kind: Kind
    change: Change


def draw(rng: np.random.Generator, population: Block, n: int) -> Block:
    """Rows as they come: each independently any of the population."""
    return population.take(rng.integers(len(population.rows), size=n))


def presence(kind: Kind, change: int, n: int) -> NDArray[np.float64]:
    """The share of changed rows at each of n."""
    after = np.arange(n, dtype=np.float64) - change
    if kind == "gradual":
        return np.clip(after / WIDTH_ROWS, 0.0, 1.0)
    there = after >= 0
    if kind == "recurring":
        there &= after // PERIOD_ROWS % 2 == 0
    return there.astype(np.float64)


def shifted(rng: np.random.Generator, population: Block, shift: Shift, *, change: int, n: int) -> Block:
    """A stream of n rows that changes at one of them."""
    block = draw(rng, population, n)
    changed = np.flatnonzero(rng.random(n) < presence(shift.kind, change, n))
    new = shift.change(rng, population, block.take(changed))
    block.rows[changed], block.labels[changed] = new
    return block


def _some(rng: np.random.Generator, population: Block, share: float | None) -> NDArray[np.intp]:
    """Columns that vary: one, or a share of them."""
    varying = np.flatnonzero(population.rows.std(axis=0) > 0)
    count = 1 if share is None else max(1, round(varying.size * share))
    return rng.choice(varying, size=count, replace=False)


def _mean(sigmas: float, share: float | None = None) -> Change:
    def change(rng: np.random.Generator, population: Block, block: Block) -> Block:
        which = _some(rng, population, share)
        rows = block.rows.copy()
        rows[:, which] += sigmas * population.rows[:, which].std(axis=0)
        return Block(rows, block.labels)

    return change


def _spread(factor: float) -> Change:
    def change(rng: np.random.Generator, population: Block, block: Block) -> Block:
        which = _some(rng, population, None)
        middle = population.rows[:, which].mean(axis=0)
        rows = block.rows.copy()
        rows[:, which] = middle + factor * (rows[:, which] - middle)
        return Block(rows, block.labels)

    return change


def _mix(rng: np.random.Generator, population: Block, block: Block) -> Block:
    weights = np.where(population.labels == population.labels.max(), MIX, 1.0)
    return population.take(rng.choice(weights.size, size=len(block.rows), p=weights / weights.sum()))


def _missing(rng: np.random.Generator, population: Block, block: Block) -> Block:
    rows = block.rows.copy()
    rows[np.ix_(rng.random(len(rows)) < MISSING_SHARE, _some(rng, population, None))] = np.nan
    return Block(rows, block.labels)


SHIFTS: Final = (
    Shift("mean +0.25 sigma, one column", "abrupt", _mean(0.25)),
    Shift("mean +0.5 sigma, one column", "abrupt", _mean(0.5)),
    Shift("mean +1 sigma, one column", "abrupt", _mean(1.0)),
    Shift("mean +0.25 sigma, a third of the columns", "abrupt", _mean(0.25, 1 / 3)),
    Shift("mean +0.5 sigma, a third of the columns", "abrupt", _mean(0.5, 1 / 3)),
    Shift("spread times 1.5, one column", "abrupt", _spread(1.5)),
    Shift("last class three times as often", "abrupt", _mix),
    Shift("a fifth missing, one column", "abrupt", _missing),
    Shift("mean +1 sigma, one column", "gradual", _mean(1.0)),
    Shift("mean +0.5 sigma, a third of the columns", "gradual", _mean(0.5, 1 / 3)),
    Shift("mean +1 sigma, one column", "recurring", _mean(1.0)),
    Shift("mean +0.5 sigma, a third of the columns", "recurring", _mean(0.5, 1 / 3)),
)
