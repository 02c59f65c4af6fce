"""What counts as a breach, by model, kind and feature: the first rule that matches holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.observe.rule import Rule
from monitoring.alarm import AlarmRule
from monitoring.verdict import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.alerts import Evidence
    from gateway.observe.base import Condition

__all__ = ["Rules"]

_EFFECTS: Final = ("psi", "ks")


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
