"""How a process beside the workers begins: it logs to standard error, and ends with the one that started it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

__all__ = ["begin"]

_PARENT_LOOK_S = 0.5


def begin(parent: int | None) -> None:
    """Log, and be sent SIGTERM once the parent is gone; to be called when that signal's handler stands.

    Args:
        parent: process id; None is nobody's child.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("hotgate").setLevel(logging.INFO)
    if parent is not None:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True, name="parent").start()


def _watch_parent(parent: int) -> None:
    """An orphan gets another parent, so no process id can be mistaken."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(_PARENT_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
