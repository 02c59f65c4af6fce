"""Versions whose bytes were judged and found wanting: remembered over restarts, so that nobody judges them twice."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.store import replace_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Quarantine", "Quarantined"]


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict that would be the same again."""

    name: str
    version: int
    sha256: str
    """Of the bytes that were judged."""
    tag: str | None
    """What the version's tag `hotgate.sha256` said then: another tag promises other bytes, and earns another look."""
    reason: str
    since: datetime


_DECODER = msgspec.json.Decoder(list[Quarantined])


class Quarantine:
    """The quarantined versions of one store; a file beside the manifest, written by the holder of the store's lock.

    A file that cannot be read counts as empty: the price is one more verification of each.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._items: dict[tuple[str, int], Quarantined] = {}
        try:
            self._items = {(item.name, item.version): item for item in _DECODER.decode(path.read_bytes())}
        except (FileNotFoundError, msgspec.DecodeError):
            return

    def find(self, name: str, version: int, tag: str | None) -> Quarantined | None:
        """What stands against a version, as long as it carries the same tag."""
        item = self._items.get((name, version))
        return item if item and item.tag == tag else None

    def add(self, item: Quarantined) -> None:
        """Remember a verdict; it takes the place of an older one about the same version."""
        self._items[item.name, item.version] = item
        self._save()

    def release(self, name: str, version: int) -> bool:
        """Forget what stands against a version, so that it is judged anew; False if there was nothing."""
        if self._items.pop((name, version), None) is None:
            return False
        self._save()
        return True

    def items(self) -> list[Quarantined]:
        """All of them, by name and version."""
        return [self._items[key] for key in sorted(self._items)]

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, msgspec.json.encode(self.items()))
