"""Servers are started, waited for and ended; the fixed answer is granian's, byte for byte."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks.affinity import cores
from benchmarks.errors import ServerError
from benchmarks.fixed import FixedAnswer
from benchmarks.load import LoadPlan, run
from benchmarks.process import descendants, pss_bytes, workers
from benchmarks.servers import Reply, ask, free_port, serving

if TYPE_CHECKING:
    from pathlib import Path

CHILD = """
import subprocess, sys, http.server
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def answer(tmp_path) -> Path:
    reply = Reply(
        status=200,
        headers=(("content-type", "application/json"), ("x-model-version", "file"), ("Date", "x"), ("server", "y")),
        body=b'{"prediction":0}',
    )
    path = tmp_path / "answer.json"
    path.write_bytes(msgspec.json.encode(FixedAnswer.like(reply)))
    return path


@pytest.mark.process
def test_fixed_answer_is_served_under_load(generator, answer, tmp_path, gone):
    """One worker, pinned, the same bytes to everyone, no error, and nothing left behind."""
    port, core = free_port(), cores()[-1]
    command = [sys.executable, "-m", "benchmarks.fixed", answer, str(port)]
    with serving(command, port=port, core=core, log=tmp_path / "log") as server:
        reply = ask(port, "POST", "/predict", b"{}")
        assert (reply.status, reply.body) == (200, b'{"prediction":0}')
        assert reply.header("X-Model-Version") == "file"
        result = run(generator, LoadPlan(port=port, body=b"{}", connections=32, seconds=0.3, warmup_s=0.1))
        (worker,) = workers(server.pid)
        assert os.sched_getaffinity(worker) == {core}
        assert 1 << 20 < pss_bytes(worker) < 1 << 30
        below = descendants(server.pid)
        assert worker in below
    assert result.failed == 0, result.faults()
    assert result.ok > 100
    assert 0 < server.startup_s < 60
    assert gone([server.pid, *below])
    assert os.sched_getaffinity(0) == set(cores())


def test_everything_below_a_server_is_ended(tmp_path, gone):
    """A child that ignores SIGTERM, and an error in the block, leave nothing behind."""
    port, found = free_port(), []

    def interrupted() -> None:
        with serving(
            [sys.executable, "-c", CHILD, str(port)], port=port, ready_path="/", log=tmp_path / "log"
        ) as server:
            found.extend([server.pid, *descendants(server.pid)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(found) == 2
    assert gone(found)


def test_server_that_fails_shows_its_last_words(tmp_path):
    """The error has the exit code and the end of the log."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with (
        pytest.raises(ServerError, match=r"(?s)ended with 1.*no such model"),
        serving(command, port=free_port(), log=tmp_path / "log"),
    ):
        pass


def test_server_that_is_never_ready_is_given_up(tmp_path):
    """The deadline holds, and the process is ended."""
    command = [sys.executable, "-c", "import time; print('waiting', flush=True); time.sleep(600)"]
    with (
        pytest.raises(ServerError, match=r"(?s)/readyz was not 200 within 0.5 s.*waiting"),
        serving(command, port=free_port(), log=tmp_path / "log", deadline_s=0.5),
    ):
        pass


def test_server_that_dies_beside_the_block_is_an_error(tmp_path, gone):
    """A run against a server that ended is never taken for a good one."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]

    def killed_meanwhile() -> None:
        with serving(command, port=port, ready_path="/", log=tmp_path / "log") as server:
            os.kill(server.pid, signal.SIGKILL)
            assert gone([server.pid])

    with pytest.raises(ServerError, match="ended with -9"):
        killed_meanwhile()
