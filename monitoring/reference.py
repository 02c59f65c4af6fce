"""What the data looked like when the model was made: the profile that travels in the model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec
import numpy as np

from monitoring.binning import Values, as_seen, count_into, fence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

Kind: TypeAlias = Literal["float", "int", "category"]
Dtype: TypeAlias = Literal["float32", "float64"]

MAX_BINS: Final = 128  # binned KS is then within 1/128 of the exact one, and 30 features count in under 1 µs a row
MIN_ROWS_PER_BIN: Final = 10  # a bin known from fewer rows says more about its own noise than about the data


class FeatureReference(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one column between edges; survives JSON bit for bit.

    `edges` are the inner edges, ascending and finite; the ends are open, so `counts` has one more. `counts[i]` are the
    values in (edges[i-1], edges[i]]. `categories` is empty for numbers.

    Raises:
        ValueError: the parts do not fit together (msgspec reports it as a ValidationError).
    """

    name: str
    kind: Kind
    edges: list[float]
    counts: list[int]
    missing: int
    categories: list[str]

    def __post_init__(self) -> None:
        """Refuse what was not made by `build_reference`: the model file may come from anywhere."""
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{self.name}: {len(self.edges)} edges need one count more, there are {len(self.counts)}")
        if min(*self.counts, self.missing) < 0:
            raise ValueError(f"{self.name}: counts must not be negative")
        if not np.isfinite(self.edges).all() or (np.diff(self.edges) <= 0).any():
            raise ValueError(f"{self.name}: edges must be finite and ascending")

    @property
    def n(self) -> int:
        """Rows seen, missing ones included."""
        return sum(self.counts) + self.missing


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """The profile of a model's input columns and of its score, tied to the graph it was measured on.

    Raises:
        ValueError: an edge is no value of `dtype`, so live values of that dtype would be compared with another number.
    """

    graph_sha256: str
    dtype: Dtype
    features: list[FeatureReference]
    score: FeatureReference

    def __post_init__(self) -> None:
        """Hold the edges to the dtype."""
        for column in (*self.features, self.score):
            if as_seen(column.edges, self.dtype).tolist() != column.edges:
                raise ValueError(f"{column.name}: edges must be exact in {self.dtype}")


def quantile_edges(values: Values) -> Values:
    """Put inner edges between neighbouring distinct values, so that each bin holds close to an equal share.

    With n values, a bin is closed at the first value that brings it to max(10, n/128) of them: at most 128 bins, none
    with fewer than 10 values, and no edge at all if no cut leaves 10 on both sides. Equal values never part. A
    value that is alone worth two bins gets its own, so that rare values below it stay visible (a flag nearly always 1).

    An edge lies halfway to the next value: scores recomputed by another runtime differ in the last bit, and an edge on
    a value that many rows share would then move them all into the next bin.

    Args:
        values: [n], without NaN; infinities count, but are no edges.
    """
    distinct, counts = np.unique(values, return_counts=True)
    up_to = np.cumsum(counts)
    share = max(MIN_ROWS_PER_BIN, -(-values.size // MAX_BINS))
    cuts: list[int] = []
    below = 0
    while True:
        cut = int(np.searchsorted(up_to, below + share))
        if cut < distinct.size and counts[cut] >= 2 * share and up_to[cut] - counts[cut] - below >= MIN_ROWS_PER_BIN:
            cut -= 1
        if cut >= distinct.size or values.size - up_to[cut] < MIN_ROWS_PER_BIN:
            break
        cuts.append(cut)
        below = int(up_to[cut])
    low, high = distinct[cuts], distinct[np.asarray(cuts, dtype=np.intp) + 1]
    return _halfway(low[np.isfinite(low)], high[np.isfinite(low)])


def _halfway(low: Values, high: Values) -> Values:
    """Take the middle in the dtype; where that is `high` itself, infinite ones included, `low` parts the two."""
    middle = low / 2 + high / 2
    return np.where(middle < high, middle, low)


def _profile(name: str, kind: Kind, column: Values) -> FeatureReference:
    if kind == "category":
        raise ValueError(f"column {name!r}: a category has no numeric reference")
    edges = quantile_edges(column[~np.isnan(column)])
    cells = np.zeros(edges.size + 2, dtype=np.int64)
    count_into(cells, fence(edges, column.dtype), column)
    *counts, missing = cells.tolist()
    return FeatureReference(name=name, kind=kind, edges=edges.tolist(), counts=counts, missing=missing, categories=[])


def build_reference(
    rows: ArrayLike,
    scores: ArrayLike,
    *,
    names: Sequence[str],
    kinds: Sequence[Kind],
    graph_sha256: str,
    dtype: Dtype = "float32",
) -> Reference:
    """Profile rows and scores as the gateway will see them: rounded to the model's dtype before anything is counted.

    Args:
        rows: [n, features], NaN for a missing value.
        scores: [m], from rows the model was not fitted on: its scores of its own training rows look like drift.
        names: one a column.
        kinds: one a column; numbers only.
        graph_sha256: the digest of the graph that made the scores.
        dtype: of the model's input; the score is rounded to it too.

    Raises:
        ValueError: shapes, names and kinds do not agree, or a column is a category.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> reference = build_reference(
        ...     rng.normal(size=(400, 1)), rng.random(200), names=["radius"], kinds=["float"], graph_sha256="00"
        ... )
        >>> len(reference.features[0].counts), reference.features[0].n, len(reference.score.counts)
        (40, 400, 20)
    """
    block = as_seen(rows, dtype)
    if block.ndim != 2 or block.shape[1] != len(names) or len(names) != len(kinds):
        raise ValueError(f"rows {block.shape} need one name and one kind a column, got {len(names)} and {len(kinds)}")
    score = as_seen(scores, dtype)
    if score.ndim != 1:
        raise ValueError(f"scores must be one number a row, got {score.shape}")
    return Reference(
        graph_sha256=graph_sha256,
        dtype=dtype,
        features=[_profile(*column) for column in zip(names, kinds, block.T, strict=True)],
        score=_profile("score", "float", score),
    )
