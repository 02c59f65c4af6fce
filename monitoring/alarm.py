"""When a verdict becomes an alarm, and when that is over: decided on closed windows, with hysteresis; sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from monitoring.verdict import SEVERITIES, Severity

if TYPE_CHECKING:
    from monitoring.verdict import FeatureDrift, ModelDrift

RAISE_AFTER: Final = 2  # windows in a row: at a false-alarm rate of 1 % a window, one in 10,000 by chance
CLEAR_AFTER: Final = 2


class AlarmRule(msgspec.Struct, frozen=True, kw_only=True):
    """How many closed windows in a row it takes.

    Raises:
        ValueError: a number is below 1, or the severity is `none`.
    """

    severity: Severity = "warning"
    """From which on a window counts as a breach."""
    raise_after: int = RAISE_AFTER
    clear_after: int = CLEAR_AFTER

    def __post_init__(self) -> None:
        """Refuse rules that always or never fire."""
        if self.severity == "none" or self.raise_after < 1 or self.clear_after < 1:
            raise ValueError(
                "an alarm needs severity warning or critical, raise_after ≥ 1 and clear_after ≥ 1, got"
                f" {self.severity}, {self.raise_after}, {self.clear_after}"
            )


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """What is known after some window; `next` gives what is known after the following one.

    A window without a verdict (too few rows) changes nothing: silence is neither good news nor bad.
    """

    firing: bool = False
    severity: Severity = "none"
    """The worst of the windows that belong to the breach."""
    streak: int = 0
    """Windows in a row that speak against the present state."""
    breach_since: float | None = None
    """Begin of the first window of the breach, or of the streak that may become one; Unix time."""

    def next(self, found: Severity | None, start: float, rule: AlarmRule) -> Alarm:
        """Take the verdict of the next closed window into account.

        Args:
            found: its severity; None if it could not be judged.
            start: its begin, in Unix time.
            rule: what makes a breach.
        """
        if found is None:
            return self
        breach = SEVERITIES.index(found) >= SEVERITIES.index(rule.severity)
        worst = max(self.severity, found, key=SEVERITIES.index)
        if self.firing:
            calm = 0 if breach else self.streak + 1
            if calm >= rule.clear_after:
                return Alarm()
            return Alarm(
                firing=True, severity=worst if breach else self.severity, streak=calm, breach_since=self.breach_since
            )
        if not breach:
            return Alarm()
        since = start if self.breach_since is None else self.breach_since
        streak = self.streak + 1
        firing = streak >= rule.raise_after
        return Alarm(firing=firing, severity=worst, streak=0 if firing else streak, breach_since=since)


def severities(verdict: ModelDrift) -> dict[str, Severity | None]:
    """A closed window's severity by the kind of alarm it speaks of; None where nothing can be said.

    `data_drift` is the worst of the features', `score_drift` of the score's and the predicted classes', `data_quality`
    is `warning` if the share of missing values of a feature has changed, or too many lie where the reference has none.
    """
    quality: Severity = "warning" if any(map(_bad, verdict.features)) else "none"
    return {
        "data_drift": _worst(verdict.features),
        "score_drift": _worst(_answers(verdict)),
        "data_quality": quality if verdict.n else None,
    }


def _worst(columns: list[FeatureDrift]) -> Severity | None:
    judged = [column.severity for column in columns if column.p_value is not None]
    return max(judged, key=SEVERITIES.index) if judged else None


def _answers(verdict: ModelDrift) -> list[FeatureDrift]:
    return [verdict.score] if verdict.label is None else [verdict.score, verdict.label]


def _bad(column: FeatureDrift) -> bool:
    return column.missing_drift or column.outside_drift


def evidence(verdict: ModelDrift, kind: str, most: int = 5) -> list[FeatureDrift]:
    """The columns that an alarm of that kind rests on, the largest shift first.

    Of features, the one that moves the score most is first, where that is known.
    """
    if kind == "data_quality":
        found = [feature for feature in verdict.features if _bad(feature)]
        return sorted(found, key=lambda feature: max(feature.missing or 0.0, feature.outside or 0.0), reverse=True)[
            :most
        ]
    if kind == "score_drift":
        return [column for column in _answers(verdict) if column.drift] or [verdict.score]
    found = [feature for feature in verdict.features if feature.drift]
    return sorted(found, key=lambda feature: (abs(feature.impact or 0.0), feature.psi or 0.0), reverse=True)[:most]
