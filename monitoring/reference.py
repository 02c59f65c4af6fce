"""What the data looked like when the model was made: the profile that travels in the model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec
import numpy as np

from monitoring.binning import Values, as_seen, count_codes_into, count_into, fence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from monitoring.binning import Counts

Kind: TypeAlias = Literal["float", "int", "category"]
Dtype: TypeAlias = Literal["float32", "float64"]

MAX_BINS: Final = 128  # binned KS is then within 1/128 of the exact one, and 30 features count in under 1 µs a row
MIN_ROWS_PER_BIN: Final = 10  # a bin known from fewer rows says more about its own noise than about the data
MAX_CATEGORIES: Final = 128  # the most frequent ones; what is rarer counts as another category
SCORE_MARGIN: Final = 1e-3  # how far another runtime may be off: the most that a parity certificate allows


class FeatureReference(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one column, between edges or of categories; survives JSON bit for bit.

    Numbers: `edges` are ascending and finite; the ends are open, so `counts` has one more. `counts[i]` are the values
    in (edges[i-1], edges[i]]. The first edge lies just below the smallest finite value and the last edge is the
    largest, so the two outer cells hold what lies outside the reference's range: nothing, in the reference itself,
    unless it has infinities.

    Categories: `codes` are the numbers that stand for them, the most frequent first, `categories` their names, and
    `counts` has one more: all other values.

    Raises:
        ValueError: the parts do not fit together (msgspec reports it as a ValidationError).
    """

    name: str
    kind: Kind
    edges: list[float]
    counts: list[int]
    missing: int
    categories: list[str]
    codes: list[float] = []
    effects: list[float] = []
    """Mean score by group of cells (`monitoring.groups`), as `monitoring.impact` takes it; empty: not known."""

    def __post_init__(self) -> None:
        """Refuse what was not made by `build_reference`: the model file may come from anywhere."""
        category = self.kind == "category"
        if (self.edges if category else self.codes or self.categories) or len(self.codes) != len(self.categories):
            raise ValueError(f"{self.name}: a category has codes, each with a name, and no edges; a number has edges")
        if len(self.counts) != len(self.marks) + 1:
            what = "codes" if category else "edges"
            raise ValueError(f"{self.name}: {len(self.marks)} {what} need one count more, there are {len(self.counts)}")
        if min(*self.counts, self.missing) < 0:
            raise ValueError(f"{self.name}: counts must not be negative")
        if not np.isfinite(self.edges).all() or (np.diff(self.edges) <= 0).any():
            raise ValueError(f"{self.name}: edges must be finite and ascending")
        if not np.isfinite(self.codes).all() or len(set(self.codes)) != len(self.codes):
            raise ValueError(f"{self.name}: codes must be finite and distinct")
        if not np.isfinite(self.effects).all():
            raise ValueError(f"{self.name}: effects must be finite")

    @property
    def marks(self) -> list[float]:
        """What the cells are told apart by: edges or codes."""
        return self.codes if self.kind == "category" else self.edges

    @property
    def n(self) -> int:
        """Rows seen, missing ones included."""
        return sum(self.counts) + self.missing


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """The profile of a model's input columns, its score and the classes it predicts, tied to the graph that made them.

    Raises:
        ValueError: an edge is no value of `dtype`, so live values of that dtype would be compared with another number.
    """

    graph_sha256: str
    dtype: Dtype
    features: list[FeatureReference]
    score: FeatureReference
    label: FeatureReference | None = None
    """The predicted class, as a category: its code is the class's place among the model's classes."""

    def __post_init__(self) -> None:
        """Hold the edges to the dtype."""
        for column in self.columns:
            if as_seen(column.marks, self.dtype).tolist() != column.marks:
                raise ValueError(f"{column.name}: edges and codes must be exact in {self.dtype}")

    @property
    def columns(self) -> list[FeatureReference]:
        """All that is counted, in the order of the cells: the features, the score, the label if there is one."""
        return [*self.features, self.score, *([self.label] if self.label is not None else [])]


def quantile_edges(values: Values) -> Values:
    """Put inner edges between neighbouring distinct values, so that each bin holds close to an equal share.

    With n values, a bin is closed at the first value that brings it to max(10, n/128) of them: at most 128 bins. Equal
    values never part. A value that is alone worth two bins gets its own, so that rare values beside it stay visible (a
    flag nearly always 1); no other bin has fewer than 10 values.

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
        if cut >= distinct.size:
            break
        heavy = counts[cut] >= 2 * share
        if heavy and up_to[cut] - counts[cut] > below:
            cut -= 1
        elif values.size - up_to[cut] < (1 if heavy else MIN_ROWS_PER_BIN):
            break
        cuts.append(cut)
        below = int(up_to[cut])
    low, high = distinct[cuts], distinct[np.asarray(cuts, dtype=np.intp) + 1]
    return _halfway(low[np.isfinite(low)], high[np.isfinite(low)])


def _halfway(low: Values, high: Values) -> Values:
    """Take the middle in the dtype; where that is `high` itself, infinite ones included, `low` parts the two."""
    middle = low / 2 + high / 2
    return np.where(middle < high, middle, low)


def _range_edges(values: Values, margin: float) -> Values:
    """Put an edge just below the smallest finite value and one at the largest, both further out by `margin`."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return finite
    limits = np.finfo(values.dtype)
    with np.errstate(over="ignore"):
        low = np.nextafter(finite.min() - margin, -np.inf, dtype=values.dtype)
        ends = np.array([low, finite.max() + margin], dtype=values.dtype)
    return np.clip(ends, limits.min, limits.max)


def _profile(name: str, kind: Kind, column: Values) -> FeatureReference:
    if kind != "category":
        return _profile_numbers(name, kind, column)
    codes, counts = np.unique(column[np.isfinite(column)], return_counts=True)
    return _profile_codes(name, column, codes, counts, [str(code).removesuffix(".0") for code in codes])


def _profile_numbers(name: str, kind: Kind, column: Values, margin: float = 0.0) -> FeatureReference:
    values = column[~np.isnan(column)]
    edges = np.unique(np.concatenate([_range_edges(values, margin), quantile_edges(values)]))
    cells = np.zeros(edges.size + 2, dtype=np.int64)
    count_into(cells, fence(edges, column.dtype), column)
    *counts, missing = cells.tolist()
    return FeatureReference(name=name, kind=kind, edges=edges.tolist(), counts=counts, missing=missing, categories=[])


def _profile_codes(name: str, column: Values, codes: Values, counts: Counts, names: Sequence[str]) -> FeatureReference:
    """Keep the most frequent categories, equally frequent ones in the order of their codes."""
    kept = np.lexsort((codes, -counts))[:MAX_CATEGORIES]
    cells = np.zeros(kept.size + 2, dtype=np.int64)
    count_codes_into(cells, codes[kept], column)
    *found, missing = cells.tolist()
    return FeatureReference(
        name=name,
        kind="category",
        edges=[],
        counts=found,
        missing=missing,
        categories=[names[place] for place in kept],
        codes=codes[kept].tolist(),
    )


def _profile_label(labels: Values, classes: Sequence[str]) -> FeatureReference:
    codes = np.arange(len(classes), dtype=labels.dtype)
    counts = np.array([np.count_nonzero(labels == code) for code in codes], dtype=np.int64)
    return _profile_codes("label", labels, codes, counts, classes)


def build_reference(
    rows: ArrayLike,
    scores: ArrayLike,
    *,
    names: Sequence[str],
    kinds: Sequence[Kind],
    graph_sha256: str,
    dtype: Dtype = "float32",
    labels: ArrayLike | None = None,
    classes: Sequence[str] = (),
) -> Reference:
    """Profile rows and scores as the gateway will see them: rounded to the model's dtype before anything is counted.

    Args:
        rows: [n, features], NaN for a missing value.
        scores: [m], from rows the model was not fitted on: its scores of its own training rows look like drift.
        names: one a column.
        kinds: one a column; a category's values are numbers that stand for it, 0 and 1 for a boolean.
        graph_sha256: the digest of the graph that made the scores.
        dtype: of the model's input; the score is rounded to it too.
        labels: [m], the predicted class of the rows of `scores`, as its place in `classes`; without, none is watched.
        classes: their names.

    Raises:
        ValueError: shapes, names and kinds do not agree.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> reference = build_reference(
        ...     rng.normal(size=(400, 1)), rng.random(200), names=["radius"], kinds=["float"], graph_sha256="00"
        ... )
        >>> len(reference.features[0].counts), reference.features[0].n, len(reference.score.counts)
        (42, 400, 22)
    """
    block = as_seen(rows, dtype)
    if block.ndim != 2 or block.shape[1] != len(names) or len(names) != len(kinds):
        raise ValueError(f"rows {block.shape} need one name and one kind a column, got {len(names)} and {len(kinds)}")
    score = as_seen(scores, dtype)
    if score.ndim != 1:
        raise ValueError(f"scores must be one number a row, got {score.shape}")
    predicted = as_seen(labels, dtype) if labels is not None else None
    if predicted is not None and predicted.shape != score.shape:
        raise ValueError(f"labels must be as many as scores, {score.size}, got {predicted.shape}")
    return Reference(
        graph_sha256=graph_sha256,
        dtype=dtype,
        features=[_profile(*column) for column in zip(names, kinds, block.T, strict=True)],
        score=_profile_numbers("score", "float", score, SCORE_MARGIN),
        label=_profile_label(predicted, classes) if predicted is not None else None,
    )
