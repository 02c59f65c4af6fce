"""The observer as a process: lock, signals, parent, and a pass every few seconds."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.beside import begin
from gateway.counts import ModelCounts, folders_in
from gateway.observe.alarms import Alerter
from gateway.observe.alert_file import AlertFile
from gateway.observe.delivery import Delivery
from gateway.observe.drift_source import DriftWindows
from gateway.observe.folding import Folding
from gateway.observe.intake import INTAKE_S, Intake
from gateway.observe.ops import Operations
from gateway.observe.performance import PerformanceKeeper
from gateway.observe.rules import Rules
from gateway.observe.silences import Silences
from gateway.observe.webhook import Webhook
from gateway.store import replace_file
from monitoring.alarm import AlarmRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.observe.base import Sink, Source
    from gateway.observe.predlog import PredictionKeeper
    from gateway.observe.settings import MonitorSettings

__all__ = ["Observer", "ObserverStatus", "run_observer"]

_log = logging.getLogger("hotgate.observe")

PASS_S: Final = 2.0
"""Pause between two passes."""
LAST_INTAKE_S: Final = 5.0
"""Of the last pass, for what workers have handed over; whoever stops a server waits ten seconds for its observer."""


class ObserverStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the last pass did; `monitor/observer.json`."""

    time: float
    """Wall clock at its end."""
    models: int
    """Model files with counts."""
    replaced: int
    """Files that were folded or dropped."""
    problems: dict[str, str]
    """By model file, sink, `alarms`, `predictions` or `labels`, what was not done; it is tried again."""
    log_dropped_rows: int = 0
    """Rows that the prediction log should hold and never will, since this observer began."""


class Observer:
    """One pass over all that workers have left under `monitor/`; what fails on one model stops no other.

    Args:
        folder: `monitor/`.
        settings: what makes an alarm.
        clock: wall time.
    """

    def __init__(self, folder: Path, settings: MonitorSettings, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        rule = AlarmRule(severity=settings.severity, raise_after=settings.raise_after, clear_after=settings.clear_after)
        webhooks = [Webhook(address, settings.webhook_secret, clock) for address in settings.webhooks]
        sinks: list[Sink] = [AlertFile(folder / "alerts.jsonl"), *webhooks]
        self._sinks = {sink.name for sink in sinks}
        self._performance = PerformanceKeeper(folder, settings, clock, sampled=settings.log_sample)
        sources: list[Source] = [
            DriftWindows(folder / "counts", settings.window_s),
            self._performance.source,
            Operations(folder, folder.parent / "store", self._own_problems),
        ]
        self._alerter = Alerter(
            folder,
            sources,
            Delivery(sinks, clock),
            Rules(settings.rules, rule),
            Silences(folder / "silences.json", clock),
            clock,
        )
        self._told: dict[str, str] = {}
        self._foldings: dict[Path, Folding] = {}
        self._settings = settings
        self._log: tuple[Intake, PredictionKeeper] | None = None

    def look(self, intake_s: float = INTAKE_S) -> ObserverStatus:
        """Make one pass, with so many seconds for what workers hand over, and say what it did."""
        folders = folders_in(self._folder / "counts")
        replaced = 0
        problems: dict[str, str] = {}
        for folder in folders:
            with self._apart(folder.name, problems, "counts are not folded: "):
                replaced += self._foldings.setdefault(folder, Folding(ModelCounts(folder))).look(self._clock())
        for name, part in (
            ("predictions", partial(self._keep_predictions, intake_s)),
            ("labels", self._performance.look),
        ):
            with self._apart(name, problems):
                problem = part()
                if problem is not None:
                    problems[name] = problem
        with self._apart("alarms", problems):
            problems.update(self._alerter.look())
        for name in problems.keys() - self._told.keys():
            _log.error("%s: %s", name[:40], problems[name])
        self._told = problems
        status = ObserverStatus(
            time=self._clock(),
            models=len(folders),
            replaced=replaced,
            problems=problems,
            log_dropped_rows=self._log[0].dropped if self._log is not None else 0,
        )
        try:
            replace_file(self._folder / "observer.json", msgspec.json.encode(status), durable=False)
        except OSError as error:
            _log.error("observer.json cannot be written: %s", error)
        return status

    @contextlib.contextmanager
    def _apart(self, name: str, problems: dict[str, str], lack: str = "") -> Iterator[None]:
        """Note what a part of a pass cannot do, so that the other parts go on."""
        try:
            yield
        except OSError as error:
            problems[name] = f"{lack}{error}"
        except Exception as error:  # noqa: BLE001 - the root of each part: whatever it met, the others go on
            problems[name] = f"{lack}{error!r}"
            if name not in self._told:
                _log.exception("%s: what went wrong", name[:40])

    def _keep_predictions(self, intake_s: float) -> str | None:
        """Bring the prediction log up to date, once there is something for it; returns what is wrong."""
        if self._log is None:
            if not (self._folder / "predictions").is_dir():
                return None
            try:
                self._log = self._open_log()
            except ImportError as error:
                return f"{error}; to have a prediction log: pip install 'hotgate[monitor]'"
        intake, keeper = self._log
        try:
            if intake.look(intake_s):
                keeper.merge()
        finally:
            keeper.retain()  # also where a full disk is what holds up the others
        return intake.problem

    def _open_log(self) -> tuple[Intake, PredictionKeeper]:
        from gateway.observe.predlog import PredictionKeeper

        keeper = PredictionKeeper(
            self._folder,
            keep_s=86_400 * self._settings.log_keep_days,
            keep_bytes=self._settings.log_keep_bytes,
            clock=self._clock,
        )
        return Intake(self._folder, [keeper.take, self._performance.take], self._clock), keeper

    def _own_problems(self) -> dict[str, str]:
        """What could not be done in the last pass, but for sinks, which have alarms of their own."""
        return {name: problem for name, problem in self._told.items() if name not in self._sinks}


def run_observer(folder: Path, settings: MonitorSettings, *, parent: int | None = None) -> int:
    """Observe until SIGTERM, SIGINT or the death of `parent`; to be called from the main thread.

    Waits while another observer of the folder runs, to take over from it.

    Returns:
        The exit code: 0 when told to stop.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    begin(parent)
    if settings.idle_scheduling:
        _stand_back()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        if not _locked(lock.fileno(), stop):
            return 0
        observer = Observer(folder, settings)
        while not stop.wait(PASS_S):
            observer.look()
        observer.look(LAST_INTAKE_S)  # what workers that stop beside it have let go by now
    return 0


def _stand_back() -> None:
    """Take only the CPU time that nobody else wants: a worker that wakes goes on at once, nobody waits for us.

    With a nice value alone a worker on the same core waits for the end of a time slice, some milliseconds: threads
    under SCHED_BATCH, as workers are, interrupt nobody but those under SCHED_IDLE.
    """
    with contextlib.suppress(OSError):  # the kernel refuses
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _locked(descriptor: int, stop: threading.Event) -> bool:
    """Wait for the lock; False if told to stop before."""
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                _log.info("another observer is at work on this folder; this one waits")
            told = True
            if stop.wait(PASS_S):
                return False
        else:
            return True
