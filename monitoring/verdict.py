"""Has the data drifted? Only if the shift is both more than chance and large enough to matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from monitoring.distances import jensen_shannon, wasserstein
from monitoring.ks import ks, ks_error, ks_p_value, null_ks
from monitoring.multiple import benjamini_hochberg
from monitoring.psi import merge_groups, null_psi, psi, psi_p_value
from monitoring.reference import MIN_ROWS_PER_BIN, FeatureReference, Kind, Reference

if TYPE_CHECKING:
    from monitoring.binning import Counts

Severity: TypeAlias = Literal["none", "warning", "critical"]

ALPHA: Final = 0.01  # the share of false ones among the features called drifted; none drifted: false verdicts a window
MIN_EFFECT: Final = 0.1  # PSI or KS above what chance gives; below it the field calls a population stable
CRITICAL_PSI: Final = 0.2  # likewise: above it the field calls a population changed
MIN_VALUES: Final = 100  # ten a group: with fewer, chance alone gives a PSI of 0.1 and more
MIN_MISSING: Final = 0.05  # of the rows; below it a change of how many lack a value is not worth a look
TESTS: Final = 2  # PSI's and KS's p-value: the smaller one, doubled, is one p-value (Bonferroni)
SEVERITIES: Final[tuple[Severity, ...]] = ("none", "warning", "critical")


class FeatureDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What one column's counts say; the statistics are None, and `reason` says why, where they cannot say anything.

    `n` are the rows with a value. `psi` and `ks` are as measured, chance included, and the exact KS distance is at most
    `ks_error` above `ks`; `p_value` is that of the column alone, before the correction for many columns that `drift`
    rests on. `severity` is `none` without drift, `critical` if PSI less its mean under no drift is at least
    `CRITICAL_PSI`, else `warning`.

    `jensen_shannon` and `wasserstein` stand beside them and decide nothing (`monitoring.distances`). `missing` is the
    share of rows without a value, and `missing_drift` whether that differs from the reference's by more than chance and
    by at least `MIN_MISSING`: a question of data quality, apart from `drift`.
    """

    name: str
    kind: Kind
    n: int
    psi: float | None = None
    ks: float | None = None
    ks_error: float | None = None
    p_value: float | None = None
    drift: bool = False
    severity: Severity = "none"
    reason: str | None = None
    jensen_shannon: float | None = None
    wasserstein: float | None = None
    missing: float | None = None
    missing_drift: bool = False


class ModelDrift(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict over a window of `n` rows: the severity is the worst of the score's and the features'."""

    n: int
    severity: Severity
    score: FeatureDrift
    features: list[FeatureDrift]


class _Evidence(NamedTuple):
    psi: float
    ks: float
    ks_error: float
    jensen_shannon: float
    wasserstein: float | None
    p_value: float
    psi_excess: float
    ks_excess: float

    @property
    def large(self) -> bool:
        return max(self.psi_excess, self.ks_excess) >= MIN_EFFECT

    @property
    def severity(self) -> Severity:
        """Of a drift: PSI decides how bad it is, and one that only KS sees is still worth a warning."""
        return "critical" if self.psi_excess >= CRITICAL_PSI else "warning"


def judge(reference: Reference, counts: Counts, *, alpha: float = ALPHA) -> ModelDrift:
    """Compare a window's counts with the reference; counts of several windows or workers may be added up first.

    A column has drifted if its p-value survives Benjamini and Hochberg's procedure over all columns and the score, and
    its PSI or its KS is at least `MIN_EFFECT` above the mean under no drift: with many rows every trifle is
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
    columns = [*reference.features, reference.score]
    cells = split_columns(columns, counts)
    found = [_weigh(column, live) for column, live in zip(columns, cells, strict=True)]
    p_values = [evidence.p_value if isinstance(evidence, _Evidence) else np.nan for evidence in found]
    rejected = benjamini_hochberg(p_values, alpha).tolist()
    level = alpha / len(columns)  # Bonferroni: a share that is off is off by far
    *features, score = (
        _report(column, live, evidence, significant=significant, missing_drift=_misses(column, live, level))
        for column, live, evidence, significant in zip(columns, cells, found, rejected, strict=True)
    )
    worst = max((drift.severity for drift in (*features, score)), key=SEVERITIES.index)
    return ModelDrift(n=int(cells[-1].sum()), severity=worst, score=score, features=features)


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
    if m < 2 * MIN_ROWS_PER_BIN:
        return f"the reference has {m} values, {2 * MIN_ROWS_PER_BIN} are needed"
    if not column.edges:
        return "constant in the reference"
    if n < MIN_VALUES:
        return f"{MIN_VALUES - n} more values needed: {n} of {MIN_VALUES}, and {cells[-1]} rows without one"
    starts = merge_groups(reference)
    few_reference, few_live = np.add.reduceat(reference, starts), np.add.reduceat(live, starts)
    index, distance = psi(few_reference, few_live), ks(reference, live)
    p_value = TESTS * min(psi_p_value(few_reference, few_live), ks_p_value(distance, n, m))
    return _Evidence(
        psi=index,
        ks=distance,
        ks_error=ks_error(reference, live),
        jensen_shannon=jensen_shannon(few_reference, few_live),
        wasserstein=wasserstein(column.edges, reference, live),
        p_value=min(p_value, 1.0),
        psi_excess=index - null_psi(starts.size, n, m),
        ks_excess=distance - null_ks(n, m),
    )


def _misses(column: FeatureReference, cells: Counts, level: float) -> bool:
    """Whether another share of the rows than in the reference has no value."""
    table = np.array([[sum(column.counts), column.missing], [cells[:-1].sum(), cells[-1]]])
    rows = table.sum(axis=1)
    if rows.min() < MIN_VALUES:
        return False
    before, now = table[:, 1] / rows
    return bool(abs(now - before) >= MIN_MISSING and psi_p_value(*table) <= level)


def _report(
    column: FeatureReference, cells: Counts, evidence: _Evidence | str, *, significant: bool, missing_drift: bool
) -> FeatureDrift:
    n, rows = int(cells[:-1].sum()), int(cells.sum())
    report = FeatureDrift(
        name=column.name,
        kind=column.kind,
        n=n,
        missing=int(cells[-1]) / rows if rows else None,
        missing_drift=missing_drift,
    )
    if isinstance(evidence, str):
        return msgspec.structs.replace(report, reason=evidence)
    drift = significant and evidence.large
    return msgspec.structs.replace(
        report,
        psi=evidence.psi,
        ks=evidence.ks,
        ks_error=evidence.ks_error,
        p_value=evidence.p_value,
        drift=drift,
        severity=evidence.severity if drift else "none",
        jensen_shannon=evidence.jensen_shannon,
        wasserstein=evidence.wasserstein,
    )
