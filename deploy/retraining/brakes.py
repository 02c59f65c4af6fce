"""The brakes: whether an alert trains anew now, and if not, why."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from monitoring.verdict import SEVERITIES

if TYPE_CHECKING:
    from deploy.retraining.settings import RetrainSettings
    from deploy.retraining.state import Attempt, Candidate, State
    from gateway.alerts import Alert

__all__ = ["Brake", "brake", "quarantined"]

DAY_S: Final = 86_400.0

BrakeName: TypeAlias = Literal[
    "state", "silenced", "model", "kind", "severity", "breach", "cool_down", "budget", "superseded", "busy"
]


class Brake(msgspec.Struct, frozen=True, kw_only=True):
    """What held an alert back."""

    name: BrakeName
    why: str


def brake(alert: Alert, state: State, settings: RetrainSettings, now: float) -> Brake | None:
    """The first brake that holds an alert; None: none does.

    Args:
        alert: the breach.
        state: in which no attempt is under way.
        settings: how hard they brake.
        now: Unix time. If the clock was set back, attempts in its future hold too.
    """
    return (
        _unfit(alert, settings)
        or _tried(alert, state)
        or _soon(alert, state, settings, now)
        or _superseded(alert, state)
    )


def quarantined(candidate: Candidate, state: State) -> Attempt | None:
    """The attempt in which the gate refused just this file, unless somebody released it.

    The same data and parameters give the same file, so it holds until the data changes.
    """
    for attempt in reversed(state.attempts):
        failed = attempt.verdict is not None and attempt.verdict.outcome == "fail"
        if failed and not attempt.released and attempt.candidate and attempt.candidate.sha256 == candidate.sha256:
            return attempt
    return None


def _unfit(alert: Alert, settings: RetrainSettings) -> Brake | None:
    """An alert that training does not answer."""
    if alert.state == "resolved":
        return Brake(name="state", why="the breach is over")
    if alert.silenced:
        return Brake(name="silenced", why="somebody has silenced it")
    if not any(fnmatchcase(alert.model, pattern) for pattern in settings.models) or not alert.model:
        about = f"the model {alert.model}" if alert.model else "no model"
        return Brake(
            name="model", why=f"it is about {about}; [retrain] models is {', '.join(settings.models) or 'empty'}"
        )
    if alert.kind not in settings.kinds:
        return Brake(name="kind", why=f"it is of kind {alert.kind}; [retrain] kinds is {', '.join(settings.kinds)}")
    severities: tuple[str, ...] = SEVERITIES
    if severities.index(alert.severity) < severities.index(settings.severity):
        return Brake(name="severity", why=f"it is {alert.severity}; [retrain] severity is {settings.severity}")
    return None


def _tried(alert: Alert, state: State) -> Brake | None:
    """A breach is answered once, whatever came of it."""
    for attempt in reversed(state.attempts):
        if attempt.alert.id == alert.id:
            if attempt.released:
                return None
            why = f"it was tried at {_time(attempt.started_at)}: {attempt.outcome}; {attempt.report} tells"
            return Brake(
                name="breach", why=f"{why}; hotgate retrain --release {alert.id} --reason TEXT lets it be tried again"
            )
    return None


def _soon(alert: Alert, state: State, settings: RetrainSettings, now: float) -> Brake | None:
    """Too soon after the last attempt at the model, or too many today."""
    ends = [attempt.ended_at or attempt.started_at for attempt in state.attempts if attempt.alert.model == alert.model]
    free_at = max(ends, default=-DAY_S) + settings.cool_down_s
    if ends and now < free_at:
        return Brake(name="cool_down", why=f"the last attempt at {alert.model} is too fresh; free at {_time(free_at)}")
    begins = sorted(attempt.started_at for attempt in state.attempts if attempt.started_at > now - DAY_S)
    if len(begins) >= settings.daily_max:
        free_at = begins[-settings.daily_max] + DAY_S
        return Brake(name="budget", why=f"{len(begins)} attempts within 24 hours; the next is free at {_time(free_at)}")
    return None


def _superseded(alert: Alert, state: State) -> Brake | None:
    """A breach of a version in whose place another was promoted: it still fires for up to a day."""
    for attempt in state.attempts:
        made = attempt.candidate
        if attempt.outcome != "promoted" or attempt.released or made is None:
            continue
        other = made.name == alert.model and made.sha256 != alert.sha256
        if other and alert.started_at < (attempt.ended_at or 0.0):
            why = f"it is about version {alert.version}; version {made.version} was promoted since it began"
            return Brake(name="superseded", why=why)
    return None


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
