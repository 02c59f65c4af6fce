"""`hotgate serve`: granian's workers, the sidecar and the observer beside them, from start to drained stop.

This process only supervises: it loads no model and imports nothing heavy, because its workers are forked from it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.process import DRAIN_SIGNAL
from gateway.settings import METRICS_DIR, WORKER_CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.settings import WorkerConfig

__all__ = ["ChildProcess", "child_command", "run_server"]

_log = logging.getLogger("hotgate.serve")

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel takes fewer where `net.core.somaxconn` is lower."""
CONNECTIONS_MAX = 1 << 20
"""Open connections of a worker. granian's own limit, `BACKLOG` by the workers, leaves those above it without an answer
for as long as the others stay open: overload is answered by refusing requests, which clients can see."""
ACCEPT_GRACE_S = 0.25
"""Between the last accepted connection and the stop: time for a request that is on its way to be read."""


class ChildProcess:
    """A process beside the workers, started again with back-off when it dies; its death changes nothing for clients."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        hold_back: Callable[[threading.Event], None] | None = None,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 30.0,
    ) -> None:
        """Set up.

        Args:
            name: what it is called in the log.
            command: what to run.
            hold_back: returns when it may start, at the latest when the event is set: the server stops.
            first_wait_s: pause before one that died is started again; doubled each time.
            longest_wait_s: no pause is longer.
        """
        self._name = name
        self._command = command
        self._environment = dict(os.environ)  # as it is before `run_server` adds what is for workers only
        self._hold_back = hold_back
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep it alive while the block runs."""
        self._thread = threading.Thread(target=self._supervise, name=f"hotgate-{self._name}", daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def _supervise(self) -> None:
        if self._hold_back is not None:
            self._hold_back(self._stop)
        wait_s = self._first_wait_s
        while not self._stop.is_set():
            started = time.monotonic()
            # A group of its own, so that Ctrl-C in a terminal reaches it through us and not past us; but no session of
            # its own: the kernel shares time out by session first (autogroup), and SCHED_IDLE would not count.
            child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, process_group=0, env=self._environment)
            while child.poll() is None and not self._stop.wait(0.1):
                pass
            if self._stop.is_set():
                _end(child)
                return
            if time.monotonic() - started > self._longest_wait_s:
                wait_s = self._first_wait_s
            _log.warning("the %s ended with code %s; starting it again in %.0f s", self._name, child.returncode, wait_s)
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, self._longest_wait_s)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def run_server(config: WorkerConfig, *, host: str, port: int, workers: int, metrics_dir: Path) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Raises:
        SystemExit: a worker could not start, or died again right after it was started anew.
    """
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops

    os.environ[WORKER_CONFIG] = msgspec.json.encode(config).decode()
    os.environ[METRICS_DIR] = str(metrics_dir)
    _allow_open_files()
    os.register_at_fork(after_in_child=_begin_worker)
    server = Granian(
        "gateway.app:app",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=workers,
        loop=Loops.asyncio,  # `auto` takes whatever loop happens to be installed
        http=HTTPModes.http1,
        runtime_threads=1,
        blocking_threads=1,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
        websockets=False,
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=30,
    )
    server.on_startup(lambda: _drain_on_signals(server.signal_handler_interrupt, config.settings.drain_s))
    server.serve()


def _begin_worker() -> None:
    """What holds in a worker until it has started.

    The signal handlers that it is forked with are its parent's, and would swallow the word to stop: a server that is
    stopped while a worker is started anew would wait for that one until it is killed.
    """
    gc.disable()  # until `calm_garbage_collection`
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _allow_open_files() -> None:
    """Let workers have as many connections as the system allows at all: the usual soft limit is 1,024 files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _drain_on_signals(stop: Callable[[], Any], drain_s: float) -> None:
    """Replace granian's handlers: first let the workers drain, then stop; a second signal stops at once."""
    # Workers are forked with this disposition, and one that is still starting must not die of the signal.
    signal.signal(DRAIN_SIGNAL, signal.SIG_IGN)

    def on_signal(number: int, _frame: Any) -> None:
        for again in (signal.SIGTERM, signal.SIGINT):
            signal.signal(again, lambda *_: stop())
        workers = multiprocessing.active_children()
        _log.info("%s: draining %d workers for %.3g s", signal.Signals(number).name, len(workers), drain_s)
        for worker in workers:
            if worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, DRAIN_SIGNAL)
        timer = threading.Timer(drain_s + ACCEPT_GRACE_S, stop)
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def child_command(module: str) -> list[str]:
    """How a module is started as a child of this process."""
    return [sys.executable, "-P", "-m", module, "--parent", str(os.getpid())]
