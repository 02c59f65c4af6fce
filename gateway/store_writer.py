"""What only the holder of the store's lock may do: keep objects, publish manifests, collect, take up requests."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.store import (
    ROLES,
    Cause,
    Change,
    Entry,
    Manifest,
    ModelRoles,
    ModelStore,
    ObjectError,
    Request,
    Role,
    committed_size,
    replace_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["StoreWriter"]

_REQUEST = msgspec.json.Decoder(Request)
_ENCODER = msgspec.json.Encoder()


class StoreWriter:
    """What only the holder of the lock may do; made by `ModelStore.writer`.

    Whatever step a SIGKILL or a full disk interrupts, readers see the manifest before or after, never between.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        for folder in (store.root, store.root / "objects"):
            for leftover in folder.glob(".*.tmp"):  # no other writer can be using it
                leftover.unlink()
        self._cut_history(store.read().generation)

    def put(self, data: bytes) -> str:
        """Keep a model file, durably and whole, and return its SHA-256; the same bytes again cost no write."""
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._store.load(sha256)
        except ObjectError:  # not there yet, or damaged by the disk: then this heals it
            replace_file(self._store.object_path(sha256), data)
        return sha256

    def publish(
        self, models: Mapping[str, ModelRoles], causes: Mapping[tuple[str, Role], Cause] | None = None
    ) -> Manifest:
        """Make `models` what is served, and write a history line for every entry that differs.

        The lines are written ahead: a reader ignores them, and the next writer removes them, unless the manifest of
        their generation came to be. So history and manifest agree after any crash.

        Args:
            models: all models, not only changed ones; one without any entry is left out.
            causes: why and who by (model, role); otherwise the registry is named.

        Returns:
            The manifest now in force; the same generation if nothing differs.

        Raises:
            ObjectError: an object that the manifest would newly name is missing.
        """
        old = self._store.read()
        kept = {name: roles for name, roles in models.items() if roles.champion or roles.challenger}
        if kept == old.models:
            return old
        generation = max([old.generation, *(change.generation for change in self._store.history()[-1:])]) + 1
        new = Manifest(generation=generation, models=dict(sorted(kept.items())))
        served = {entry.sha256 for entry in _entries(old)}
        for entry in _entries(new):
            if entry.sha256 not in served and not self._store.object_path(entry.sha256).is_file():
                raise ObjectError(f"{self._store.object_path(entry.sha256)} is missing: put it before publishing")
        when = datetime.fromtimestamp(self._store.clock(), UTC)
        self._append(_changes(old, new, causes or {}, when), old.generation)
        replace_file(self._store.manifest_path, _ENCODER.encode(new))
        return new

    def collect(self, *, keep: int, hold_s: float) -> list[str]:
        """Remove the objects that nobody needs any more.

        Kept are those the manifest names, those the last `keep` changes of each model name, and those younger than
        `hold_s` seconds.

        Returns:
            The hashes of what was removed.
        """
        wanted = {entry.sha256 for entry in _entries(self._store.read())}
        changes: dict[str, list[Change]] = defaultdict(list)
        for change in self._store.history():
            changes[change.model].append(change)
        for lines in changes.values():
            for change in lines[max(0, len(lines) - keep) :]:
                wanted.update(entry.sha256 for entry in (change.before, change.after) if entry)
        youngest = self._store.clock() - hold_s
        removed = []
        for path in sorted((self._store.root / "objects").glob("*.onnx")):
            if path.stem not in wanted and path.stat().st_mtime < youngest:
                path.unlink()
                removed.append(path.stem)
        return removed

    def take_requests(self) -> list[Request]:
        """Requests of other processes, oldest first; each is handed out once, one that cannot be read is dropped."""
        taken = []
        for path in sorted(self._store.requests_path.glob("[0-9]*.json")):
            with contextlib.suppress(msgspec.DecodeError):
                taken.append(_REQUEST.decode(path.read_bytes()))
            path.unlink()
        return taken

    def _append(self, changes: list[Change], generation: int) -> None:
        self._cut_history(generation)  # a publish that failed half-way may have left its lines
        with self._store.history_path.open("ab") as file:
            file.write(_ENCODER.encode_lines(changes))
            file.flush()
            os.fsync(file.fileno())

    def _cut_history(self, generation: int) -> None:
        """Remove from the end what never took effect."""
        with contextlib.suppress(FileNotFoundError), self._store.history_path.open("r+b") as file:
            file.truncate(committed_size(file.read(), generation))


def _entries(manifest: Manifest) -> Iterator[Entry]:
    for roles in manifest.models.values():
        yield from (entry for entry in (roles.champion, roles.challenger) if entry)


def _changes(old: Manifest, new: Manifest, causes: Mapping[tuple[str, Role], Cause], when: datetime) -> list[Change]:
    """One line for every model and role whose entry differs; an orphan's mark alone changes nothing that serves."""
    changes = []
    for name in sorted(old.models.keys() | new.models.keys()):
        for role in ROLES:
            before: Entry | None = getattr(old.models.get(name), role, None)
            after: Entry | None = getattr(new.models.get(name), role, None)
            if before == after:
                continue
            cause = causes.get((name, role), Cause())
            changes.append(
                Change(
                    time=when,
                    generation=new.generation,
                    model=name,
                    role=role,
                    before=before,
                    after=after,
                    reason=cause.reason,
                    who=cause.who,
                )
            )
    return changes
