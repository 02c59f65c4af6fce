"""Server processes to measure: pinned, waited for, and ended whatever happens."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from benchmarks.affinity import pinned
from benchmarks.errors import ServerError
from benchmarks.process import descendants

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Reply", "Server", "ask", "free_port", "serving", "tail"]

STOP_S = 15.0
"""Time that a server has between SIGTERM and SIGKILL."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, read to its end."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, however its name is spelt."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that has said it is ready."""

    pid: int
    port: int
    startup_s: float
    """From just before the process was started to the first 200."""


def ask(port: int, method: str, path: str, body: bytes | None = None, *, timeout_s: float = 10.0) -> Reply:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
        answer = connection.getresponse()
        return Reply(status=answer.status, headers=tuple(answer.getheaders()), body=answer.read())
    finally:
        connection.close()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str | Path],
    *,
    port: int,
    log: Path,
    core: int | Collection[int] | None = None,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
    ready_path: str = "/readyz",
    deadline_s: float = 60.0,
) -> Iterator[Server]:
    """Run a server beside the block; leaving it ends the process and all below it.

    Args:
        command: what to run.
        port: where the server will listen on 127.0.0.1.
        log: file that takes all it prints.
        core: the only core, or cores, that it may use.
        home: its `HOTGATE_HOME`, and where it runs: this process's settings and registry are never its own.
        environment: further variables.
        ready_path: asked until it answers 200.
        deadline_s: how long that may take.

    Raises:
        ServerError: it ended, or was not ready in time; the text has the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, pinned(core):
        begin_ns = time.monotonic_ns()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=_environment(home, environment or {}),
            start_new_session=True,  # Ctrl-C is this process's affair, which then ends the server in order
        )
    try:
        _wait_ready(process, port, ready_path, deadline_s, log)
        startup_s = (time.monotonic_ns() - begin_ns) / 1e9
        yield Server(pid=process.pid, port=port, startup_s=startup_s)
        if process.poll() is not None:
            raise ServerError(_last_words(process, log))
    finally:
        _end(process)


def _environment(home: Path | None, added: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOTGATE_", "MLFLOW_"))}
    return {**kept, **({"HOTGATE_HOME": str(home)} if home else {}), **added}


def _wait_ready(process: subprocess.Popen[bytes], port: int, path: str, deadline_s: float, log: Path) -> None:
    deadline = time.monotonic() + deadline_s
    while True:
        if process.poll() is not None:
            raise ServerError(_last_words(process, log))
        with suppress(OSError, http.client.HTTPException):
            if ask(port, "GET", path, timeout_s=1.0).status == http.HTTPStatus.OK:
                return
        if time.monotonic() > deadline:
            raise ServerError(f"{path} was not 200 within {deadline_s:g} s; the log ends with:\n{tail(log)}")
        time.sleep(0.005)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all below it; a child is held by a pidfd, so that no stranger is ever hit."""
    with ExitStack() as held:
        below = []
        for pid in descendants(process.pid):
            with suppress(ProcessLookupError):
                below.append(os.pidfd_open(pid))
                held.callback(os.close, below[-1])
        try:
            process.terminate()
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also on a second Ctrl-C
            process.kill()
            for child in below:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(child, signal.SIGKILL)
            process.wait()


def _last_words(process: subprocess.Popen[bytes], log: Path) -> str:
    command = " ".join(map(str, process.args)) if isinstance(process.args, list | tuple) else str(process.args)
    return f"`{command}` ended with {process.returncode}; the log ends with:\n{tail(log)}"


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
