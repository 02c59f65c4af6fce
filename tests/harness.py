"""Real servers on free ports, for tests of several rooms."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_S = 30.0


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
        """Process ids of its children: the workers, and the sidecar if there is one."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text()


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
def serving(tmp_path, *arguments, command=None, env=None, ready="/readyz"):
    """Run `hotgate serve ARGUMENTS` until the block is left; ends it by its process id."""
    port = free_port()
    tmp_path.mkdir(parents=True, exist_ok=True)
    log = tmp_path / f"serve-{port}.log"
    line = command(port) if command else [sys.executable, "-m", "hotgate", "serve", "--port", str(port), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            line,
            cwd=tmp_path,
            env={**os.environ, "HOTGATE_HOME": str(tmp_path / "home"), **(env or {})},
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
