"""What the page is told: looked up once a second for all who watch, and not at all while nobody does."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.errors import NotFound
from gateway.page.figures import VersionFigures, figures_of, look_at
from gateway.store import ModelStore
from gateway.verdicts import judge_serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.generation import Generation
    from gateway.page.figures import Look
    from gateway.schemas import Health, ModelHealth
    from gateway.store import Change
    from gateway.verdicts import DriftReport
    from gateway.worker import Worker

__all__ = ["DriftNow", "Sampler", "State", "Swap"]

_log = logging.getLogger("hotgate.page")

LOOKS: Final = 6
"""Figures are of the newest of so many looks against the oldest: the last five seconds."""
DRIFT_SHARE: Final = 0.1
"""Of the time, at most, that goes into judging a model's drift: with 1,000 features a verdict takes 0.2 s."""
ALERTS: Final = 50
SWAPS: Final = 20
_TAIL_BYTES: Final = 128 * 1024
_OBSERVER_SILENT_S: Final = 60.0


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """A change of what serves, as the store's history has it."""

    time: datetime
    model: str
    before: str | None
    """Version."""
    after: str | None
    reason: str
    who: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Event `state`: how the server does, by the counts of all workers."""

    time: float
    """Unix time."""
    window_s: float
    """Over which rates are; 0 at the first look, when there are none yet."""
    status: str
    """Of the worker that answers, as `/health` has it."""
    workers_ready: int
    errors_per_s: dict[str, float]
    """Requests answered with an error, by status."""
    versions: list[VersionFigures]
    notices: list[str]
    """What is not as it should be, in words."""
    swaps: list[Swap]
    """The newest last."""


class DriftNow(msgspec.Struct, frozen=True, kw_only=True):
    """Event `drift`, of each model that serves: the verdict of `/monitor/drift`, without what takes room.

    Lists hold the features in the model's order, then the score and the predicted class.
    """

    model: str
    version: str
    sha256: str
    since: float | None
    n: int
    severity: str
    names: list[str]
    psi: list[float | None]
    severities: list[str]
    missing_drift: list[str]
    """Names of the columns where it is true."""


class Sampler:
    """Makes events; `prepare` belongs to the event loop, `look` to a thread, and one of them runs at a time.

    Args:
        worker: whose metrics, health and generations are looked at.
        store: the model store's folder.
        monitor: the monitor's folder.
        clock: monotonic time.
    """

    def __init__(self, worker: Worker, store: Path, monitor: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._worker = worker
        self._store = ModelStore(store)
        self._monitor = monitor
        self._clock = clock
        self._looks: deque[Look] = deque(maxlen=LOOKS)
        self._health: Health = worker.health()
        self._generations: list[Generation] = []
        # By model: when it may be judged again, and the last verdict.
        self._judged: dict[str, tuple[float, DriftNow]] = {}
        self._stamps: dict[Path, object] = {}
        self._swaps: list[Swap] = []
        self._told: dict[str, bytes] = {}

    def prepare(self) -> None:
        """Take what only the event loop may touch."""
        self._worker.carry()
        self._health = self._worker.health()
        self._generations = [slot.current for slot in self._worker.models.slots.values() if slot.current is not None]

    def look(self) -> dict[str, bytes]:
        """What has changed, by kind of event: each is the whole of its kind, so only the newest one counts."""
        found: dict[str, Any] = {"drift": self._drift()}
        for kind, name, read in (("alerts", "alerts.jsonl", _alerts), ("performance", "performance.json", _json)):
            path = self._monitor / name
            if self._changed(path) or kind not in self._told:
                found[kind] = read(path)
        found["state"] = self._state()  # the last, because the page shows the others beside it
        encoded = {kind: msgspec.json.encode(event) for kind, event in found.items()}
        changed = {kind: event for kind, event in encoded.items() if self._told.get(kind) != event}
        self._told.update(changed)
        return changed

    def _state(self) -> State:
        now = look_at(self._worker.metrics.families(), self._clock())
        self._looks.append(now)
        before = self._looks[0]
        window_s = now.time - before.time
        if self._changed(self._store.manifest_path):  # its lines of history are written before it
            changes = [change for change in self._store.history() if change.role == "champion"]
            self._swaps = [_swap(change) for change in changes[-SWAPS:]]
        return State(
            time=time.time(),
            window_s=window_s,
            status=self._health.status,
            workers_ready=now.ready,
            errors_per_s={
                status: (count - before.errors.get(status, 0.0)) / window_s
                for status, count in now.errors.items()
                if window_s and count > before.errors.get(status, 0.0)
            },
            versions=figures_of(before, now),
            notices=[*_notices(self._health), *self._observer_notices()],
            swaps=self._swaps,
        )

    def _drift(self) -> list[DriftNow]:
        """The newest verdict on each model that serves; one that takes long is asked for more rarely."""
        judged: dict[str, tuple[float, DriftNow]] = {}
        for generation in self._generations:
            due, found = self._judged.get(generation.name, (0.0, None))
            if found is None or found.sha256 != generation.sha256 or self._clock() >= due:
                started = self._clock()
                try:
                    found = _drift_now(judge_serving(generation, None))
                except NotFound:  # `[gateway] monitoring` is false
                    continue
                due = self._clock() + (self._clock() - started) / DRIFT_SHARE
            judged[generation.name] = due, found
        self._judged = judged
        return [found for _, found in judged.values()]

    def _observer_notices(self) -> list[str]:
        """Alarms are the observer's: whether it looks, and what it says is wrong."""
        status = _json(self._monitor / "observer.json")
        if not isinstance(status, dict):
            return []
        silent_s = time.time() - float(status.get("time", 0.0))
        silent = (
            [f"the observer has been silent for {silent_s:.0f} s: no alarms"] if silent_s > _OBSERVER_SILENT_S else []
        )
        return silent + [f"{name[:40]}: {text}" for name, text in status.get("problems", {}).items()]

    def _changed(self, path: Path) -> bool:
        """Whether a file is another one, or longer, than when it was last asked for."""
        stamp = None
        with contextlib.suppress(OSError):
            stat = path.stat()
            stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
        before = self._stamps.get(path)
        self._stamps[path] = stamp
        return stamp != before


def _swap(change: Change) -> Swap:
    return Swap(
        time=change.time,
        model=change.model,
        before=change.before.version if change.before else None,
        after=change.after.version if change.after else None,
        reason=change.reason,
        who=change.who,
    )


def _drift_now(report: DriftReport) -> DriftNow:
    columns = report.columns
    return DriftNow(
        model=report.model,
        version=report.version,
        sha256=report.sha256,
        since=report.since,
        n=report.n,
        severity=report.severity,
        names=[column.name for column in columns],
        psi=[column.psi for column in columns],
        severities=[column.severity for column in columns],
        missing_drift=[column.name for column in columns if column.missing_drift],
    )


def _notices(health: Health) -> list[str]:
    found = [f"{model.name}: {model.problem or 'is not loaded yet'}" for model in health.models if _ails(model)]
    registry = health.registry
    if registry is None:
        return found
    if not registry.registry.reachable:
        found.append(f"the registry does not answer, what serves goes on: {registry.registry.error}")
    if registry.error:
        found.append(f"sidecar: {registry.error}")
    for model, roles in registry.models.items():
        for role, state in roles.items():
            if state.state in {"pending", "quarantined", "orphaned"} or state.others:
                found.append(f"{model}, {role}: {state}")
    return found


def _ails(model: ModelHealth) -> bool:
    return model.loaded is None or model.problem is not None


def _alerts(path: Path) -> list[Any]:
    """The newest alerts, the oldest of them first."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _TAIL_BYTES, 0))
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines[-ALERTS:]:
        with contextlib.suppress(msgspec.DecodeError):  # cut at its begin, or being written
            found.append(msgspec.json.decode(line))
    return found


def _json(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
