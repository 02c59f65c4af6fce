"""The sidecar as a process: lock, signals, log, parent."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

from gateway.beside import begin
from gateway.store import ModelStore, StoreLockedError
from gateway.sync.connect import open_registry
from gateway.sync.settings import tracking_uri
from gateway.sync.sidecar import Sidecar

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sync.base import Registry
    from gateway.sync.planner import VerdictLike
    from gateway.sync.settings import SyncSettings

__all__ = ["run_sidecar"]


def run_sidecar(settings: SyncSettings, home: Path, *, parent: int | None = None) -> int:
    """Follow the registry until SIGTERM, SIGINT or the death of `parent`; to be called from the main thread.

    Returns:
        The exit code: 0 when told to stop, 1 when another process writes this store (said on stderr).
    """
    stop = threading.Event()
    _stop_on_signals(stop)
    begin(parent)
    store = ModelStore(home / "store")
    uri = tracking_uri(settings, home)

    def connect() -> Registry:
        return open_registry(uri, timeout_s=settings.timeout_s)

    try:
        with store.writer() as writer:
            Sidecar(store, writer, settings, connect=connect, verify=_verify).run(stop)
    except StoreLockedError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _verify(path: Path) -> VerdictLike:
    from converters.verify import verify_file

    return verify_file(path)


def _stop_on_signals(stop: threading.Event) -> None:
    def end(_number: int, _frame: object) -> None:
        # A download may take minutes, so it is broken off; the store bears an end at any point, even SIGKILL. The
        # event is for the places that swallow an exception raised by a signal, such as a finalizer.
        stop.set()
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
