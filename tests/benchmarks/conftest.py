"""A small HTTP server whose every answer is scripted, and the generator that is held against it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.load import build

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Script = Callable[["Exchange"], Awaitable[None]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever starts servers or sends load here wants the machine to itself: `make test` runs it last, alone."""
    for item in items:
        if item.path.parent == Path(__file__).parent and (
            item.get_closest_marker("process") or {"generator", "server"} & set(getattr(item, "fixturenames", ()))
        ):
            item.add_marker("measures")


class Exchange:
    """One request and the means to answer it, well or badly."""

    def __init__(self, number: int, on_connection: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.number = number
        """Of all requests, from 1."""
        self.on_connection = on_connection
        """Of the connection's requests, from 1."""
        self.body = body
        self.writer = writer

    def answer(self, status: int = 200, *, headers: str = "", body: bytes = b"{}", length: int | None = None) -> None:
        """Write an answer; `length` is what its head says, if not the truth."""
        size = len(body) if length is None else length
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: text/plain\r\n{headers}content-length: {size}\r\n\r\n"
        self.writer.write(head.encode() + body)

    def close(self) -> None:
        """End the connection behind what was written."""
        self.writer.close()


class ScriptedServer:
    """Runs in a thread of its own; the script may be a coroutine that delays, or block the loop to stall everyone."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.arrivals: list[float] = []
        self._script: Script | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        """Return when the port is open."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close everything; again is no error."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def play(self, script: Script) -> None:
        """Have each request answered by a script."""
        self._script = script

    def wait_for(self, requests: int) -> None:
        """Return when that many requests have come in."""
        deadline = time.monotonic() + 10
        while len(self.requests) < requests:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {requests} requests came"
            time.sleep(0.001)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        # Also the loop's own tasks: a connection that was accepted just now is not yet in `_open`.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task, writer in self._open.items():
                writer.transport.abort()  # here, because a task that is cancelled before its first step does nothing
                task.cancel()
            await asyncio.wait(others, timeout=0.01)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for on_connection in range(1, 10**9):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.arrivals.append(time.monotonic())
                self.requests.append(head)
                body = await reader.readexactly(length)
                assert self._script is not None
                await self._script(Exchange(len(self.requests), on_connection, body, writer))
                await writer.drain()
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(_alive, pids))


@pytest.fixture
def gone() -> Callable[[list[int]], bool]:
    """Whether all of some processes end within ten seconds."""
    return _gone


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.start()
    yield scripted
    scripted.stop()
    with warnings.catch_warnings():
        # A connection that the generator broke off while the loop was still accepting it is closed by the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
