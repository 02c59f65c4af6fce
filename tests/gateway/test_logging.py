"""The prediction log behind real workers: what was answered is in it once, whatever is swapped, stopped or killed."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import threading
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pytest
from harness import serving, wait_until

from gateway.counts import folders_in
from gateway.observe import segments
from gateway.observe.process import Observer, ObserverStatus
from gateway.observe.settings import MonitorSettings
from gateway.predictions import read_frame
from gateway.spool import read_spool
from gateway.store import Entry, ModelRoles, ModelStore

pytestmark = pytest.mark.process


class Answered(NamedTuple):
    """One row of a request, as its client saw it."""

    request_id: str
    row: int
    sha256: str
    first: float
    label: str


def ask(port, rows, numbers, prefix, answered):
    """Send requests of one to three rows, whose first value is told apart, on one connection; note every answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for number in numbers:
        given = [[float(3 * number + row), *rows[number % len(rows)][1:]] for row in range(1 + number % 3)]
        body = {"features": given[0]} if len(given) == 1 else {"instances": given}
        headers = {"Content-Type": "application/json", "X-Request-Id": f"{prefix}{number}"}
        connection.request("POST", "/predict", json.dumps(body), headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200, found
        for row, one in enumerate(found["predictions"] if len(given) > 1 else [found]):
            answered.append(
                Answered(f"{prefix}{number}", row, answer.getheader("x-model-sha256"), given[row][0], one["label"])
            )
    connection.close()


def until(stop, numbers):
    """Count until told to stop."""
    return itertools.takewhile(lambda _: not stop.is_set(), numbers)


def logged(home, names):
    """All rows of the log, as they were answered."""
    parts = [
        part.select(["request_id", "row", "sha256", names[0], "label"])
        for folder in folders_in(home / "monitor" / "predictions")
        for name in segments.segments(folder)
        for part in segments.read(folder / str(name))
    ]
    return sorted(Answered(*row.values()) for row in pa.concat_tables(parts).to_pylist())


def publish(writer, version, model):
    writer.publish({"cancer": ModelRoles(champion=Entry(version=version, sha256=model.file.sha256))})


def test_every_answer_is_in_the_log_once(tmp_path, linear, forest, cancer):
    """Two workers, swaps under way, four clients; ended by SIGTERM."""
    rows, _, names = cancer[0].tolist(), cancer[1], cancer[2]
    answered = []
    with ModelStore(tmp_path / "home" / "store").writer() as writer:
        for model in (linear, forest):
            writer.put(model.file.data)
        publish(writer, "1", linear)
        with serving(tmp_path, "--no-sync", "--workers", "2") as server:
            wait_until(lambda: len(server.workers()) == 2, what="two workers")
            stop = threading.Event()
            clients = [
                threading.Thread(
                    target=ask, args=(server.port, rows, until(stop, itertools.count(number, 4)), "r", answered)
                )
                for number in range(4)
            ]
            for client in clients:
                client.start()
            for step, model in enumerate((forest, linear, forest)):
                publish(writer, str(step + 2), model)
                wait_until(lambda: any(row.sha256 == model.file.sha256 for row in answered[-8:]), what="that version")  # noqa: B023
            wait_until((tmp_path / "home/monitor/observer.json").exists, what="an observer that is told to stop, too")
            stop.set()
            for client in clients:
                client.join()
    assert logged(tmp_path / "home", names) == sorted(answered)
    status = msgspec.json.decode((tmp_path / "home/monitor/observer.json").read_bytes(), type=ObserverStatus)
    assert (status.problems, status.log_dropped_rows) == ({}, 0)
    assert list((tmp_path / "home/monitor/spool/predictions").iterdir()) == []


def test_what_was_handed_over_survives_a_worker_and_an_observer_that_are_killed(tmp_path, linear, cancer):
    """Both by SIGKILL, once the rows are in the worker's open file; redacted columns are nowhere."""
    rows, names = cancer[0].tolist(), cancer[2]
    spool = tmp_path / "home/monitor/spool/predictions"
    answered, more = [], []
    settings = {"HOTGATE_MONITOR_LOG_REDACT": json.dumps([names[1]])}
    with serving(tmp_path, "--model", f"cancer={linear.path}", env=settings) as server:
        (worker,) = server.workers()
        ask(server.port, rows, range(50), "r", answered)
        wait_until(lambda: _handed_over(spool) >= 100 - 1, what="all rows in the spool")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: set(server.workers()) - {worker}, what="a new worker")
        os.kill(wait_until(server.observer, what="an observer"), signal.SIGKILL)
        wait_until(lambda: _accepts(server), what="an answer")
        ask(server.port, rows, range(50), "s", more)
    Observer(tmp_path / "home/monitor", MonitorSettings()).look()  # the next server's, if that one's came too late
    assert logged(tmp_path / "home", names) == sorted(answered + more)
    (folder,) = folders_in(tmp_path / "home/monitor/predictions")
    for name in segments.segments(folder):
        for part in segments.read(folder / str(name)):
            assert part[names[1]].null_count == len(part)
            assert part[names[0]].null_count == 0


def _handed_over(spool):
    """Rows in all files that are there, or were made of those that are gone."""
    found = [read_frame(frame) for path in spool.glob("*.spool") for frame in read_spool(path)]
    folders = folders_in(spool.parents[1] / "predictions")
    parts = [
        part for folder in folders for name in segments.segments(folder) for part in segments.read(folder / str(name))
    ]
    return sum(frame.head.rows for frame in found) + sum(map(len, parts))


def _accepts(server):
    try:
        return server.request("GET", "/readyz", timeout=2.0)[0] == 200
    except OSError:
        return False
