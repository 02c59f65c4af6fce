"""The observer's settings: section `[monitor]` of `hotgate.toml`."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.observe.rule import Rule

__all__ = ["MonitorSettings"]


class MonitorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an alarm, and what is logged of the scored rows."""

    window_s: int = 900
    """Length of the closed windows that alarms are judged on, in seconds; a multiple of 300, up to 86,400."""
    severity: Literal["warning", "critical"] = "warning"
    """From which on a window counts as a breach."""
    raise_after: int = 2
    """Windows in a row with a breach until the alarm fires, 1 to 100."""
    clear_after: int = 2
    """Windows in a row without one until it is over, 1 to 100."""
    truth_keep_rows: int = 1_000_000
    """Most predictions, and most labels, that are kept to be joined, 1,000 to 100,000,000; see ground-truth.md."""
    truth_keep_days: float = 30.0
    """Age from which on predictions are forgotten, in days, 7 to 3,650."""
    accuracy_min: float | None = None
    """Accuracy below which a model is too bad, 0 to 1; unset: none."""
    roc_auc_min: float | None = None
    """ROC AUC below which a model is too bad, 0 to 1; unset: none."""
    performance_margin: float = 0.05
    """How far accuracy and ROC AUC may fall below those of a version's first 1,000 labels, 0.001 to 1."""
    error_margin: float = 0.2
    """By which share errors of numbers may rise above those of a version's first 1,000 labels, 0.01 to 100."""
    rules: tuple[Rule, ...] = ()
    """What counts as a breach, by model, kind and feature: `[[monitor.rules]]`."""
    webhooks: tuple[str, ...] = ()
    """Where alerts are sent: URLs, one that begins with `slack+` or `alertmanager+` in that format."""
    webhook_secret: str | None = None
    """Signs what is sent, as `X-Hotgate-Signature`; unset: no signature."""
    idle_scheduling: bool = True
    """Whether the observer takes only CPU time that nobody else wants (SCHED_IDLE): workers never wait for it."""
    log_sample: float = 1.0
    """Share of the requests that the prediction log holds, 0 to 1, by a hash of their ids; 0: no log."""
    log_redact: tuple[str, ...] = ()
    """Columns whose values are never logged, of any model."""
    log_keep_days: float = 30.0
    """Age from which on logged rows are removed, in days, above 0."""
    log_keep_bytes: int = 2 * 2**30
    """What the log may take on disk, at least 1,048,576; above it the oldest rows are removed."""

    def __post_init__(self) -> None:
        """Refuse impossible values, naming key, bound and value."""
        if not 300 <= self.window_s <= 86_400 or self.window_s % 300:
            raise ValueError(f"window_s must be a multiple of 300, 300 to 86400, not {self.window_s}")
        for address in self.webhooks:
            from gateway.observe.webhook import Webhook  # `hotgate serve` reads this, and httpx is heavy

            Webhook(address)
        for key, low, high in (
            ("truth_keep_rows", 1000, 100_000_000),
            ("truth_keep_days", 7, 3650),
            ("accuracy_min", 0, 1),
            ("roc_auc_min", 0, 1),
            ("performance_margin", 0.001, 1),
            ("error_margin", 0.01, 100),
        ):
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{key} must be {low} to {high}, not {value}")
        if not 0 <= self.log_sample <= 1:
            raise ValueError(f"log_sample must be 0 to 1, not {self.log_sample:g}")
        if not self.log_keep_days > 0:
            raise ValueError(f"log_keep_days must be above 0, not {self.log_keep_days:g}")
        if self.log_keep_bytes < 2**20:
            raise ValueError(f"log_keep_bytes must be at least {2**20}, not {self.log_keep_bytes}")
        for key in ("raise_after", "clear_after"):
            if not 1 <= getattr(self, key) <= 100:
                raise ValueError(f"{key} must be 1 to 100, not {getattr(self, key)}")
