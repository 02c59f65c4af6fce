"""A column's histogram, over the groups that PSI is made of: the training data's shares beside those of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.counts import EPOCH_S
from gateway.errors import NotFound
from gateway.verdicts import Window, add_up, find_past
from monitoring import FeatureDrift, judge
from monitoring.groups import group_names, group_starts
from monitoring.verdict import split_columns

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.generation import Generation
    from monitoring import Counts, FeatureReference, Reference

__all__ = ["Group", "Histogram", "groups_of", "histogram_past", "histogram_serving"]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of a histogram: a range of the column, and the share of the values in it, before and now."""

    label: str
    reference: float
    current: float


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """What `/monitor/histogram` answers: one column of a version, over a window."""

    model: str
    version: str
    sha256: str
    since: float | None
    """When the window begins, in Unix time; null if nothing was counted in it."""
    column: FeatureDrift
    """The verdict on it, within that on all columns."""
    groups: list[Group]


def histogram_serving(generation: Generation, name: str, horizon_s: float | None) -> Histogram:
    """A column of a generation that serves, over the window of its verdict, this worker's newest rows included.

    Raises:
        NotFound: it has no such column.
        UnreadableCountsError: as `ModelCounts.spans`.
    """
    since, total = generation.feed.total(horizon_s)
    found = _look(generation.feed.reference, total, name)
    return Histogram(model=generation.name, version=generation.version, sha256=generation.sha256, since=since, **found)


def histogram_past(
    root: Path, model: str, version: str | None, name: str, *, horizon_s: float, until: float
) -> Histogram:
    """A column of a version that serves or served, over what was counted in the `horizon_s` seconds before `until`.

    Raises:
        NotFound: it never served here, or has no such column.
        UnreadableCountsError: as `ModelCounts.spans`.
    """
    served, counts = find_past(root, model, version)
    reference = counts.reference()
    last_epoch = -(-until // EPOCH_S) * EPOCH_S - EPOCH_S
    since, total = add_up(counts, reference, Window(horizon_s), now=last_epoch)
    found = _look(reference, total, name)
    return Histogram(model=model, version=served.version, sha256=counts.folder.name, since=since, **found)


def _look(reference: Reference, total: Counts, name: str) -> dict[str, Any]:
    """One column's verdict, which depends on all others, and its bars."""
    columns = reference.columns
    place = next((place for place, column in enumerate(columns) if column.name == name), None)
    if place is None:
        raise NotFound(f"no feature {name!r}; /health lists them, and there are 'score' and 'label'")
    verdict = judge(reference, total)
    live = split_columns(columns, total)[place][:-1]
    return {"column": verdict.columns[place], "groups": groups_of(columns[place], live)}


def groups_of(column: FeatureReference, live: Counts) -> list[Group]:
    """The bars of a column whose cells hold `live`, the missing left out."""
    before = np.asarray(column.counts, dtype=np.int64)
    starts = group_starts(column)
    few_before, few_live = np.add.reduceat(before, starts), np.add.reduceat(live, starts)
    return [
        Group(label=label, reference=float(then), current=float(now))
        for label, then, now in zip(
            group_names(column),
            few_before / max(few_before.sum(), 1),
            few_live / max(few_live.sum(), 1),
            strict=True,
        )
    ]
