"""False alarms of hotgate where nothing drifts: bundled sets, several ways to draw them, windows of many sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.drift.detector import HOTGATE, TWICE, Hotgate, adjusted, window_verdicts
from benchmarks.drift.figures import NullFigures, Share
from benchmarks.drift.shifts import draw
from benchmarks.drift.subjects import BUNDLED, Block, bundled, fitted
from monitoring.verdict import ALPHA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.drift.streams import DriftPlan
    from monitoring import ModelDrift

__all__ = ["BOOTSTRAP", "PERMUTATION", "SPLIT", "measure"]

IN_A_ROW: Final = 10
"""Windows that are judged against one reference."""
SPLIT_ROWS: Final = (300, 10_000)
LARGE_ROWS: Final = 1_500_000
"""Bound on the rows of all windows of one size and set."""
BOOTSTRAP: Final = "reference and windows drawn from the same rows, with replacement"
PERMUTATION: Final = "rows parted at random, each used once"
SPLIT: Final = "rows parted at random, windows drawn from their half with replacement"


def measure(plan: DriftPlan, say: Callable[[str], None]) -> tuple[NullFigures, ...]:
    """Each set, each way, each size that it has rows for."""
    found = []
    for name in BUNDLED:
        say(f"false alarms on {name}")
        estimator, population = bundled(name, plan.seed)
        for number, (how, rows) in enumerate(_cases(plan.null_rows, len(population.rows))):
            rng = np.random.default_rng([plan.seed, rows, number, *name.encode()])
            runs = max(plan.null_repeats // IN_A_ROW, 1)
            runs = max(1, min(runs, LARGE_ROWS // (rows * IN_A_ROW)))
            judged = [_run(rng, estimator, population, how, rows, plan.reference_rows) for _ in range(runs)]
            found.append(_tally(name, how, rows, judged))
    return tuple(found)


def _cases(sizes: tuple[int, ...], available: int) -> Iterator[tuple[str, int]]:
    yield from ((BOOTSTRAP, rows) for rows in sizes)
    yield from ((PERMUTATION, rows) for rows in sizes if rows <= available // 2)
    yield from ((SPLIT, rows) for rows in sizes if rows in SPLIT_ROWS)


def _run(
    rng: np.random.Generator, estimator: object, population: Block, how: str, rows: int, reference_rows: int
) -> list[ModelDrift]:
    """The verdicts on some windows in a row against one reference."""
    reference, windows = _drawn(rng, population, how, rows, reference_rows)
    subject = fitted("", "", estimator, reference)
    detector = Hotgate()
    detector.fit(subject)
    return [detector.judge(subject.see(window)[0]) for window in windows]


def _drawn(
    rng: np.random.Generator, population: Block, how: str, rows: int, reference_rows: int
) -> tuple[Block, list[Block]]:
    if how == BOOTSTRAP:
        return draw(rng, population, reference_rows), [draw(rng, population, rows) for _ in range(IN_A_ROW)]
    order = rng.permutation(len(population.rows))
    cut = len(order) // 2
    reference, rest = population.take(order[:cut]), population.take(order[cut:])
    if how == SPLIT:
        return reference, [draw(rng, rest, rows) for _ in range(IN_A_ROW)]
    whole = len(rest.rows) // rows
    return reference, [rest.take(np.arange(at * rows, (at + 1) * rows)) for at in range(min(whole, IN_A_ROW))]


def _tally(name: str, how: str, rows: int, judged: list[list[ModelDrift]]) -> NullFigures:
    alarms = {HOTGATE: Share(hits=0, of=0), TWICE: Share(hits=0, of=0)}
    for run in judged:
        for detector, verdicts in window_verdicts(run).items():
            alarms[detector] += Share(hits=sum(verdicts.alarm), of=len(run))
    levels = [adjusted(verdict) for run in judged for verdict in run]
    return NullFigures(
        name=name,
        how=how,
        rows=rows,
        windows=alarms[HOTGATE],
        firing=alarms[TWICE],
        significant=Share(hits=sum(level is not None and level <= ALPHA for level in levels), of=len(levels)),
        silent=levels.count(None),
    )
