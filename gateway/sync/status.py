"""What the sidecar tells about itself: `sync.json` in the store, for `/health`, metrics and operators."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.store import Role
from gateway.sync.quarantine import Quarantined

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RegistryState", "RoleState", "State", "SyncStatus", "read_status"]


State = Literal["serving", "pending", "quarantined", "orphaned", "empty"]


class RoleState(msgspec.Struct, frozen=True, kw_only=True):
    """One role of one model, as the last look at the registry left it."""

    state: State
    """`pending` and `quarantined` are about `version`; `serving` tells what goes on meanwhile."""
    version: str | None = None
    """What the registry names."""
    sha256: str | None = None
    """What the registry says that this version's file is."""
    serving: str | None = None
    """What the manifest names."""
    others: tuple[int, ...] = ()
    """Further versions that the registry names: not empty means ambiguous."""
    reason: str = ""

    def __str__(self) -> str:
        words = f"{self.state} {self.version or self.serving or ''}".rstrip()
        if self.serving and self.serving != self.version and self.version:
            words += f", version {self.serving} goes on"
        return f"{words}: {self.reason}" if self.reason else words


class RegistryState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the registry answers, and since when that has been so."""

    reachable: bool
    since: datetime
    error: str = ""


class SyncStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The sidecar's last pass."""

    pid: int
    registry: RegistryState
    last_poll: datetime | None = None
    """The last pass in which the registry answered."""
    error: str = ""
    """What kept this pass from being published, such as a full disk."""
    models: dict[str, dict[Role, RoleState]] = {}
    quarantined: list[Quarantined] = []
    """Those whose bytes were judged, and those that `[sync] require_gate` holds back."""


_DECODER = msgspec.json.Decoder(SyncStatus)


def read_status(path: Path) -> SyncStatus | None:
    """What the sidecar last wrote, or None if it never ran or wrote something else."""
    try:
        return _DECODER.decode(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
