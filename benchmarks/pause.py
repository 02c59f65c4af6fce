"""Hold servers still while another one is measured."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from benchmarks.process import descendants

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["paused"]


@contextmanager
def paused(pids: Iterable[int]) -> Iterator[None]:
    """Stop each process and all below it (SIGSTOP) for the length of the block; they always go on after it.

    A process that has ended is left out; each one is held by a pidfd, so that no stranger is ever hit.
    """
    with ExitStack() as resumed:  # in reverse: children go on before the parents that look after them
        for pid in pids:
            _stop(pid, resumed)
        yield


def _stop(root: int, resumed: ExitStack) -> None:
    """Parents first, and again until nobody is new: a process may fork until it is stopped."""
    seen: set[int] = set()
    while new := [pid for pid in (root, *descendants(root)) if pid not in seen]:
        seen.update(new)
        for pid in new:
            with suppress(ProcessLookupError):
                held = os.pidfd_open(pid)
                resumed.callback(_resume, held)
                signal.pidfd_send_signal(held, signal.SIGSTOP)


def _resume(held: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(held, signal.SIGCONT)
    os.close(held)
