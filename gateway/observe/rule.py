"""One of `[[monitor.rules]]`; imports nothing large: who reads settings reads this."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.alerts import KINDS

if TYPE_CHECKING:
    from gateway.observe.base import Condition

__all__ = ["Rule"]

_SETS: Final = ("ignore", "severity", "min_effect", "raise_after", "clear_after")
EFFECT_MAX: Final = 100.0


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For which evidence it holds, and what it sets; what it leaves out is as `[monitor]` says.

    Raises:
        ValueError: a value is impossible, or the rule sets nothing; names key, what is allowed and the value.
    """

    model: str = "*"
    """Name of the model, with `*` and `?` for any characters."""
    kind: str | None = None
    """`data_drift`, `score_drift`, `data_quality`, `performance`, `concept_drift` or `ops`; unset: all."""
    features: tuple[str, ...] = ()
    """Names of the evidence, with `*` and `?`: features, for `ops` the part of the server; unset: all."""
    ignore: bool = False
    """Whether it is no breach, however large."""
    severity: str | None = None
    """From which on it is a breach: `warning` or `critical`."""
    min_effect: float | None = None
    """Smallest PSI or KS, as shown, that is a breach; 0.1 to 100; only for `data_drift` and `score_drift`."""
    raise_after: int | None = None
    """Windows in a row until the alarm fires, 1 to 100; for the alarm as a whole, so without `features`."""
    clear_after: int | None = None
    """Windows in a row until it is over, likewise."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.severity not in {None, "warning", "critical"}:
            raise ValueError(f"severity must be warning or critical, not {self.severity!r}")
        if self.min_effect is not None:
            self._check_effect(self.min_effect)
        for key in ("raise_after", "clear_after"):
            value = getattr(self, key)
            if value is not None and not 1 <= value <= 100:
                raise ValueError(f"{key} must be 1 to 100, not {value}")
            if value is not None and self.features:
                raise ValueError(f"{key} counts windows of all features together: leave features out, not {value}")
        sets = [key for key in _SETS if getattr(self, key) not in {None, False}]
        if not sets or (self.ignore and len(sets) > 1):
            raise ValueError(f"a rule sets ignore alone, or some of {', '.join(_SETS[1:])}, not {sets or 'nothing'}")

    def _check_effect(self, value: float) -> None:
        from monitoring.verdict import MIN_EFFECT

        if not MIN_EFFECT <= value <= EFFECT_MAX:
            raise ValueError(f"min_effect must be {MIN_EFFECT:g} to {EFFECT_MAX:g}, not {value:g}")
        if self.kind not in {None, "data_drift", "score_drift"}:
            raise ValueError(f"min_effect is of data_drift and score_drift, not of {self.kind}")

    def matches(self, found: Condition, name: str | None) -> bool:
        """Whether it holds for a piece of evidence; for the alarm as a whole where the name is None."""
        if not fnmatchcase(found.model, self.model) or self.kind not in {None, found.kind}:
            return False
        return not self.features or (name is not None and any(fnmatchcase(name, each) for each in self.features))
