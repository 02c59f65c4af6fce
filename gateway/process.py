"""What a worker does as a process: it dies with its parent, drains when told, and stops accepting before it stops."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["DRAIN_SIGNAL", "end_with_parent", "listen_for_signals", "schedule_as_batch", "stop_accepting"]

DRAIN_SIGNAL = signal.SIGUSR1
"""What `hotgate serve` sends its workers before it stops them."""

_PARENT_LOOK_S = 0.5
_SO_ATTACH_FILTER = 26
_DROP_EVERYTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)  # BPF: RET 0


def schedule_as_batch() -> None:
    """Ask the kernel not to let a thread that is woken interrupt the one that runs: SCHED_BATCH, for this process.

    The server's two threads wake each other for every request; on one core each wake-up is a switch, unless the one
    that runs may finish what it has in hand first. Where the kernel refuses, all stays as it was.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def end_with_parent(loop: asyncio.AbstractEventLoop, end_streams: Callable[[], None]) -> None:
    """Stop this process, as on SIGTERM, once the one that forked it is gone, however it went.

    The server waits for answers that are under way, so streams, which have no end, are ended first. Looked at again and
    again from the loop: a signal that the kernel sent for it could come before the server listens.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def look() -> None:
        if os.getppid() != parent.pid:
            end_streams()
            os.kill(os.getpid(), signal.SIGTERM)
        loop.call_later(_PARENT_LOOK_S, look)  # also after that: before the server listens to signals, one is lost

    loop.call_later(_PARENT_LOOK_S, look)


def listen_for_signals(loop: asyncio.AbstractEventLoop, drain: Callable[[], None]) -> None:
    """Drain on `DRAIN_SIGNAL`; leave Ctrl-C, which a terminal sends to every process, to the parent."""
    loop.remove_signal_handler(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(DRAIN_SIGNAL, drain)


def stop_accepting() -> int:
    """Have the kernel ignore new connections to this process's listening sockets; returns how many there are.

    A listening socket that is closed resets the connections that wait in its queue, whose clients have seen them open
    and may have sent their request whole. A filter that drops every packet to the listener keeps the queue from
    growing while the server still empties it; connections that are open already have sockets of their own. Linux 6.18
    keeps that filter from users without privileges, as in a container: there the queue is cut to one connection a
    listener, so that at most that one can be reset.
    """
    code = ctypes.create_string_buffer(_DROP_EVERYTHING)
    program = struct.pack("HL" if struct.calcsize("L") == 4 else "HxxxxxxL", 1, ctypes.addressof(code))
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            duplicate = os.dup(int(entry.name))
        except OSError:
            continue
        try:
            listener = socket.socket(fileno=duplicate)
        except OSError:
            os.close(duplicate)
            continue
        with listener:
            if _listens(listener):
                try:
                    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
                except PermissionError:
                    listener.listen(0)
                found += 1
    return found


def _listens(candidate: socket.socket) -> bool:
    if candidate.family not in {socket.AF_INET, socket.AF_INET6} or candidate.type != socket.SOCK_STREAM:
        return False
    try:
        return bool(candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
