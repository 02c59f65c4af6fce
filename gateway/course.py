"""A version's drift over time, step by step: what the page's map and the report's curves are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.counts import EPOCH_S
from monitoring import RowCounter, add_newest, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.counts import FoldedSpan
    from monitoring import Reference, Span

__all__ = ["Course", "Step", "step_seconds", "steps_of"]

_STEPS: Final = 48
"""Most steps of a course."""
_UNITS: Final = ((900.0, 60), (6 * 3600.0, 300))
"""Up to which horizon counts are kept by the minute and by five minutes; beyond that, by the hour."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step, and what could be judged in it."""

    start: float
    """Unix time."""
    n: int
    psi: list[float | None]
    """Of each feature, then of the score; to four decimals, null where too few values came."""
    severity: list[str]
    """Likewise; `none` also where nothing could be judged."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What `/monitor/course` answers: the steps in which rows came, the oldest first; the last one is not over."""

    model: str
    version: str
    sha256: str
    start: float
    """Unix time at which the first step begins, or would."""
    step_s: int
    columns: list[str]
    """The features' names, then the score's."""
    steps: list[Step]


def step_seconds(horizon_s: float) -> int:
    """The length of a step: a whole number of the unit that counts are kept in for so long."""
    unit = next((unit for limit, unit in _UNITS if horizon_s <= limit), 3600)
    return -(-int(horizon_s) // (_STEPS * unit)) * unit


def steps_of(
    spans: Iterable[Span | FoldedSpan], reference: Reference, *, begin: float, end: float, step_s: int
) -> Iterator[Step]:
    """Judge each step of [begin, end) in which rows came.

    Args:
        spans: of the counts of that time, and perhaps more.
        reference: that they were counted with.
        begin: Unix time, a whole number of steps.
        end: likewise.
        step_s: length of a step.
    """
    counter = RowCounter(reference)
    held = list(spans)
    start = begin
    while start < end:
        inside = [span for span in held if start <= span.start < start + step_s]
        if inside:
            _, total = add_newest(
                inside, counter, now=start + step_s - EPOCH_S, window_rows=2**62, horizon_s=float(step_s)
            )
            if counter.rows(total):
                verdict = judge(reference, total)
                columns = [*verdict.features, verdict.score]
                yield Step(
                    start=start,
                    n=verdict.n,
                    psi=[None if column.psi is None else round(column.psi, 4) for column in columns],
                    severity=[column.severity for column in columns],
                )
        start += step_s
