"""The section `[gate]`: what a version must show before it may serve."""

from __future__ import annotations

import math

import msgspec

__all__ = ["GateSettings"]

_INFINITE = float("inf")

# key -> (smallest, largest) allowed value; an unset one is not looked at
_BOUNDS = {
    "auc_improvement_min": (-1.0, 1.0),
    "log_loss_rise_max": (0.0, _INFINITE),
    "accuracy_drop_max": (0.0, 1.0),
    "brier_rise_max": (0.0, 1.0),
    "slice_auc_drop_max": (0.0, 1.0),
    "slice_quantiles": (2, 20),
    "class_rows_min": (2, 1_000_000),
    "first_auc_min": (0.0, 1.0),
    "first_accuracy_min": (0.0, 1.0),
    "first_log_loss_max": (0.0, _INFINITE),
    "p99_ratio_max": (0.1, 100.0),
    "p99_budget_ms": (0.001, 60_000.0),
    "draws": (200, 100_000),
    "seed": (0, 2**32 - 1),
    "confidence": (0.5, 0.999),
}


class GateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate demands.

    Raises:
        ValueError: a value lies outside its range; the message names key, bound and value.
    """

    auc_improvement_min: float = 0.005
    """How much better than the champion's the ROC AUC must be; below 0 it is how much worse it may be; -1 to 1."""
    log_loss_rise_max: float = 0.02
    """How much the log loss may rise above the champion's, in nats; 0 or more."""
    accuracy_drop_max: float = 0.01
    """How much the accuracy may fall below the champion's; 0 to 1."""
    brier_rise_max: float = 0.01
    """How much the Brier score (calibration) may rise above the champion's; 0 to 1."""
    slice_columns: tuple[str, ...] = ()
    """Columns whose quantiles are slices; each value of a category is one in any case."""
    slice_quantiles: int = 4
    """Slices of a column in `slice_columns`, with about equally many rows; 2 to 20."""
    slice_auc_drop_max: float = 0.02
    """How much the ROC AUC in a slice may fall below the champion's; 0 to 1."""
    class_rows_min: int = 10
    """Rows of each class that a judgement needs, of all rows and of a slice; 2 to 1000000."""
    first_auc_min: float | None = 0.7
    """Where there is no champion: the least ROC AUC; 0 to 1."""
    first_accuracy_min: float | None = None
    """Where there is no champion: the least accuracy; 0 to 1."""
    first_log_loss_max: float | None = None
    """Where there is no champion: the largest log loss, in nats; 0 or more."""
    p99: bool = True
    """Whether p99 is measured at all; `false`: a verdict on file and answers alone, which says so."""
    p99_ratio_max: float = 1.25
    """How many times the champion's p99 the candidate's may be, at half of the champion's maximum; 0.1 to 100."""
    p99_budget_ms: float | None = None
    """The largest p99, in milliseconds, besides; unset: none; 0.001 to 60000."""
    draws: int = 2000
    """Bootstrap samples that an interval comes from; 200 to 100000."""
    seed: int = 42
    """Of the bootstrap; equal seeds give equal intervals; 0 to 4294967295."""
    confidence: float = 0.95
    """Of each interval; those of slices are wider, so that it holds for all of them together; 0.5 to 0.999."""

    def __post_init__(self) -> None:
        for key, (low, high) in _BOUNDS.items():
            value = getattr(self, key)
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                raise ValueError(f"{key} must be between {low} and {high}, not {value}")
