"""The sidecar: follows the registry, verifies, and is the one writer of the model store.

The decisions are in `planner`; this is the shell that looks, fetches, verifies, publishes and tells. Whatever fails,
what was served goes on being served.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from gateway.store import ROLES, Cause, ModelRoles, ObjectError
from gateway.sync.base import RegisteredModel, RegistryError, RegistryUnavailableError
from gateway.sync.planner import Planner, VerdictLike, refusal
from gateway.sync.quarantine import Quarantine, Quarantined
from gateway.sync.report import Reporter
from gateway.sync.status import RoleState

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from gateway.store import Manifest, ModelStore, Role
    from gateway.store_writer import StoreWriter
    from gateway.sync.base import RegisteredVersion, Registry
    from gateway.sync.planner import ModelPlan
    from gateway.sync.settings import SyncSettings
    from gateway.sync.status import SyncStatus

__all__ = ["STATE_TAG", "Sidecar", "Verify"]

Verify: TypeAlias = "Callable[[Path], VerdictLike]"

STATE_TAG = "hotgate.sync"
"""The version's tag in which the sidecar tells the registry what became of it; best effort."""

_UNREACHABLE_PAUSE_S = 15.0
"""Longest pause between two tries to reach a registry that does not answer."""

_TAG_CHARACTERS = 1000

_log = logging.getLogger("hotgate.sync")


class Sidecar:
    """Follows one registry into one store; to be used by one thread, which holds the store's lock through `writer`.

    Args:
        connect: opens the registry; called again after it was unreachable.
        verify: judges a complete file, in another process.
        clock: monotonic seconds, for pauses and waits.
    """

    def __init__(
        self,
        store: ModelStore,
        writer: StoreWriter,
        settings: SyncSettings,
        *,
        connect: Callable[[], Registry],
        verify: Verify,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._writer = writer
        self._settings = settings
        self._connect = connect
        self._verify = verify
        self._registry: Registry | None = None
        self._quarantine = Quarantine(store.root / "quarantine.json")
        self._planner = Planner(settings, self._quarantine, self._stored, clock)
        self._reporter = Reporter(store)
        # How often in a row the registry did not answer; what to unpublish until it is done; whether tags are welcome.
        self._failures = 0
        self._unpublish: dict[str, Cause] = {}
        self._tags_refused = False

    def run(self, stop: threading.Event) -> None:
        """Pass after pass until told to stop; nothing but that ends it."""
        try:
            while not stop.is_set():
                try:
                    self.run_once()
                except Exception:  # noqa: BLE001 - logged with its trace
                    # The root of this thread: the next pass starts from the store and the registry, not from here.
                    self._failures += 1
                    self._disconnect()
                    _log.exception("this pass failed, the next one follows")
                stop.wait(self.pause_s())
        finally:
            self._disconnect()

    def run_once(self) -> SyncStatus:
        """Look once, do what follows from it, publish at most once, and write the status."""
        self._take_requests()
        manifest = self._store.read()
        served = {name: roles for name, roles in manifest.models.items() if name not in self._unpublish}
        causes = {(name, role): cause for name, cause in self._unpublish.items() for role in ROLES}
        models, states, error = self._look(served)
        for model in models:
            plan = self._advance(model, served.get(model.name, ModelRoles()))
            served[model.name], states[model.name] = plan.roles, plan.states
            if model.name not in self._unpublish:
                causes.update({(model.name, role): cause for role, cause in plan.causes.items()})
            elif plan.roles.champion:
                _log.warning("%s is still named in the registry: take it from there, then unpublish", model.name)
        problem = self._publish(manifest, served, causes)
        quarantined = self._quarantine.items()
        changed = self._reporter.tell(None if error else states, error=error, problem=problem, quarantined=quarantined)
        self._tag({model.name: model for model in models}, changed)
        return self._reporter.status

    def pause_s(self) -> float:
        """How long to wait before the next pass."""
        pause = self._settings.poll_interval_s
        if self._failures:
            pause = max(pause, min(_UNREACHABLE_PAUSE_S, pause * 2.0 ** min(self._failures, 30)))
        return pause * (1.0 + self._settings.jitter * random.random())  # noqa: S311 - spreads load, hides nothing

    def _look(
        self, served: dict[str, ModelRoles]
    ) -> tuple[list[RegisteredModel], dict[str, dict[Role, RoleState]], str]:
        """What the registry says of every wanted or served model.

        Returns:
            The models; the state of those about which it answers with an error; why it does not answer at all, if so.
        """
        models: list[RegisteredModel] = []
        states: dict[str, dict[Role, RoleState]] = {}
        try:
            if self._registry is None:
                self._registry = self._connect()
            wanted = self._registry.names() if self._settings.models == "*" else self._settings.models
            for name in wanted:
                try:
                    models.append(self._registry.model(name))
                except RegistryUnavailableError:
                    raise
                except RegistryError as error:  # one odd model must not stop the others
                    champion = served.get(name, ModelRoles()).champion
                    serving = champion.version if champion else None
                    states[name] = {"champion": RoleState(state="pending", serving=serving, reason=str(error))}
        except RegistryError as error:
            self._failures += 1
            self._disconnect()
            return [], {}, str(error)
        self._failures = 0
        # What is served though nobody wants it any more is an orphan, like a deleted model.
        return models + [RegisteredModel(name=name) for name in served if name not in set(wanted)], states, ""

    def _advance(self, model: RegisteredModel, current: ModelRoles) -> ModelPlan:
        plan = self._planner.plan(model, current)
        if not plan.fetch:
            return plan
        for version in plan.fetch:
            self._fetch(model.name, version)
        return msgspec.structs.replace(self._planner.plan(model, current), fetch=())

    def _fetch(self, name: str, version: RegisteredVersion) -> None:
        """Bring a version's file into the store, or remember why not."""
        folder = self._store.root / "incoming"
        path = folder / "model.onnx"
        try:
            if self._registry is None:
                return
            folder.mkdir(exist_ok=True)
            self._registry.download(name, version.version, path, limit_bytes=self._settings.max_model_bytes)
            self._judge(name, version, path)
        except (RegistryError, OSError) as error:
            self._planner.failed(name, version.version, str(error))
        finally:
            path.unlink(missing_ok=True)

    def _judge(self, name: str, version: RegisteredVersion, path: Path) -> None:
        """Decide over complete bytes: into the store, into quarantine, or once more later."""
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        known = self._quarantine.find(name, version.version, version.sha256_tag)
        if known and known.sha256 == sha256:
            self._planner.judged(name, version.version)
            return
        reason = refusal(version, sha256)
        if reason is None:
            verdict = self._verify(path)
            # The verdict counts for the bytes that were judged; those that go into the store are these.
            if verdict.ok and verdict.sha256 == sha256:
                self._writer.put(data)
                self._planner.judged(name, version.version)
                self._quarantine.release(name, version.version)
                return
            if verdict.ok or not verdict.deterministic:
                self._planner.failed(name, version.version, verdict.reason or "the file changed while it was verified")
                return
            reason = verdict.reason
        self._quarantine.add(
            Quarantined(
                name=name,
                version=version.version,
                sha256=sha256,
                tag=version.sha256_tag,
                reason=reason,
                since=self._now(),
            )
        )
        self._planner.judged(name, version.version)

    def _publish(self, manifest: Manifest, served: dict[str, ModelRoles], causes: dict[tuple[str, Role], Cause]) -> str:
        """Publish what differs; returns what kept it from being published."""
        try:
            new = self._writer.publish(served, causes)
            self._unpublish.clear()
            if new.generation != manifest.generation:
                _log.info("generation %d is published", new.generation)
                self._writer.collect(keep=self._settings.history_keep, hold_s=self._settings.hold_objects_s)
        except (OSError, ObjectError) as error:
            return f"nothing can be published: {error}"
        return ""

    def _take_requests(self) -> None:
        """Take up what other processes asked for."""
        for request in self._writer.take_requests():
            _log.info("%s asks to %s %s %s", request.who, request.action, request.model, request.version or "")
            if request.action == "unpublish":
                self._unpublish[request.model] = Cause(reason="unpublished", who=request.who)
            elif request.version is not None and request.version.isdigit():
                self._quarantine.release(request.model, int(request.version))
                self._planner.released(request.model, int(request.version))

    def _tag(self, models: dict[str, RegisteredModel], changed: list[tuple[str, Role, RoleState]]) -> None:
        """Tell the registry what became of a version, once, where it lets us: other sidecars write the same tag."""
        for name, role, state in changed:
            text = {"serving": f"serving as {role}", "quarantined": f"quarantined: {state.reason}"}.get(state.state)
            if text is None or state.version is None or self._registry is None or self._tags_refused:
                continue
            text = text[:_TAG_CHARACTERS]
            tags = {str(version.version): version.tags for version in models[name].versions}
            if tags.get(state.version, {}).get(STATE_TAG) == text:
                continue
            try:
                self._registry.set_version_tag(name, int(state.version), STATE_TAG, text)
            except RegistryUnavailableError as error:
                _log.info("version %s of %s is not tagged: %s", state.version, name, error)
            except RegistryError as error:
                self._tags_refused = True
                _log.info("the registry takes no tags from here, which is fine: %s", error)

    def _stored(self, sha256: str) -> bool:
        try:
            self._store.load(sha256)
        except (ObjectError, OSError):
            return False
        return True

    def _disconnect(self) -> None:
        if self._registry is not None:
            self._registry.close()
            self._registry = None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._store.clock(), UTC)
