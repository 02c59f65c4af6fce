"""`[[monitor.rules]]`: what counts as a breach, by model, kind and feature; the first rule that matches holds."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.alerts import KINDS, Evidence
from monitoring.alarm import AlarmRule
from monitoring.verdict import MIN_EFFECT, SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.observe.base import Condition

__all__ = ["Rule", "Rules"]

_SETS: Final = ("ignore", "severity", "min_effect", "raise_after", "clear_after")
_EFFECTS: Final = ("psi", "ks")
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
        if self.severity not in {None, *SEVERITIES[1:]}:
            raise ValueError(f"severity must be {' or '.join(SEVERITIES[1:])}, not {self.severity!r}")
        if self.min_effect is not None and not MIN_EFFECT <= self.min_effect <= EFFECT_MAX:
            raise ValueError(f"min_effect must be {MIN_EFFECT:g} to {EFFECT_MAX:g}, not {self.min_effect:g}")
        if self.min_effect is not None and self.kind not in {None, "data_drift", "score_drift"}:
            raise ValueError(f"min_effect is of data_drift and score_drift, not of {self.kind}")
        for key in ("raise_after", "clear_after"):
            value = getattr(self, key)
            if value is not None and not 1 <= value <= 100:
                raise ValueError(f"{key} must be 1 to 100, not {value}")
            if value is not None and self.features:
                raise ValueError(f"{key} counts windows of all features together: leave features out, not {value}")
        sets = [key for key in _SETS if getattr(self, key) not in {None, False}]
        if not sets or (self.ignore and len(sets) > 1):
            raise ValueError(f"a rule sets ignore alone, or some of {', '.join(_SETS[1:])}, not {sets or 'nothing'}")

    def matches(self, found: Condition, name: str | None) -> bool:
        """Whether it holds for a piece of evidence; for the alarm as a whole where the name is None."""
        if not fnmatchcase(found.model, self.model) or self.kind not in {None, found.kind}:
            return False
        return not self.features or (name is not None and any(fnmatchcase(name, each) for each in self.features))


class Rules:
    """All of them, and what holds where none does.

    Args:
        rules: in order.
        default: what `[monitor]` says.
    """

    def __init__(self, rules: Sequence[Rule], default: AlarmRule) -> None:
        self._rules = (*rules, Rule(severity=default.severity))
        self._default = default

    def apply(self, found: Condition) -> tuple[Condition, AlarmRule]:
        """What is left of a condition's evidence, and how many windows in a row it takes."""
        rule = self._first(found, None)
        counting = AlarmRule(
            raise_after=rule.raise_after or self._default.raise_after,
            clear_after=rule.clear_after or self._default.clear_after,
        )
        if found.evidence is None:
            return found, counting
        left = tuple(kept for evidence in found.evidence if (kept := self._weigh(found, evidence)) is not None)
        return msgspec.structs.replace(found, evidence=left), counting

    def _first(self, found: Condition, name: str | None) -> Rule:
        return next(rule for rule in self._rules if rule.matches(found, name))

    def _weigh(self, found: Condition, evidence: Evidence) -> Evidence | None:
        rule = self._first(found, evidence.name)
        least = rule.severity or self._default.severity
        if rule.ignore or SEVERITIES.index(evidence.severity) < SEVERITIES.index(least):
            return None
        if rule.min_effect is None or evidence.statistic not in _EFFECTS:
            return evidence
        if evidence.value < rule.min_effect:
            return None
        return msgspec.structs.replace(evidence, threshold=rule.min_effect)
