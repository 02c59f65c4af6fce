"""The section `[retrain]`: which alerts train anew, how often, and what becomes of the version."""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from gateway.alerts import Kind

__all__ = ["RetrainSettings"]

# key -> (smallest, largest) allowed value
_BOUNDS = {
    "cool_down_s": (0, 30 * 86_400),
    "daily_max": (1, 1000),
    "step_timeout_s": (1, 7 * 86_400),
    "poll_s": (0.1, 3600),
}


class RetrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When an alert trains anew, and how.

    Raises:
        ValueError: a value lies outside its range; the message names key, bound and value.
    """

    models: tuple[str, ...] = ("*",)
    """Models whose alerts count, by name; `*` and `?` stand for any characters."""
    kinds: tuple[Kind, ...] = ("data_drift", "score_drift", "performance", "concept_drift")
    """Kinds of alerts that count; others are about what training does not mend."""
    severity: Literal["warning", "critical"] = "warning"
    """From which severity on an alert counts."""
    cool_down_s: float = 21_600.0
    """Least rest between two attempts at one model, in seconds, 0 to 2,592,000."""
    daily_max: int = 4
    """Most attempts within 24 hours, at all models together, 1 to 1,000."""
    promote: bool = False
    """Whether a version that passes the gate goes into Production by itself."""
    project: str = "."
    """Folder with dvc.yaml and params.yaml; best a clone of its own, in which nobody works."""
    pull: tuple[str, ...] = ("git pull --ff-only", "dvc pull")
    """Commands that bring the data, run in the project one after the other, without a shell; empty: none."""
    step_timeout_s: float = 14_400.0
    """How long one command may take, in seconds, 1 to 604,800."""
    poll_s: float = 10.0
    """Pause between two looks of `hotgate watch` at the alerts, in seconds, 0.1 to 3,600."""

    def __post_init__(self) -> None:
        for key, (low, high) in _BOUNDS.items():
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"{key} must be {low} to {high}, not {value}")
        for line in self.pull:
            try:
                words = shlex.split(line)
            except ValueError as error:
                raise ValueError(f"pull holds a command that cannot be read ({error}): {line!r}") from None
            if not words:
                raise ValueError(f"pull holds an empty command: {line!r}")
        if "ops" in self.kinds:
            raise ValueError(
                "kinds must not hold 'ops': those alerts are about the server, which training does not mend"
            )
