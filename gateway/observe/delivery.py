"""From outboxes to sinks: in order, tried again, none held up by another."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gateway.alerts import Evidence
from gateway.observe.base import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from gateway.alerts import Alert
    from gateway.observe.base import Sink

__all__ = ["WAITING_MAX", "Delivery", "Outboxes"]

_log = logging.getLogger("hotgate.alarms")

FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 300.0
"""Between two attempts at a sink that does not take an alert; doubled each time."""
WAITING_MAX: Final = 100
"""Most alerts that wait for one sink."""
FAILING_S: Final = 120.0
"""For how long a sink must have taken nothing before others are told."""

Outboxes = dict[str, list["Alert"]]


class _Trouble:
    """A sink that did not take the last alert."""

    def __init__(self, now: float) -> None:
        self.since = now
        self.again_at = now
        self.wait_s = FIRST_WAIT_S
        self.why = ""

    def failed(self, now: float, why: str) -> None:
        self.again_at, self.wait_s, self.why = now + self.wait_s, min(2 * self.wait_s, LONGEST_WAIT_S), why


class Delivery:
    """Delivers to all sinks; also a source of alarms, on sinks that take nothing.

    Args:
        sinks: each is given its alerts in order.
        clock: wall time.
    """

    name = "delivery"

    def __init__(self, sinks: Sequence[Sink], clock: Callable[[], float] = time.time) -> None:
        self.sinks = sinks
        self._clock = clock
        # By sink, since this process began: trouble, and when what fires was last repeated.
        self._troubles: dict[str, _Trouble] = {}
        self._repeated: dict[str, float] = {}

    def put(self, outboxes: Outboxes, alert: Alert, sinks: Container[str]) -> None:
        """Put an alert into the outboxes of these sinks, if they are still there; of too many, the oldest are lost."""
        for sink in self.sinks:
            if sink.name not in sinks:
                continue
            waiting = [*outboxes.get(sink.name, []), alert]
            if len(waiting) > WAITING_MAX:
                _log.error("%s takes no alerts: the oldest of %d are dropped", sink.name, len(waiting))
            outboxes[sink.name] = waiting[-WAITING_MAX:]

    def takers(self, alert: Alert) -> tuple[str, ...]:
        """The sinks that an alert goes to: not the one that it is about."""
        takers = (sink for sink in self.sinks if sink.takes_silenced or not alert.silenced)
        return tuple(sink.name for sink in takers if alert.about != _about(sink.name))

    def attempt(self, sink: Sink, waiting: list[Alert]) -> str | None:
        """Deliver the first of what waits for a sink, unless it failed just before; returns what is wrong with it."""
        trouble = self._troubles.get(sink.name)
        if trouble is not None and self._clock() < trouble.again_at:
            return f"{len(waiting)} alerts wait"
        return self._try(sink, waiting[0])

    def repeat(self, sink: Sink, firing: Iterable[Alert]) -> str | None:
        """Deliver once more what fires, where the sink wants that; returns what is wrong with it.

        A receiver that keeps nothing over a restart would else forget what nobody tells it again.
        """
        if sink.repeat_s is None or self._clock() < self._repeated.setdefault(sink.name, self._clock()) + sink.repeat_s:
            return None
        self._repeated[sink.name] = self._clock()
        return next((problem for alert in firing if (problem := self._try(sink, alert)) is not None), None)

    def _try(self, sink: Sink, alert: Alert) -> str | None:
        try:
            sink.deliver(alert)
        except OSError as error:
            self._troubles.setdefault(sink.name, _Trouble(self._clock())).failed(self._clock(), str(error))
            return str(error)
        self._troubles.pop(sink.name, None)
        return None

    def look(self, _seen: Mapping[str, float], now: float) -> list[Condition]:
        """Which sinks take nothing."""
        return [self._condition(sink.name, self._troubles.get(sink.name), now) for sink in self.sinks]

    def _condition(self, name: str, trouble: _Trouble | None, now: float) -> Condition:
        failing_s = 0.0 if trouble is None else now - trouble.since
        evidence = Evidence(name=name, statistic="failing_s", value=failing_s, threshold=FAILING_S)
        why = "" if trouble is None else f"{trouble.why}. Mend the receiver: up to {WAITING_MAX} alerts wait for it."
        return Condition(
            kind="ops",
            about=_about(name),
            since=now - failing_s,
            until=now,
            evidence=(evidence,) if failing_s >= FAILING_S else (),
            text=why,
            at_once=True,
        )


def _about(sink: str) -> str:
    return f"sink-{sink}"
