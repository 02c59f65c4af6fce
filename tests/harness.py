"""Real servers on free ports, for tests of several rooms."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

READY_S = 30.0
NO_DRAIN = {"HOTGATE_GATEWAY_DRAIN_S": "0", "HOTGATE_MONITOR_IDLE_SCHEDULING": "false"}
"""For a server whose end is not what a test is about: the default keeps taking requests for two more seconds; and whose
observer is waited for, although others compute beside it."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """A running `hotgate serve` (or any server's command) on a port."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self.log = log

    def request(self, method, path, body=b"", headers=None, timeout=10.0):
        """One request on a connection of its own: status, lower-case headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def predict(self, body: bytes, path="/predict", **headers):
        """POST a JSON body."""
        return self.request("POST", path, body, {"Content-Type": "application/json", **headers})

    def children(self) -> list[int]:
        """Process ids of its children: the workers, the observer, and the sidecar if there is one."""
        return _children(self.process.pid, "*")

    def workers(self) -> list[int]:
        """Process ids of its workers, which its main thread forks: their command line is its own.

        So is, for a moment, that of what another thread starts: the observer or the sidecar, before it is executed.
        """
        main = self.process.pid
        return [pid for pid in _children(main, str(main)) if _command_line(pid) == _command_line(main)]

    def observer(self) -> int | None:
        """Process id of the observer, once it runs."""
        return next((pid for pid in self.children() if b"gateway.observe" in _command_line(pid)), None)

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text()


def _children(pid, thread):
    """Process ids of the children of one thread of a process, or of all."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob(f"{thread}/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # that thread ended meanwhile
            found += map(int, task.read_text().split())
    return found


def _command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def wait_until(condition, *, deadline_s=READY_S, what="the condition"):
    """Poll until `condition()` is true, and return what it gave."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {deadline_s:g} s")


@contextlib.contextmanager
def serving(tmp_path, *arguments, command=None, port=None, env=None, ready="/readyz"):
    """Run `hotgate serve ARGUMENTS` until the block is left; ends it by its process id."""
    port = port or free_port()
    tmp_path.mkdir(parents=True, exist_ok=True)
    log = tmp_path / f"serve-{port}.log"
    line = command(port) if command else [sys.executable, "-m", "hotgate", "serve", "--port", str(port), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            line,
            cwd=tmp_path,
            env={**os.environ, "HOTGATE_HOME": str(tmp_path / "home"), **NO_DRAIN, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    served = Served(process, port, log)
    try:
        if ready:
            wait_until(lambda: _answers(served, ready), what=f"200 from {ready}: {served.text()}")
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(served, path):
    if served.process.poll() is not None:
        raise AssertionError(f"ended with code {served.process.returncode}: {served.text()}")
    try:
        return served.request("GET", path, timeout=2.0)[0] == 200
    except OSError:
        return False


class Traffic:
    """A closed loop of keep-alive connections, one thread each, that tells what became of every request.

    `lost` counts requests that were sent whole and got no answer, or half of one, unless the connection had been used
    before and was closed before the first byte of the answer: that is `stale`, and the request is sent again.
    """

    def __init__(self, port, body, *, connections=8, path="/predict", method="POST", headers=None):
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}{extra}\r\n"
        self._request = head.encode() + body
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._loop, daemon=True) for _ in range(connections)]
        self.answers = []
        """(monotonic time, status, version, sha256, body) of every answer."""
        self.last_before_stale = []
        """The body of the last answer on each connection that went stale."""
        self.lost = 0
        self.stale = 0
        self.refused = 0

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Let every connection finish its request, and join."""
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def count(self) -> int:
        """Answers so far."""
        return len(self.answers)

    def _loop(self):
        connection, last = None, b""
        while not self._stop.is_set():
            try:
                if connection is None:
                    connection, reused = socket.create_connection(("127.0.0.1", self._port), timeout=15), False
            except OSError:
                with self._lock:
                    self.refused += 1
                self._stop.wait(0.02)
                continue
            outcome, keep = self._exchange(connection, reused=reused)
            with self._lock:
                if outcome == "lost":
                    self.lost += 1
                elif outcome == "stale":
                    self.stale += 1
                    self.last_before_stale.append(last)
                else:
                    self.answers.append(outcome)
                    last = outcome[-1]
            reused = True
            if not keep:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _exchange(self, connection, *, reused):
        begun = False
        try:
            connection.sendall(self._request)
            answer = http.client.HTTPResponse(connection)
            begun = bool(connection.recv(1, socket.MSG_PEEK))
            answer.begin()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return ("stale" if reused and not begun else "lost"), False
        stamp = (answer.getheader("x-model-version"), answer.getheader("x-model-sha256"))
        return (time.monotonic(), answer.status, *stamp, body), not answer.will_close
