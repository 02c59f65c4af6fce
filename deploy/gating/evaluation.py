"""How good a candidate is beside the champion: one check for each measure, and for each slice that lost.

Each check has a limit, an estimate and an interval. The estimate is held against the limit, the interval against
"nothing has changed", so that luck neither promotes a model nor refuses one:

- What must improve (ROC AUC, `auc_improvement_min` above 0): fail if the estimate is below the minimum; pass if it
  reaches it and the whole interval is above 0; inconclusive if it reaches it, but the interval says it may be luck.
- What must not get worse (all others): pass if the estimate is within the limit; fail if it is beyond and the whole
  interval is on the worse side of 0; inconclusive if it is beyond, but the interval says that it may be bad luck.
- Without a champion: fail if the estimate misses its threshold; pass if the whole interval keeps it; else inconclusive.
- Too few rows of a class: inconclusive; a slice with too few is left out, and the check `slices` says how many were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deploy.gating.evidence import EvidenceError
from deploy.gating.paired import MEASURES, Estimate, compare, roc_auc, value
from gateway.sync.gate_record import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from converters.modelfile import Signature
    from deploy.gating.evidence import Judge, Side
    from deploy.gating.paired import Name
    from deploy.gating.settings import GateSettings
    from gateway.sync.gate_record import GateOutcome

    Mask = npt.NDArray[np.bool_]

__all__ = ["evaluate", "must_improve", "must_keep", "must_reach"]


def must_improve(gain: Estimate, minimum: float) -> GateOutcome:
    """Whether a gain is large enough, and no luck; `minimum` is above 0."""
    if gain.estimate < minimum:
        return "fail"
    return "pass" if gain.low > 0 else "inconclusive"


def must_keep(loss: Estimate, limit: float) -> GateOutcome:
    """Whether a loss (above 0 is worse) is within its limit; beyond it, whether it can be bad luck."""
    if loss.estimate <= limit:
        return "pass"
    return "fail" if loss.low > 0 else "inconclusive"


def must_reach(found: Estimate, threshold: float) -> GateOutcome:
    """Whether a figure (higher is better) keeps a threshold."""
    if found.estimate < threshold:
        return "fail"
    return "pass" if found.low >= threshold else "inconclusive"


def evaluate(candidate: Side, champion: Side | None, judge: Judge, settings: GateSettings) -> tuple[Check, ...]:
    """Hold the candidate to the champion, or to absolute thresholds if there is none, on the judge's rows.

    Raises:
        EvidenceError: the settings name a column that the model has not.
    """
    columns = [column.name for column in candidate.metadata.signature.columns]
    for name in settings.slice_columns:
        if name not in columns:
            raise EvidenceError(f"[gate] slice_columns names {name!r}; the model has {', '.join(columns)}")
    counts = np.bincount(judge.codes, minlength=len(candidate.metadata.signature.classes))
    if counts.min() < settings.class_rows_min:
        reason = (
            f"only {counts.min()} of at least {settings.class_rows_min} rows of a class are left to judge by;"
            f" {judge.known} were left out because a model was fitted on them"
        )
        return (Check(name="roc_auc", outcome="inconclusive", reason=reason),)
    if champion is None:
        return _first(candidate, judge, settings)
    return _Contest(candidate, champion, judge, settings).checks()


class _Contest:
    """Both models' answers to the same rows."""

    def __init__(self, candidate: Side, champion: Side, judge: Judge, settings: GateSettings) -> None:
        self._judge, self._settings, self._signature = judge, settings, candidate.metadata.signature
        self._new, self._old = candidate.probabilities(judge.rows), champion.probabilities(judge.rows)

    def checks(self) -> tuple[Check, ...]:
        """All measures, then the slices."""
        settings = self._settings
        return (
            self._auc(),
            self._loss("log_loss", settings.log_loss_rise_max),
            self._loss("accuracy", settings.accuracy_drop_max),
            self._loss("brier", settings.brier_rise_max),
            *self._slices(),
        )

    def _auc(self) -> Check:
        minimum = self._settings.auc_improvement_min
        if minimum <= 0:
            return self._loss("roc_auc", -minimum)
        gain = self._difference("roc_auc")
        said, best = self._say("roc_auc", gain), 1 - value(roc_auc, self._judge.codes, self._old)
        hint = "" if best >= minimum else f"; a perfect model would gain {best:.4f} only: lower auc_improvement_min"
        reason = f"{said}, at least {minimum:+.4f} is asked for{hint}"
        return Check(name="roc_auc", outcome=must_improve(gain, minimum), reason=reason)

    def _loss(self, name: Name, limit: float) -> Check:
        found = self._difference(name)
        higher_is_better = name in {"roc_auc", "accuracy"}
        loss = _negated(found) if higher_is_better else found
        bound = f"at least {-limit:+.4f}" if higher_is_better else f"at most {limit:+.4f}"
        return Check(name=name, outcome=must_keep(loss, limit), reason=f"{self._say(name, found)}, {bound} is allowed")

    def _slices(self) -> Iterator[Check]:
        """A check for each slice that did not pass, and one that tells how many were looked at."""
        limit, codes = self._settings.slice_auc_drop_max, self._judge.codes
        every = list(_slices(self._judge, self._signature, self._settings))
        large = [(name, mask) for name, mask in every if self._enough(codes[mask])]
        passed = 0
        for name, mask in large:
            found = self._difference("roc_auc", mask, shared_by=len(large))
            outcome = must_keep(_negated(found), limit)
            passed += outcome == "pass"
            if outcome != "pass":
                reason = f"{self._say('roc_auc', found, mask)}, at least {-limit:+.4f} is allowed"
                yield Check(name=f"slice {name}", outcome=outcome, reason=reason)
        if every:
            few = len(every) - len(large)
            reason = f"{passed} of {len(large)} slices keep their ROC AUC; {few} have too few rows to tell"
            yield Check(name="slices", outcome="pass", reason=reason)

    def _enough(self, codes: npt.NDArray[np.int64]) -> bool:
        counts = np.bincount(codes, minlength=len(self._signature.classes))
        return bool(counts.min() >= self._settings.class_rows_min)

    def _difference(self, name: Name, mask: Mask | slice = slice(None), *, shared_by: int = 1) -> Estimate:
        """Candidate minus champion; of several slices the intervals are as wide as Bonferroni asks."""
        return compare(
            MEASURES[name],
            self._judge.codes[mask],
            self._new[mask],
            self._old[mask],
            draws=self._settings.draws,
            seed=self._settings.seed,
            confidence=1 - (1 - self._settings.confidence) / shared_by,
        )

    def _say(self, name: Name, found: Estimate, mask: Mask | slice = slice(None)) -> str:
        codes = self._judge.codes[mask]
        new, old = (value(MEASURES[name], codes, side[mask]) for side in (self._new, self._old))
        interval = f"{found.low:+.4f} to {found.high:+.4f}"
        return f"{new:.4f} against {old:.4f} on {found.rows} rows: {found.estimate:+.4f} ({interval})"


def _first(candidate: Side, judge: Judge, settings: GateSettings) -> tuple[Check, ...]:
    """Absolute thresholds, those that are set."""
    probabilities = candidate.probabilities(judge.rows)
    asked: dict[Name, float | None] = {
        "roc_auc": settings.first_auc_min,
        "accuracy": settings.first_accuracy_min,
        "log_loss": settings.first_log_loss_max,
    }
    checks = []
    for name, threshold in asked.items():
        if threshold is None:
            continue
        found = compare(
            MEASURES[name],
            judge.codes,
            probabilities,
            None,
            draws=settings.draws,
            seed=settings.seed,
            confidence=settings.confidence,
        )
        lower = name == "log_loss"
        outcome = must_reach(_negated(found), -threshold) if lower else must_reach(found, threshold)
        bound = f"at {'most' if lower else 'least'} {threshold:.4f} is asked for"
        reason = f"{found.estimate:.4f} ({found.low:.4f} to {found.high:.4f}) on {found.rows} rows, {bound}"
        checks.append(Check(name=name, outcome=outcome, reason=reason))
    return tuple(checks)


def _slices(judge: Judge, signature: Signature, settings: GateSettings) -> Iterator[tuple[str, Mask]]:
    """Each value of a category, and the quantiles of the columns that the settings name."""
    for place, column in enumerate(signature.columns):
        values = judge.rows[:, place]
        if column.kind == "category":
            for each in np.unique(values):
                yield f"{column.name}={each:g}", values == each
        elif column.name in settings.slice_columns:
            edges = np.quantile(values, np.linspace(0, 1, settings.slice_quantiles + 1)[1:-1])
            cells = np.searchsorted(edges, values, side="left")
            for cell in np.unique(cells):
                part = values[cells == cell]
                yield f"{column.name} {part.min():.6g} to {part.max():.6g}", cells == cell


def _negated(found: Estimate) -> Estimate:
    """The same with the other sign, so that above 0 is worse."""
    return Estimate(
        estimate=-found.estimate, low=-found.high, high=-found.low, confidence=found.confidence, rows=found.rows
    )
