"""The few groups of each column that PSI is measured on: what replicas add up, cells being too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

from monitoring.groups import group_starts

if TYPE_CHECKING:
    from collections.abc import Container

    from monitoring.binning import Counts
    from monitoring.reference import FeatureReference, Reference

ColumnKind: TypeAlias = Literal["feature", "score", "label"]


class GroupedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column, and how many rows of the reference are in each of its groups; last those without a value."""

    kind: ColumnKind
    name: str
    reference: list[int]


class Grouping:
    """Merges the cells of a count vector into the groups of some features and of the score.

    It depends on the reference alone, so the groups of all processes with one model file are the same and add up.

    Example:
        >>> from monitoring.reference import build_reference
        >>> rng = np.random.default_rng(7)
        >>> reference = build_reference(
        ...     rng.normal(size=(500, 2)), rng.random(500), names=["a", "b"], kinds=["float"] * 2, graph_sha256="00"
        ... )
        >>> grouping = Grouping(reference, {"b"})
        >>> [(column.name, column.reference) for column in grouping.columns]  # doctest: +NORMALIZE_WHITESPACE
        [('b', [50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 0]),
         ('score', [50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 0])]
    """

    def __init__(self, reference: Reference, features: Container[str]) -> None:
        columns: list[tuple[ColumnKind, FeatureReference]] = [("feature", column) for column in reference.features]
        columns.append(("score", reference.score))
        if reference.label is not None:
            columns.append(("label", reference.label))
        self.columns: list[GroupedColumn] = []
        starts, kept, first = [], [], 0
        for kind, column in columns:
            cells = np.asarray([*column.counts, column.missing], dtype=np.int64)
            own = np.append(group_starts(column), cells.size - 1)
            keep = kind != "feature" or column.name in features
            if keep:
                merged = np.add.reduceat(cells, own).tolist()
                self.columns.append(GroupedColumn(kind=kind, name=column.name, reference=merged))
            starts.append(own + first)
            kept += [keep] * own.size
            first += cells.size
        self._starts = np.concatenate(starts)
        self._kept = np.asarray(kept)
        self.size = sum(kept)

    def merge(self, counts: Counts) -> Counts:
        """Add up each group's cells: [size], column after column.

        Args:
            counts: of all columns, as `RowCounter` counts them.
        """
        merged: Counts = np.add.reduceat(counts, self._starts)[self._kept]
        return merged
