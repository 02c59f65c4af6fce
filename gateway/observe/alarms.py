"""Alarms on closed windows: one alert when a breach begins and one when it ends, whatever dies in between.

State and outboxes are one file, replaced at once. What is in an outbox is delivered and then taken out, so a crash can
only deliver an alert again: with the same id, which follows from the breach and not from this process.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from gateway.counts import EPOCH_S, ModelCounts, Served, UnreadableCountsError
from gateway.store import replace_file
from gateway.verdicts import Window, judge_window
from monitoring.alarm import Alarm, AlarmRule, evidence, severities
from monitoring.verdict import CRITICAL_PSI, MIN_EFFECT, MIN_MISSING, MIN_OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from monitoring import FeatureDrift, ModelDrift

__all__ = ["Alert", "AlertFile", "Alerter", "Evidence", "Sink", "Watch"]

_log = logging.getLogger("hotgate.alarms")

GRACE_S: Final = 5.0
"""After a window's end, until what was counted in it is committed for sure."""
WINDOWS_MAX: Final = 96
"""Most closed windows that are made up for after an observer was away."""
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 300.0
"""Between two attempts at a sink that does not take an alert; doubled each time."""
WAITING_MAX: Final = 100
"""Most alerts that wait for one sink."""
SILENT_S: Final = 86_400.0
"""A breach ends if nothing could be judged for so long: the version no longer serves."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One column that an alert rests on."""

    name: str
    statistic: Literal["psi", "ks", "missing", "outside"]
    value: float
    threshold: float
    """Of the value less what chance gives; for missing values, of its change."""
    n: int
    window_s: int


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One begin or end of a breach."""

    id: str
    """The same from firing to resolved."""
    state: Literal["firing", "resolved"]
    model: str
    version: str
    sha256: str
    kind: str
    severity: str
    started_at: float
    """Unix time at which the first window of the breach began."""
    ended_at: float | None
    evidence: list[Evidence]


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    alarm: Alarm = Alarm()
    judged_at: float = 0.0
    """End of the last window with a verdict."""
    evidence: list[Evidence] = []


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    until: float
    """End of the last window that was looked at."""
    kinds: dict[str, _Kind] = {}


class _Book(msgspec.Struct, frozen=True, kw_only=True):
    models: dict[str, _Model] = {}
    outboxes: dict[str, list[Alert]] = {}
    """By sink."""


class Sink(Protocol):
    """Where alerts go."""

    @property
    def name(self) -> str:
        """What its outbox is kept under; the same after a restart."""

    def deliver(self, alert: Alert) -> None:
        """Hand one over; the same one may come again.

        Raises:
            OSError: not now; it is tried again.
        """


class Watch:
    """Judges one model file's closed windows, each once."""

    def __init__(self, rule: AlarmRule, window_s: int) -> None:
        self._rule = rule
        self._window_s = window_s

    def look(self, counts: ModelCounts, state: _Model | None, now: float) -> tuple[_Model, list[Alert]]:
        """Judge what has closed since the last look.

        Raises:
            FileNotFoundError: nothing was counted yet.
            UnreadableCountsError: as `ModelCounts.spans`.
        """
        last = (now - GRACE_S) // self._window_s * self._window_s
        until = last - self._window_s if state is None else max(state.until, last - WINDOWS_MAX * self._window_s)
        kinds = dict(state.kinds) if state is not None else {}
        alerts: list[Alert] = []
        while until < last:
            served = next(iter(counts.served()), Served(model="?", version="?", since=now))
            verdict = self._judge(counts, until)
            until += self._window_s
            for kind, found in severities(verdict).items():
                before = kinds.get(kind, _Kind())
                after = self._next(before, found, until, verdict, kind)
                kinds[kind] = after
                alerts += _changes(counts, served, kind, before, after, until)
        return _Model(until=until, kinds=kinds), alerts

    def _judge(self, counts: ModelCounts, start: float) -> ModelDrift:
        last_epoch = start + self._window_s - EPOCH_S
        return judge_window(counts, counts.reference(), Window(float(self._window_s)), now=last_epoch).drift

    def _next(self, before: _Kind, found: str | None, end: float, verdict: ModelDrift, kind: str) -> _Kind:
        if found is None:
            silent = before.alarm.firing and end - before.judged_at >= SILENT_S
            return _Kind() if silent else before
        alarm = before.alarm.next(found, end - self._window_s, self._rule)  # type: ignore[arg-type]
        rests_on = [_evidence(column, kind, self._window_s) for column in evidence(verdict, kind)]
        return _Kind(alarm=alarm, judged_at=end, evidence=rests_on if found != "none" else before.evidence)


def _evidence(column: FeatureDrift, kind: str, window_s: int) -> Evidence:
    if kind == "data_quality":
        missing = column.missing_drift
        return Evidence(
            name=column.name,
            statistic="missing" if missing else "outside",
            value=(column.missing if missing else column.outside) or 0.0,
            threshold=MIN_MISSING if missing else MIN_OUTSIDE,
            n=column.n,
            window_s=window_s,
        )
    by_psi = column.severity == "critical" or (column.psi or 0.0) >= (column.ks or 0.0)
    return Evidence(
        name=column.name,
        statistic="psi" if by_psi else "ks",
        value=(column.psi if by_psi else column.ks) or 0.0,
        threshold=CRITICAL_PSI if column.severity == "critical" else MIN_EFFECT,
        n=column.n,
        window_s=window_s,
    )


def _changes(
    counts: ModelCounts, served: Served, kind: str, before: _Kind, after: _Kind, end: float
) -> Iterator[Alert]:
    """The alert that a window makes, if it makes one."""
    if before.alarm.firing == after.alarm.firing:
        return
    breach = after if after.alarm.firing else before
    started = breach.alarm.breach_since or end
    sha256 = counts.folder.name
    yield Alert(
        id=f"{sha256[:16]}-{kind}-{started:.0f}",
        state="firing" if after.alarm.firing else "resolved",
        model=served.model,
        version=served.version,
        sha256=sha256,
        kind=kind,
        severity=breach.alarm.severity,
        started_at=started,
        ended_at=None if after.alarm.firing else end,
        evidence=breach.evidence,
    )


class Alerter:
    """Watches all model files and delivers what comes of it.

    Args:
        folder: `monitor/`.
        watch: judges the windows.
        sinks: each is given every alert, in order; one that fails holds up no other.
        clock: wall time.
    """

    def __init__(
        self, folder: Path, watch: Watch, sinks: Sequence[Sink], clock: Callable[[], float] = time.time
    ) -> None:
        self._path = folder / "alarms.json"
        self._watch = watch
        self._sinks = sinks
        self._clock = clock
        self._book = self._read()
        # By sink: when it is tried again, and how long it is left alone after the next failure.
        self._wait: dict[str, tuple[float, float]] = {}

    def look(self, folders: list[Path]) -> dict[str, str]:
        """Judge what has closed, and deliver; returns by sink why something is not delivered yet.

        Raises:
            OSError: the state cannot be kept; nothing was delivered that is not in it.
        """
        models, alerts = self._judge(folders)
        outboxes = {sink.name: [*self._book.outboxes.get(sink.name, []), *alerts] for sink in self._sinks}
        self._keep(models, outboxes)
        return {sink.name: problem for sink in self._sinks if (problem := self._deliver(sink))}

    def _judge(self, folders: list[Path]) -> tuple[dict[str, _Model], list[Alert]]:
        models = dict(self._book.models)
        found: list[Alert] = []
        for folder in folders:
            before = models.get(folder.name)
            try:
                models[folder.name], alerts = self._watch.look(ModelCounts(folder), before, self._clock())
            except (FileNotFoundError, UnreadableCountsError, msgspec.MsgspecError) as error:
                _log.debug("%s is not judged: %s", folder.name[:12], error)
            else:
                found += alerts
        return models, found

    def _deliver(self, sink: Sink) -> str | None:
        """Deliver what waits for one sink, unless it failed just before; returns what is wrong with it."""
        again_at, wait_s = self._wait.get(sink.name, (0.0, FIRST_WAIT_S))
        waiting = list(self._book.outboxes.get(sink.name, []))
        if waiting and self._clock() < again_at:
            return f"{len(waiting)} alerts wait"
        while waiting:
            try:
                sink.deliver(waiting[0])
            except OSError as error:
                self._wait[sink.name] = self._clock() + wait_s, min(2 * wait_s, LONGEST_WAIT_S)
                return str(error)
            del waiting[0]
            self._wait.pop(sink.name, None)
            self._keep(self._book.models, {**self._book.outboxes, sink.name: waiting})
        return None

    def _read(self) -> _Book:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Book)
        except FileNotFoundError:
            return _Book()
        except msgspec.MsgspecError as error:
            _log.error("%s is damaged, alarms begin anew: %s", self._path, error)
            return _Book()

    def _keep(self, models: dict[str, _Model], outboxes: dict[str, list[Alert]]) -> None:
        for name, waiting in outboxes.items():
            if len(waiting) > WAITING_MAX:
                _log.error("%s takes no alerts: the oldest of %d are dropped", name, len(waiting))
        kept = {name: waiting[-WAITING_MAX:] for name, waiting in outboxes.items() if waiting}
        book = _Book(models=models, outboxes=kept)
        if book != self._book:
            replace_file(self._path, msgspec.json.encode(book))
            self._book = book


class AlertFile:
    """A line for each alert in `monitor/alerts.jsonl`, and one in the log; one that came before is left out."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, alert: Alert) -> None:
        """Append it.

        Raises:
            OSError: there is no room.
        """
        line = msgspec.json.encode(alert)
        before = self._path.read_bytes() if self._path.exists() else b""
        if line in before.splitlines():
            return
        with self._path.open("ab") as file:
            file.write((b"\n" if before and not before.endswith(b"\n") else b"") + line + b"\n")
        rests_on = ", ".join(f"{found.name} {found.statistic} {found.value:.3g}" for found in alert.evidence)
        _log.warning(
            "%s: %s of %s version %s is %s (%s)",
            alert.severity, alert.kind, alert.model, alert.version, alert.state, rests_on or "no column stands out",
        )  # fmt: skip
