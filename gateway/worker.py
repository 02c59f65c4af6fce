"""One worker's life: its models, what it counts, and the task that follows the model store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.admission import Admission
from gateway.drift import DriftMonitor
from gateway.feedback import FeedbackLog
from gateway.garbage import GarbagePauses
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.predictionlog import PredictionLog
from gateway.schemas import Health
from gateway.store import ModelStore, StoreError
from gateway.sync.status import read_status
from gateway.turns import LoopTurns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.settings import WorkerConfig
    from gateway.sync.status import SyncStatus
    from gateway.turns import Turns

__all__ = ["Worker"]

_log = logging.getLogger("hotgate.worker")

RETRY_S = 2.0
"""After a manifest could not be read, or a version not be loaded, the pause before it is tried again."""


class Worker:
    """Everything behind the routes of one process; started and stopped by `running`."""

    def __init__(self, config: WorkerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = config.settings
        self.metrics = Metrics()
        self.garbage = GarbagePauses(self.metrics)
        self.admission = Admission(self.metrics.errors, self.settings.deadline_ms)
        self.turns: Turns | None = None
        monitor = Path(config.monitor)
        self.monitor = DriftMonitor(monitor / "counts", PredictionLog(monitor, config.log))
        self.feedback = FeedbackLog(monitor / "spool" / "feedback")
        self._store = ModelStore(Path(config.store))
        self.models = Models(self._store, self.settings, self.metrics, self.monitor, wanted=config.wanted)
        self._clock = clock
        self._looking = asyncio.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._retry_at = math.inf
        self._told_ready: bool | None = None

    def __repr__(self) -> str:
        """For operators: state and models."""
        return f"Worker(status={self.status!r}, {self.models!r})"

    @property
    def status(self) -> str:
        """`draining`, `loading`, `degraded` or `ok`."""
        if self.admission.draining:
            return "draining"
        if self.models.missing or not self.models.slots:
            return "loading"
        if any(slot.problem for slot in self.models.slots.values()):
            return "degraded"
        return "ok"

    @property
    def ready(self) -> bool:
        """Whether every wanted model is loaded and warm, and no stop is under way."""
        return self.status in {"ok", "degraded"}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load what the store names, then follow it until the block is left."""
        self.monitor.start()
        self.models.turns = self.turns or LoopTurns(asyncio.get_running_loop())
        watch: asyncio.Task[None] | None = None
        try:
            await self._look()
            watch = asyncio.get_running_loop().create_task(self._watch(), name="hotgate-watch")
            yield
        finally:
            if watch is not None:
                watch.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watch
            self.garbage.stop()
            self.models.close()
            self.monitor.stop()
            self.feedback.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.watch_interval_s)
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - the root of the task: whatever the store holds, what serves goes on
                _log.exception("following the store failed")

    async def look_now(self) -> None:
        """Look at the store without waiting for the next time, and try again what could not be loaded."""
        async with self._looking:
            self._retry_at = -math.inf
            await self._follow()

    async def _look(self) -> None:
        """One look at the store; one after the other."""
        async with self._looking:
            await self._follow()

    async def _follow(self) -> None:
        """The store is followed when the manifest has changed, and again a while after a failure."""
        stamp = self._store.stamp()
        if stamp != self._stamp or self._clock() >= self._retry_at:
            self._stamp, self._retry_at = stamp, self._clock() + RETRY_S
            try:
                manifest = self._store.read()
            except StoreError as error:
                _log.error("%s; what serves goes on", error)
            else:
                await self.models.follow(manifest)
                if not any(slot.problem for slot in self.models.slots.values()):
                    self._retry_at = math.inf
        self.models.expire()
        self.feedback.rotate()
        self.carry()
        if self.ready != self._told_ready:
            self._told_ready = self.ready
            self.metrics.ready.set(self.ready)

    def drain(self) -> None:
        """Say no on `/readyz` and close connections behind their answers from now on."""
        self.admission.draining = True
        self.metrics.ready.set(False)

    def health(self) -> Health:
        """What `/health` answers."""
        models = self.models.health()
        return Health(
            status=self.status,
            model_loaded=bool(models) and all(model.loaded is not None for model in models),
            models=models,
            registry=self._registry(),
        )

    async def render_metrics(self) -> bytes:
        """What `/metrics` answers."""
        self.carry()
        status = self._registry()
        if status is not None:
            self.metrics.tell_registry(status)
        # All workers' values are read and written out, which takes the longer the more features have series.
        return await asyncio.to_thread(self.metrics.render)

    def carry(self) -> None:
        """Bring the metrics up to date."""
        self.models.carry()
        self.garbage.carry()

    def _registry(self) -> SyncStatus | None:
        return read_status(self._store.root / "sync.json")
