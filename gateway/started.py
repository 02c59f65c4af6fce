"""How workers tell the process that forked them that they take connections: it starts nothing beside them before."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

__all__ = ["Started", "tell_started"]

_LOOK_S = 0.1


class Started:
    """A pipe whose writing end workers inherit by the fork; each that has started puts one byte into it."""

    def __init__(self) -> None:
        self._read, self.fd = os.pipe()
        os.set_blocking(self.fd, False)  # those that are started anew tell it too, and nobody reads on
        self._lock = threading.Lock()
        self._heard = 0

    def wait(self, workers: int, stop: threading.Event, *, longest_s: float) -> None:
        """Return when so many have started, `stop` is set or the time is over; several threads may wait."""
        end = time.monotonic() + longest_s
        while not stop.is_set() and time.monotonic() < end:
            with self._lock:
                if self._heard >= workers:
                    return
                if select.select([self._read], [], [], _LOOK_S)[0]:
                    self._heard += len(os.read(self._read, workers))

    def close(self) -> None:
        """Let go of both ends; once only."""
        os.close(self._read)
        os.close(self.fd)


def tell_started(fd: int) -> None:
    """Say so once, in a worker; where nobody can hear it, nothing happens."""
    with contextlib.suppress(OSError):
        os.write(fd, b".")
