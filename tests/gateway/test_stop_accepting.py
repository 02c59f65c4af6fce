from __future__ import annotations

import os
import subprocess
import sys

import pytest

_STOPPED = """
import select, socket, sys
from gateway.process import stop_accepting

def denied(*arguments):
    raise PermissionError(1, "Operation not permitted")

listener = socket.create_server(("127.0.0.1", 0), backlog=128)
if sys.argv[1] == "denied":
    socket.socket.setsockopt = denied
if sys.argv[1] != "not stopped":
    assert stop_accepting() == 1
clients = [socket.socket() for _ in range(8)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(listener.getsockname())
opened = set()
while True:
    _, ready, _ = select.select([], [client for client in clients if client not in opened], [], 0.2)
    if not ready:
        break
    opened.update(ready)
print(len(opened))
"""


@pytest.mark.parametrize(("way", "most"), [("filter", 2 if os.geteuid() else 0), ("denied", 2), ("not stopped", 8)])
def test_a_listener_that_stopped_accepting_opens_no_more_connections(way, most):
    """None with the kernel's filter; where that takes privileges, no more than the shortest queue holds."""
    done = subprocess.run([sys.executable, "-c", _STOPPED, way], capture_output=True, text=True, check=True, timeout=30)
    opened = int(done.stdout)

    assert opened <= most
    assert way != "not stopped" or opened == 8
