"""One alarm from calm to breach and back: what is known of it, and what the next condition changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.alerts import Alert
from monitoring.alarm import Alarm, AlarmRule

if TYPE_CHECKING:
    from gateway.observe.base import Condition

__all__ = ["EVIDENCE_MAX", "SILENT_S", "Breach"]

SILENT_S: Final = 86_400.0
"""A breach ends if no window could be judged for so long: the version no longer serves."""
EVIDENCE_MAX: Final = 5
"""Most pieces of evidence in an alert."""


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an alarm; `take` gives what is known after one more condition."""

    alarm: Alarm = Alarm()
    until: float = 0.0
    """End of the last window that was looked at."""
    judged_at: float = 0.0
    """End of the last one that could be judged."""
    alert: Alert | None = None
    """The one that fires, with the newest evidence."""
    names: tuple[str, ...] = ()
    """All that the breach rests on now."""
    told: tuple[str, ...] = ()
    """The sinks that were given the firing alert: they are given the resolved one."""

    def take(self, found: Condition, rule: AlarmRule) -> Breach:
        """Take a condition into account, whose window is none of those before."""
        if found.evidence is None:
            return self if found.at_once else self._wait(found)
        if found.at_once:
            alarm = self.alarm.next(found.severity, found.since, AlarmRule(raise_after=1, clear_after=1))
            if alarm == self.alarm and self.names == _names(found):
                return self  # the same again: nothing to keep
            return _with(self, alarm, found)
        alarm = self.alarm.next(found.severity, found.since, rule)
        after = _with(self, alarm, found)
        return msgspec.structs.replace(after, until=found.until, judged_at=found.until)

    def _wait(self, found: Condition) -> Breach:
        """No news, unless for too long."""
        if self.alert is not None and found.until - self.judged_at >= SILENT_S:
            return msgspec.structs.replace(self.end(found.until), until=found.until)
        return msgspec.structs.replace(self, until=found.until)

    def end(self, at: float) -> Breach:
        """It is over."""
        return msgspec.structs.replace(self, alarm=Alarm(), alert=_ended(self.alert, at), names=())


def _with(before: Breach, alarm: Alarm, found: Condition) -> Breach:
    if not alarm.firing:
        return msgspec.structs.replace(before, alarm=alarm, alert=_ended(before.alert, found.until), names=())
    names = _names(found) or before.names
    return msgspec.structs.replace(before, alarm=alarm, alert=_firing(before.alert, alarm, found), names=names)


def _firing(before: Alert | None, alarm: Alarm, found: Condition) -> Alert:
    """The alert of a breach, which keeps its name, and its evidence while a window is calm."""
    started = found.since if alarm.breach_since is None else alarm.breach_since
    if before is not None and not found.evidence:
        return before
    if before is not None:
        return msgspec.structs.replace(
            before, severity=alarm.severity, evidence=list((found.evidence or ())[:EVIDENCE_MAX]), text=found.text
        )
    return Alert(
        id=f"{found.key}-{started:.0f}",
        state="firing",
        model=found.model,
        version=found.version,
        sha256=found.sha256,
        kind=found.kind,
        about=found.about,
        severity=alarm.severity,
        started_at=started,
        ended_at=None,
        evidence=list((found.evidence or ())[:EVIDENCE_MAX]),
        text=found.text,
    )


def _ended(alert: Alert | None, at: float) -> Alert | None:
    return None if alert is None else msgspec.structs.replace(alert, state="resolved", ended_at=at)


def _names(found: Condition) -> tuple[str, ...]:
    return tuple(evidence.name for evidence in found.evidence or ())
