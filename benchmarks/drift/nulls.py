"""False alarms of hotgate where nothing drifts: bundled sets, several ways to draw them, windows of many sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
import numpy as np

from benchmarks.drift.detector import HOTGATE, TWICE, Hotgate, adjusted, window_verdicts
from benchmarks.drift.figures import NullFigures, Share
from benchmarks.drift.subjects import BUNDLED, bundled, fitted
from benchmarks.report import table
from monitoring.verdict import ALPHA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from benchmarks.drift.streams import DriftPlan
    from benchmarks.drift.subjects import Subject
    from monitoring import ModelDrift

__all__ = ["BOOTSTRAP", "PERMUTATION", "SPLIT", "measure", "render"]

Which: TypeAlias = "NDArray[np.intp]"

IN_A_ROW: Final = 10
"""Windows that are judged against one reference."""
SPLIT_ROWS: Final = (300, 10_000)
LARGE_ROWS: Final = 4_000_000
"""Bound on the rows of all windows of one size and set."""
BOOTSTRAP: Final = "reference and windows drawn from the same rows, with replacement"
PERMUTATION: Final = "rows parted at random, each used once"
SPLIT: Final = "rows parted at random, windows drawn from their half with replacement"
WAYS: Final = {
    BOOTSTRAP: "drawn from the same rows",
    PERMUTATION: "each row once",
    SPLIT: "windows from the other half",
}


def measure(plan: DriftPlan, say: Callable[[str], None]) -> tuple[NullFigures, ...]:
    """Each set, each way, each size that it has rows for."""
    found = []
    for name in BUNDLED:
        say(f"false alarms on {name}")
        estimator, population = bundled(name, plan.seed)
        subject = fitted(name, name, estimator, population)  # its reference is all there is: each part is drawn from it
        for number, (how, rows) in enumerate(_cases(plan.null_rows, len(population.rows))):
            rng = np.random.default_rng([plan.seed, rows, number, *name.encode()])
            runs = max(1, min(plan.null_repeats // IN_A_ROW, LARGE_ROWS // (rows * IN_A_ROW)))
            judged = [_run(rng, subject, how, rows, plan.reference_rows) for _ in range(runs)]
            found.append(_tally(name, how, rows, judged))
    return tuple(found)


def _cases(sizes: tuple[int, ...], available: int) -> Iterator[tuple[str, int]]:
    yield from ((BOOTSTRAP, rows) for rows in sizes)
    yield from ((PERMUTATION, rows) for rows in sizes if rows <= available // 2)
    yield from ((SPLIT, rows) for rows in sizes if rows in SPLIT_ROWS)


def _run(rng: np.random.Generator, subject: Subject, how: str, rows: int, reference_rows: int) -> list[ModelDrift]:
    """The verdicts on some windows in a row against one reference."""
    reference, windows = _drawn(rng, len(subject.reference), how, rows, reference_rows)
    detector = Hotgate()
    detector.fit(msgspec.structs.replace(subject, reference=subject.reference[reference]))
    return [detector.judge(subject.reference[window]) for window in windows]


def _drawn(
    rng: np.random.Generator, available: int, how: str, rows: int, reference_rows: int
) -> tuple[Which, list[Which]]:
    """The rows of the reference, and those of each window."""
    if how == BOOTSTRAP:
        windows = [rng.integers(available, size=rows) for _ in range(IN_A_ROW)]
        return rng.integers(available, size=reference_rows), windows
    reference, rest = np.split(rng.permutation(available), [available // 2])
    if how == SPLIT:
        return reference, [rng.choice(rest, size=rows) for _ in range(IN_A_ROW)]
    return reference, np.split(rest[: len(rest) // rows * rows], len(rest) // rows)[:IN_A_ROW]


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


def render(nulls: Iterable[NullFigures]) -> str:
    """A table of all sets together, by how they were drawn and by window."""
    groups: dict[tuple[str, int], list[NullFigures]] = {}
    for one in sorted(nulls, key=lambda one: list(WAYS).index(one.how)):
        groups.setdefault((one.how, one.rows), []).append(one)
    rows = [_null(how, size, group) for (how, size), group in groups.items()]
    head = ("rows", "window", "sets", "windows", "alarms, %", "two in a row, %", "significant alone, %", "worst set")
    return f"""### False alarms of hotgate without drift

Nominal: 1 % of windows for "significant alone", all columns and the score taken together; less for alarms, which must \
be large too. The model was fitted on a third of each set, which takes no other part.

- drawn from the same rows: {BOOTSTRAP}. Nothing drifts.
- each row once: {PERMUTATION}. Nothing drifts.
- windows from the other half: {SPLIT}. The halves differ, as any two samples do, and a large window of few distinct \
rows shows it for certain: an alarm of the reference, not of chance. See "The reference must be able to say no drift" \
in docs/drift.md.

{table(head, rows)}"""


def _null(how: str, size: int, group: list[NullFigures]) -> tuple[str, ...]:
    """All sets together; those in which a window is too small to be judged are no evidence."""
    judged = [one for one in group if one.silent < one.windows.of]
    none = Share(hits=0, of=0)
    windows = sum((one.windows for one in judged), none)
    firing = sum((one.firing for one in judged), none)
    significant = sum((one.significant for one in judged), none)
    head = (WAYS[how], f"{size:,}", str(len(judged)), f"{windows.of:,}")
    if not judged:
        return (*head, "cannot say", "-", "-", "-")
    worst = max(judged, key=lambda one: one.significant.value)
    named = f"{worst.name}, {worst.significant.value:.1%}".replace("%", "") if worst.significant.hits else "-"
    return (*head, windows.percent, firing.percent, significant.percent, named)
