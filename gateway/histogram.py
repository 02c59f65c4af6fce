"""A column's histogram, over the groups that PSI is made of: the training data's shares beside those of a window."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from monitoring import FeatureDrift
from monitoring.psi import merge_groups

if TYPE_CHECKING:
    from monitoring import Counts, FeatureReference

__all__ = ["Group", "Histogram", "groups_of"]


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


def groups_of(column: FeatureReference, live: Counts) -> list[Group]:
    """The bars of a column whose bins hold `live`, the missing left out."""
    before = np.asarray(column.counts, dtype=np.int64)
    starts = merge_groups(before)
    few_before, few_live = np.add.reduceat(before, starts), np.add.reduceat(live, starts)
    return [
        Group(label=label, reference=float(then), current=float(now))
        for label, then, now in zip(
            _labels(column.edges, starts.tolist()),
            few_before / max(few_before.sum(), 1),
            few_live / max(few_live.sum(), 1),
            strict=True,
        )
    ]


def _labels(edges: list[float], starts: list[int]) -> list[str]:
    """Ranges between the groups' outer edges; a value that equals an edge is in the group below."""
    cuts = [edges[start - 1] for start in starts[1:]]
    if not cuts:
        return ["all"]
    inner = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(cuts)]
    return [f"up to {cuts[0]:.4g}", *inner, f"above {cuts[-1]:.4g}"]
