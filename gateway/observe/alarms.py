"""Alarms: one alert when a breach begins and one when it ends, whatever dies in between.

What is in an outbox is delivered and then taken out, so a crash can only deliver an alert again: with the same id,
which follows from the breach and not from this process.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.observe.book import Book, BookFile
from gateway.observe.breach import SILENT_S, Breach

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.observe.base import Condition, Sink, Source
    from gateway.observe.delivery import Delivery, Outboxes
    from gateway.observe.rules import Rules
    from gateway.observe.silences import Silences

__all__ = ["Alerter"]

_log = logging.getLogger("hotgate.alarms")

UNHEARD_S: Final = 2 * SILENT_S
"""A breach of which no source says anything for so long is over."""
KEEP_S: Final = 8 * 86_400.0
"""For how long it is known which windows of a calm alarm were looked at; counts are kept no longer."""


class Alerter:
    """Asks all sources, and tells what begins and what ends.

    Args:
        folder: `monitor/`.
        sources: each is asked at every look; one that fails holds up no other.
        delivery: to the sinks.
        rules: what counts as a breach.
        silences: what nobody is to be told.
        clock: wall time.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Source],
        delivery: Delivery,
        rules: Rules,
        silences: Silences,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = BookFile(folder / "alarms.json")
        self._sources = (*sources, delivery)
        self._delivery = delivery
        self._rules = rules
        self._silences = silences
        self._clock = clock
        # By alarm, when a source last judged it; since this process began.
        self._heard: dict[str, float] = dict.fromkeys(self._file.book.breaches, clock())

    def look(self) -> dict[str, str]:
        """Take in what has come, and deliver; returns what is not done yet and why, by source, sink or `alarms`."""
        book, now, problems = self._file.book, self._clock(), dict[str, str]()
        breaches = dict(book.breaches)
        outboxes = {sink.name: list(book.outboxes.get(sink.name, [])) for sink in self._delivery.sinks}
        for found in self._ask(now, problems):
            before = breaches.get(found.key, Breach())
            if found.at_once or found.until > before.until:
                breaches[found.key] = self._tell(before, before.take(*self._rules.apply(found)), outboxes)
        for key, before in list(breaches.items()):
            unheard = before.alert is not None and now - self._heard.get(key, now) >= UNHEARD_S
            after = breaches[key] = self._tell(before, before.end(now) if unheard else before, outboxes)
            if after == Breach() or (after.alert is None and now - after.until >= KEEP_S):
                del breaches[key]
        self._heard = {key: at for key, at in self._heard.items() if key in breaches}
        self._keep(Book(breaches=breaches, outboxes=outboxes), problems)
        for sink in self._delivery.sinks:
            problem = self._deliver(sink, problems)
            if problem is not None:
                problems[sink.name] = problem
        return problems

    def _ask(self, now: float, problems: dict[str, str]) -> list[Condition]:
        seen = {key: breach.until for key, breach in self._file.book.breaches.items()}
        found: list[Condition] = []
        for source in self._sources:
            try:
                found += source.look(seen, now)
            except Exception as error:  # noqa: BLE001 - what one source computes must not silence all others
                _log.debug("%s cannot be asked", source.name, exc_info=True)
                problems[source.name] = f"cannot be asked: {error!r}"
        self._heard.update({one.key: now for one in found if one.evidence is not None})
        return found

    def _tell(self, before: Breach, after: Breach, outboxes: Outboxes) -> Breach:
        """Put what is to be told into the outboxes: a begin, an end, or that a silence is over."""
        alert = after.alert
        if alert is None:
            return after
        if alert.state == "resolved":
            self._delivery.put(outboxes, alert, after.told)
            return msgspec.structs.replace(after, alert=None, told=())
        silenced = self._silences.cover(alert, after.names, self._clock())
        if before.alert is not None and (silenced or not alert.silenced):
            return after
        alert = msgspec.structs.replace(alert, silenced=silenced)
        told = self._delivery.takers(alert)
        self._delivery.put(outboxes, alert, told)
        return msgspec.structs.replace(after, alert=alert, told=told)

    def _deliver(self, sink: Sink, problems: dict[str, str]) -> str | None:
        """Deliver what waits for one sink, and repeat what fires; returns what is wrong with it."""
        while waiting := self._file.book.outboxes.get(sink.name):
            problem = self._delivery.attempt(sink, waiting)
            if problem is not None:
                return problem
            book = self._file.book
            self._keep(Book(breaches=book.breaches, outboxes={**book.outboxes, sink.name: waiting[1:]}), problems)
        breaches = self._file.book.breaches.values()
        return self._delivery.repeat(sink, [one.alert for one in breaches if one.alert and sink.name in one.told])

    def _keep(self, book: Book, problems: dict[str, str]) -> None:
        waiting = {name: alerts for name, alerts in book.outboxes.items() if alerts}
        try:
            self._file.keep(msgspec.structs.replace(book, outboxes=waiting))
        except OSError as error:
            problems["alarms"] = f"are kept in memory only: {error}"
