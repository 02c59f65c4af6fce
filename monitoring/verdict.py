"""Has the data drifted? Only if the shift is both more than chance and large enough to matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from monitoring.chi2 import chi2, homogeneity_p_value
from monitoring.distances import jensen_shannon, wasserstein
from monitoring.groups import OTHER, group_starts
from monitoring.impact import impact
from monitoring.ks import ks, ks_error, ks_p_value, null_ks
from monitoring.multiple import benjamini_hochberg
from monitoring.outside import outside_by_chance, outside_p_value
from monitoring.psi import null_psi, psi
from monitoring.reference import MIN_ROWS_PER_BIN, FeatureReference, Kind, Reference

if TYPE_CHECKING:
    from monitoring.binning import Counts

Severity: TypeAlias = Literal["none", "warning", "critical"]

ALPHA: Final = 0.01  # the share of false ones among the features called drifted; none drifted: false verdicts a window
MIN_EFFECT: Final = 0.1  # PSI or KS above what chance gives; below it the field calls a population stable
CRITICAL_PSI: Final = 0.2  # likewise: above it the field calls a population changed
MIN_VALUES: Final = 100  # ten a group: with fewer, chance alone gives a PSI of 0.1 and more
MIN_MISSING: Final = 0.05  # of the rows; below it a change of how many lack a value is not worth a look
MIN_OUTSIDE: Final = (
    0.05  # of the values, above chance: a shift by a whole sigma, which is drift, puts 0.01 and more there
)
TESTS: Final = 2  # PSI's and KS's p-value: the smaller one, doubled, is one p-value (Bonferroni)
QUALITY_TESTS: Final = 2  # a column: missing values, values outside
SEVERITIES: Final[tuple[Severity, ...]] = ("none", "warning", "critical")


class CategoryShare(msgspec.Struct, frozen=True, kw_only=True):
    """A category's share of the values, in the reference and now; the last of a column is that of all others."""

    name: str
    reference: float
    current: float


class FeatureDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What one column's counts say; the statistics are None, and `reason` says why, where they cannot say anything.

    `n` are the rows with a value. `psi` and `ks` are as measured, chance included, and the exact KS distance is at most
    `ks_error` above `ks`; `p_value` is that of the column alone, before the correction for many columns that `drift`
    rests on. `severity` is `none` without drift, `critical` if PSI less its mean under no drift is at least
    `CRITICAL_PSI`, else `warning`. A category has `chi2` in place of KS, and `categories` with their shares.

    `jensen_shannon` and `wasserstein` stand beside them and decide nothing (`monitoring.distances`), nor does `impact`,
    the change of the mean score that comes from a feature's shift alone (`monitoring.impact`).

    Two questions of data quality, apart from `drift`, are asked of features. `missing` is the share of rows without a
    value, and `missing_drift` whether that differs from the reference's by more than chance and by at least
    `MIN_MISSING`. `outside` is the share of values below or above all of the reference's, or of a category that it does
    not have; chance alone gives `outside_chance` on average, and `outside_drift` says whether it is more than chance
    allows and at least `MIN_OUTSIDE` above its mean.
    """

    name: str
    kind: Kind
    n: int
    psi: float | None = None
    ks: float | None = None
    ks_error: float | None = None
    chi2: float | None = None
    p_value: float | None = None
    drift: bool = False
    severity: Severity = "none"
    reason: str | None = None
    jensen_shannon: float | None = None
    wasserstein: float | None = None
    missing: float | None = None
    missing_drift: bool = False
    outside: float | None = None
    outside_chance: float | None = None
    outside_drift: bool = False
    impact: float | None = None
    categories: list[CategoryShare] = []


class ModelDrift(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict over a window of `n` rows: the severity is the worst of all columns, score and label included."""

    n: int
    severity: Severity
    score: FeatureDrift
    label: FeatureDrift | None = None
    """The predicted classes; None if the reference does not have them."""
    features: list[FeatureDrift]

    @property
    def columns(self) -> list[FeatureDrift]:
        """All of them, in the order of `Reference.columns`."""
        return [*self.features, self.score, *([self.label] if self.label is not None else [])]


class _Evidence(NamedTuple):
    p_value: float
    psi_excess: float
    ks_excess: float
    statistics: dict[str, float | None]

    @property
    def large(self) -> bool:
        return max(self.psi_excess, self.ks_excess) >= MIN_EFFECT

    @property
    def severity(self) -> Severity:
        """Of a drift: PSI decides how bad it is, and one that only KS sees is still worth a warning."""
        return "critical" if self.psi_excess >= CRITICAL_PSI else "warning"


def judge(reference: Reference, counts: Counts, *, alpha: float = ALPHA) -> ModelDrift:
    """Compare a window's counts with the reference; counts of several windows or workers may be added up first.

    A column has drifted if its p-value survives Benjamini and Hochberg's procedure over the features, the score and the
    label, and its PSI or its KS is at least `MIN_EFFECT` above the mean under no drift: with many rows every trifle is
    significant, with few rows chance alone is large.

    Args:
        reference: what the counts were counted with.
        counts: as `DriftWindow.counts` gives them.
        alpha: the false discovery rate.

    Raises:
        ValueError: the counts belong to another reference.

    Example:
        >>> from monitoring.reference import build_reference
        >>> from monitoring.window import DriftWindow
        >>> rng = np.random.default_rng(7)
        >>> reference = build_reference(
        ...     rng.normal(size=(500, 2)), rng.random(500), names=["a", "b"], kinds=["float"] * 2, graph_sha256="00"
        ... )
        >>> window = DriftWindow(reference)
        >>> window.add(rng.normal([0, 1], 1, size=(300, 2)), rng.random(300))
        >>> [(column.name, column.severity) for column in judge(reference, window.counts()).features]
        [('a', 'none'), ('b', 'critical')]
    """
    columns = reference.columns
    cells = split_columns(columns, counts)
    found = [_weigh(column, live) for column, live in zip(columns, cells, strict=True)]
    p_values = [evidence.p_value if isinstance(evidence, _Evidence) else np.nan for evidence in found]
    rejected = benjamini_hochberg(p_values, alpha).tolist()
    level = alpha / (QUALITY_TESTS * len(columns))  # Bonferroni: a share that is off is off by far
    reports = [
        _report(column, live, evidence, significant=significant, level=level)
        for column, live, evidence, significant in zip(columns, cells, found, rejected, strict=True)
    ]
    width = len(reference.features)
    return ModelDrift(
        n=int(cells[-1].sum()),
        severity=max((drift.severity for drift in reports), key=SEVERITIES.index),
        score=reports[width],
        label=reports[width + 1] if reference.label is not None else None,
        features=[_with_outside(*known, level) for known in zip(reports[:width], columns, cells, strict=False)],
    )


def split_columns(columns: list[FeatureReference], counts: Counts) -> list[Counts]:
    """View each column's cells: its bins, then its missing count."""
    ends = np.cumsum([len(column.counts) + 1 for column in columns])
    if counts.shape != (ends[-1],):
        raise ValueError(f"counts of shape {counts.shape} belong to another reference: this one has {ends[-1]} cells")
    return np.split(counts, ends[:-1])


def _weigh(column: FeatureReference, cells: Counts) -> _Evidence | str:
    """Measure one column, or say why it cannot be measured."""
    reference, live = np.asarray(column.counts, dtype=np.int64), cells[:-1]
    n, m = int(live.sum()), int(reference.sum())
    starts = group_starts(column)
    if m < 2 * MIN_ROWS_PER_BIN:
        return f"the reference has {m} values, {2 * MIN_ROWS_PER_BIN} are needed"
    if starts.size < 2 and column.kind == "category":
        return f"no category has {MIN_ROWS_PER_BIN} rows in the reference"
    if len(column.edges) < 2 and column.kind != "category":
        return "the reference has no finite range"
    if n < MIN_VALUES:
        return f"{MIN_VALUES - n} more values needed: {n} of {MIN_VALUES}, and {cells[-1]} rows without one"
    few_reference, few_live = np.add.reduceat(reference, starts), np.add.reduceat(live, starts)
    index, p_value = psi(few_reference, few_live), homogeneity_p_value(few_reference, few_live)
    statistics: dict[str, float | None] = {
        "psi": index,
        "jensen_shannon": jensen_shannon(few_reference, few_live),
    }
    if len(column.effects) == starts.size:
        statistics["impact"] = impact(column.effects, few_reference, few_live)
    distance = None
    if column.kind == "category":
        statistics["chi2"] = chi2(few_reference, few_live)
    else:
        distance = ks(reference, live)
        p_value = min(TESTS * min(p_value, ks_p_value(distance, n, m)), 1.0)
        statistics |= {
            "ks": distance,
            "ks_error": ks_error(reference, live),
            "wasserstein": wasserstein(column.edges, reference, live) if len(column.edges) > 2 else None,
        }
    return _Evidence(
        p_value=p_value,
        psi_excess=index - null_psi(int(((few_reference + few_live) > 0).sum()), n, m),
        ks_excess=distance - null_ks(n, m) if distance is not None else 0.0,
        statistics=statistics,
    )


def _misses(column: FeatureReference, cells: Counts, level: float) -> bool:
    """Whether another share of the rows than in the reference has no value."""
    table = np.array([[sum(column.counts), column.missing], [cells[:-1].sum(), cells[-1]]])
    rows = table.sum(axis=1)
    if rows.min() < MIN_VALUES:
        return False
    before, now = table[:, 1] / rows
    return bool(abs(now - before) >= MIN_MISSING and homogeneity_p_value(*table) <= level)


def _with_outside(report: FeatureDrift, column: FeatureReference, cells: Counts, level: float) -> FeatureDrift:
    """Add what share of a feature's values lies where the reference has none, if there is such a place."""
    ends = [len(column.counts) - 1] if column.kind == "category" else [0, len(column.counts) - 1]
    empty = [end for end in ends if column.counts[end] == 0]
    n, m = report.n, sum(column.counts)
    if not n or not m or not empty:
        return report
    spare = column.counts.count(1) if column.kind == "category" else 1
    outside = int(cells[empty].sum())
    chance = outside_by_chance(m, spare)
    enough = n >= MIN_VALUES and m >= 2 * MIN_ROWS_PER_BIN and outside / n - chance >= MIN_OUTSIDE
    return msgspec.structs.replace(
        report,
        outside=outside / n,
        outside_chance=chance,
        outside_drift=enough and outside_p_value(outside, n, m, spare) <= level,
    )


def _report(
    column: FeatureReference, cells: Counts, evidence: _Evidence | str, *, significant: bool, level: float
) -> FeatureDrift:
    n, rows = int(cells[:-1].sum()), int(cells.sum())
    report = FeatureDrift(
        name=column.name,
        kind=column.kind,
        n=n,
        missing=int(cells[-1]) / rows if rows else None,
        missing_drift=_misses(column, cells, level),
        categories=_shares(column, cells[:-1]) if column.kind == "category" else [],
    )
    if isinstance(evidence, str):
        return msgspec.structs.replace(report, reason=evidence)
    drift = significant and evidence.large
    return msgspec.structs.replace(
        report,
        p_value=evidence.p_value,
        drift=drift,
        severity=evidence.severity if drift else "none",
        **evidence.statistics,
    )


def _shares(column: FeatureReference, live: Counts) -> list[CategoryShare]:
    n, m = max(int(live.sum()), 1), max(sum(column.counts), 1)
    return [
        CategoryShare(name=name, reference=then / m, current=now / n)
        for name, then, now in zip([*column.categories, OTHER], column.counts, live.tolist(), strict=True)
    ]
