"""All models of a worker: which slot a request goes to, and how a slot comes to hold what the store names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from converters.errors import ConverterError
from gateway.batcher import Batcher
from gateway.cpus import usable_cpus
from gateway.engine import prepare
from gateway.errors import NotFound, NotReady
from gateway.generation import Generation, Slot
from gateway.observer import GenerationObserver, GenerationTally
from gateway.schemas import ModelHealth
from gateway.store import Manifest, StoreError
from gateway.turns import LoopTurns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.drift import DriftMonitor
    from gateway.engine import Engine
    from gateway.metrics import Metrics
    from gateway.settings import GatewaySettings
    from gateway.store import Entry, ModelStore
    from gateway.turns import Turns

__all__ = ["Models"]

_log = logging.getLogger("hotgate.models")

LAST_COUNTS_S = 1.0
"""How long a generation's counts are kept after it was let go, for a request that found it just before; it was idle."""
SWEEP_S = 10.0
"""Pause between two looks for the series of versions that are gone."""


class Models:
    """The worker's slots. State belongs to the event loop; loading happens on a thread, publishing on the loop."""

    def __init__(
        self,
        store: ModelStore,
        settings: GatewaySettings,
        metrics: Metrics,
        monitor: DriftMonitor,
        *,
        wanted: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._monitor = monitor
        self._wanted = frozenset(wanted)
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        # What requests look up, made anew after every change: each model by name, the default one as None.
        self._serving: dict[str | None, Generation] = {}
        self.tables: frozenset[str | None] = frozenset()
        """Names, as requests give them, of the models whose rows are of several kinds."""
        # Out of their slots, and let go once nothing of them waits.
        self._leaving: list[Generation] = []
        # Of those that were let go, with the time at which they are counted for the last time.
        self._ending: list[tuple[float, GenerationObserver]] = []
        self._sweep_at = 0.0
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="hotgate-load")
        self._scorer = ThreadPoolExecutor(1, thread_name_prefix="hotgate-score")
        self._manifest = Manifest()
        self.turns: Turns | None = None

    def __repr__(self) -> str:
        """For operators: every slot."""
        return f"Models(generation={self._manifest.generation}, {list(self._slots.values())!r})"

    @property
    def slots(self) -> dict[str, Slot]:
        """By model name; read only."""
        return self._slots

    @property
    def missing(self) -> list[str]:
        """Names of models that are wanted but do not serve; a worker is ready when there are none."""
        wanted = self._wanted.union(self._manifest.models)
        return sorted(name for name in wanted if name not in self._slots or self._slots[name].current is None)

    def named(self, name: str) -> str | None:
        """The version of a model that the store names, whether it serves or not."""
        roles = self._manifest.models.get(name)
        return roles.champion.version if roles is not None and roles.champion is not None else None

    def find(self, name: str | None) -> Generation:
        """The generation that serves `name`, or the default model's.

        Raises:
            NotFound: no such model, or no name and several models.
            NotReady: it is known but not loaded.
        """
        found = self._serving.get(name)
        if found is not None:
            return found
        if name is None:
            name = self._default()
        slot = self._slots.get(name)
        if slot is not None and slot.current is not None:
            return slot.current
        if slot is not None or name in self._wanted or name in self._manifest.models:
            raise NotReady(f"model {name!r} is not loaded yet")
        raise NotFound(f"no model {name!r}; {self._known()}")

    def _default(self) -> str:
        if self._settings.default_model is not None:
            return self._settings.default_model
        names = list(self._slots) or sorted(self._wanted)
        if len(names) == 1:
            return names[0]
        raise NotFound(f"no default model; {self._known()}: name one as /predict/NAME or set [gateway] default_model")

    def _known(self) -> str:
        return f"there are {', '.join(sorted(self._slots))}" if self._slots else "none is published"

    async def follow(self, manifest: Manifest) -> None:
        """Bring every slot to what the manifest names; what cannot be loaded leaves the slot as it was."""
        self._manifest = manifest
        for name in [name for name in self._slots if name not in manifest.models]:
            _log.info("%s is gone from the store", name)
            self._retire(self._slots.pop(name))
            self._index()
        for name, roles in manifest.models.items():
            if roles.champion is not None:
                await self._follow_one(self._slots.setdefault(name, Slot(name)), roles.champion)

    async def _follow_one(self, slot: Slot, entry: Entry) -> None:
        current = slot.current
        if current is not None and (current.version, current.sha256) == (entry.version, entry.sha256):
            slot.problem = None
            return
        started = self._clock()
        try:
            generation = await self._make(slot, entry)
        except (OSError, StoreError, ConverterError, ValueError, RuntimeError) as error:
            problem = f"version {entry.version} cannot be loaded: {error}"
            if problem != slot.problem:  # it is tried again and again, and told once
                _log.error("%s %s; %s goes on", slot.name, problem, current or "nothing")
            slot.problem = problem
            self._metrics.swap_failures.labels(slot.name, "champion").inc()
            return
        if current is not None:
            self._tell_loaded(current, loaded=False)
        self._leaving += slot.publish(generation, now=self._clock(), hold_s=self._settings.hold_previous_s)
        self._index()
        self._tell_loaded(generation, loaded=True)
        self._metrics.swaps.labels(slot.name, "champion").inc()
        _log.info(
            "%s serves version %s (%s), loaded in %.0f ms",
            slot.name, entry.version, entry.sha256[:12], 1e3 * (self._clock() - started),
        )  # fmt: skip

    def _index(self) -> None:
        serving: dict[str | None, Generation] = {
            name: slot.current for name, slot in self._slots.items() if slot.current is not None
        }
        with contextlib.suppress(NotFound):
            default = serving.get(self._default())
            if default is not None:
                serving[None] = default
        self._serving = serving
        self.tables = frozenset(name for name, found in serving.items() if found.form == "table")

    async def _make(self, slot: Slot, entry: Entry) -> Generation:
        loop, settings = asyncio.get_running_loop(), self._settings
        held = slot.held(entry.sha256)
        if held is not None:
            engine = held.engine
        else:
            engine = await loop.run_in_executor(self._loader, self._load, entry.sha256)
        tally = GenerationTally(self._metrics.versions, slot.name, entry.version)
        columns = None
        if settings.monitoring:
            columns = await loop.run_in_executor(  # 40 ms for a thousand features
                self._loader, tally.columns, entry.sha256, engine.metadata.reference, settings.metrics_features
            )
        feed = self._monitor.open(entry, slot.name, engine.metadata, settings, columns)
        observer = GenerationObserver(tally, feed)
        batcher = Batcher(
            engine,
            observer,
            self._scorer,
            self.turns or LoopTurns(loop),
            settings,
        )
        return Generation(slot.name, entry.version, entry.sha256, engine, batcher, observer)

    def _tell_loaded(self, generation: Generation, *, loaded: bool) -> None:
        generation.observer.tally.tell_loaded(generation.sha256, loaded=loaded)

    def _retire(self, slot: Slot) -> None:
        if slot.current is not None:
            self._tell_loaded(slot.current, loaded=False)
        self._leaving += slot.generations

    def _load(self, sha256: str) -> Engine:
        data = self._store.load(sha256)
        settings = self._settings
        threads = max(1, min(settings.intra_op_threads, int(usable_cpus())))
        return prepare(data, max_rows=settings.max_batch_rows, threads=threads)

    def carry(self) -> None:
        """Bring the metrics of all generations up to date."""
        for observer in self._observers():
            observer.carry()

    def _observers(self) -> list[GenerationObserver]:
        held = [generation for slot in self._slots.values() for generation in slot.generations]
        return [generation.observer for generation in (*held, *self._leaving)] + [it for _, it in self._ending]

    def expire(self) -> None:
        """Release generations whose time is over, once nothing of them waits, and a moment later their counts."""
        now = self._clock()
        for slot in self._slots.values():
            gone = slot.expire(now)
            if gone is not None:
                self._leaving.append(gone)
        for generation in [generation for generation in self._leaving if generation.batcher.idle]:
            self._leaving.remove(generation)
            self._ending.append((now + LAST_COUNTS_S, generation.observer))
            _log.info("%s version %s is released", generation.name, generation.version)
        over = [observer for at, observer in self._ending if at <= now]
        self._ending = [(at, observer) for at, observer in self._ending if at > now]
        for observer in over:
            self._monitor.close(observer.feed)
            observer.tally.close()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self._metrics.versions.sweep()

    def health(self) -> list[ModelHealth]:
        """One entry a model, sorted by name."""
        found = []
        for name in sorted({*self._slots, *self.missing}):
            slot = self._slots.get(name)
            loaded = slot.current.describe() if slot is not None and slot.current is not None else None
            found.append(ModelHealth(name=name, loaded=loaded, problem=slot.problem if slot is not None else None))
        return found

    def close(self) -> None:
        """Stop the threads; what is in flight finishes first, and is counted."""
        self._loader.shutdown(wait=True)
        self._scorer.shutdown(wait=True)
        for observer in self._observers():
            observer.tally.close()
