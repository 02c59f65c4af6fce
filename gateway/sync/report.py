"""The sidecar's voice: the status file on every pass, the log on every change."""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.store import replace_file
from gateway.sync.quarantine import Quarantined
from gateway.sync.status import RegistryState, RoleState, SyncStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.store import ModelStore, Role

__all__ = ["Reporter", "status_path"]

_log = logging.getLogger("hotgate.sync")


def status_path(store: ModelStore) -> Path:
    """Where the sidecar of a store writes its status."""
    return store.root / "sync.json"


class Reporter:
    """Remembers the last pass, so that the log tells only what changed."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self.status = SyncStatus(pid=os.getpid(), registry=RegistryState(reachable=True, since=self._now()))

    def tell(
        self,
        states: Mapping[str, dict[Role, RoleState]] | None,
        *,
        error: str,
        problem: str,
        quarantined: list[Quarantined],
    ) -> list[tuple[str, Role, RoleState]]:
        """Write the status and log the changes; returns the roles whose state is new.

        Args:
            states: by model and role; None if the registry did not answer, which leaves them as they were.
            error: why it did not, or empty.
            problem: what kept this pass from being published, or empty.
            quarantined: versions whose bytes were judged; those held back for another reason are added here.
        """
        old, now = self.status, self._now()
        registry = RegistryState(reachable=not error, since=now, error=error)
        if old.registry.reachable == registry.reachable:
            registry = msgspec.structs.replace(registry, since=old.registry.since)
        models = old.models if states is None else dict(states)
        self.status = SyncStatus(
            pid=old.pid,
            registry=registry,
            last_poll=old.last_poll if states is None else now,
            error=problem,
            models=models,
            quarantined=sorted([*quarantined, *self._held_back(models, quarantined)], key=_by_version),
        )
        changed = [
            (name, role, state)
            for name, roles in self.status.models.items()
            for role, state in roles.items()
            if state != old.models.get(name, {}).get(role)
        ]
        self._log(old, changed)
        with contextlib.suppress(OSError):  # a full disk must not end the pass; the file's age tells
            replace_file(status_path(self._store), msgspec.json.encode(self.status), durable=False)
        return changed

    def _held_back(
        self, models: Mapping[str, dict[Role, RoleState]], judged: list[Quarantined]
    ) -> Iterator[Quarantined]:
        """Versions in quarantine though nobody judged their bytes, each since it was first seen so."""
        known = {_by_version(item) for item in judged}
        before = {(*_by_version(item), item.tag): item.since for item in self.status.quarantined}
        for name, roles in models.items():
            for state in roles.values():
                if state.state != "quarantined" or state.version is None or (name, int(state.version)) in known:
                    continue
                version, tag = int(state.version), state.sha256
                yield Quarantined(
                    name=name, version=version, sha256=tag or "", tag=tag, reason=state.reason,
                    since=before.get((name, version, tag)) or self._now(),
                )  # fmt: skip

    def _log(self, old: SyncStatus, changed: list[tuple[str, Role, RoleState]]) -> None:
        registry = self.status.registry
        if registry.reachable and not old.registry.reachable:
            _log.info("the registry answers again")
        if old.registry.reachable and not registry.reachable:
            _log.warning("the registry does not answer, what is served goes on: %s", registry.error)
        if self.status.error and self.status.error != old.error:
            _log.error("%s", self.status.error)
        for name, role, state in changed:
            calm = state.state in {"serving", "empty"} and not state.others
            _log.log(logging.INFO if calm else logging.WARNING, "%s %s: %s", name, role, state)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._store.clock(), UTC)


def _by_version(item: Quarantined) -> tuple[str, int]:
    return item.name, item.version
