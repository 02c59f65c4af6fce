"""The observer beside real workers: any worker speaks for all, and whoever dies takes no count along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from harness import serving, wait_until

from gateway.countlog import CountLog
from gateway.counts import ModelCounts
from gateway.observe.alarms import Alerter
from gateway.observe.folding import Folding
from gateway.observe.performance import PerformanceKeeper
from gateway.observe.process import Observer, ObserverStatus
from gateway.observe.settings import MonitorSettings
from gateway.store import Entry, ModelRoles, ModelStore
from monitoring import RowCounter

ROOT = Path(__file__).resolve().parents[2]

process = pytest.mark.process


def counted(home, model):
    """Where a server keeps the counts of a model."""
    return ModelCounts(home / "monitor" / "counts" / model.file.sha256)


def leave(shared, reference, at, epochs, *, rows=1):
    """Leave what a worker that has ended would leave: so many epochs from `at` on, a row each."""
    cells = RowCounter(reference).size
    clock = [at]
    log = CountLog(shared, reference, cells, lambda: clock[0])
    for _ in range(epochs):
        counts = log.current()
        counts[-1] += rows
        log.commit()
        clock[0] += 10
    log.close()


@process
def test_any_worker_speaks_for_all_and_a_kill_or_a_restart_takes_nothing_along(tmp_path, linear, cancer):
    """Each of two workers speaks for all, also one that comes for one that was killed, and the next server."""
    rows = cancer[0].tolist()
    arguments = ("--model", f"cancer={linear.path}", "--workers", "2")
    with serving(tmp_path, *arguments) as server:
        workers = wait_until(lambda: len(found := server.workers()) == 2 and found, what="two workers")
        for start in range(0, 560, 14):
            assert server.predict(json.dumps({"instances": rows[start : start + 14]}).encode())[0] == 200
        wait_until(lambda: {_rows(server) for _ in range(8)} == {560}, deadline_s=5, what="560 rows, whoever is asked")
        whole = _drift(server)
        assert whole["features"][0]["psi"] is not None
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: set(server.workers()) - set(workers), what="a new worker")
        assert {_rows(server) for _ in range(8)} == {560}
    with serving(tmp_path, *arguments) as server:
        assert _drift(server) == whole
        assert server.predict(json.dumps({"instances": rows[:14]}).encode())[0] == 200
    counter = RowCounter(linear.file.metadata.reference)
    assert sum(counter.rows(span.counts) for span in counted(tmp_path / "home", linear).spans()) == 574


def _drift(server):
    return json.loads(server.request("GET", "/monitor/drift")[2])[0]


def _rows(server):
    return _drift(server)["n"]


@process
def test_the_observer_folds_and_its_death_costs_nothing(tmp_path, linear, cancer):
    """Files of workers that are gone are folded, also by the observer that comes after a SIGKILL."""
    shared = counted(tmp_path / "home", linear)
    reference = linear.file.metadata.reference
    with serving(tmp_path, "--model", f"cancer={linear.path}") as server:
        leave(shared, reference, time.time() // 10 * 10 - 600, 20)
        before = _rows(server)
        assert before == 20
        wait_until(lambda: _all_folded(shared), deadline_s=20, what="folded files")
        assert _rows(server) == 20
        first = wait_until(server.observer, what="an observer")
        os.kill(first, signal.SIGKILL)
        assert server.predict(json.dumps({"features": cancer[0][0].tolist()}).encode())[0] == 200
        leave(shared, reference, time.time() // 10 * 10 - 1200, 5)
        wait_until(lambda: server.observer() not in {None, first}, what="another observer")
        wait_until(lambda: len([name for name in shared.names() if name.kind == "live"]) <= 1, what="folded files")
        assert _rows(server) == 26
        told = tmp_path / "home/monitor/observer.json"
        wait_until(told.exists, what="the end of its pass")
        status = msgspec.json.decode(told.read_bytes(), type=ObserverStatus)
        assert (status.models, status.problems) == (1, {})


def _all_folded(shared):
    return {name.kind for name in shared.names()} == {"fold"}


@process
@pytest.mark.parametrize(("setting", "policy"), [("true", os.SCHED_IDLE), ("false", os.SCHED_OTHER)])
def test_the_observer_stands_back_unless_told_otherwise(tmp_path, linear, setting, policy):
    """A worker on its core never waits for it."""
    env = {"HOTGATE_MONITOR_IDLE_SCHEDULING": setting}
    with serving(tmp_path, "--model", f"cancer={linear.path}", env=env) as server:
        wait_until((tmp_path / "home/monitor/observer.json").exists, what="the end of a pass")
        assert os.sched_getscheduler(server.observer()) == policy


@process
def test_a_second_observer_waits_and_takes_over(tmp_path):
    """One at a time on a folder; and each ends when it is told to."""
    command = [sys.executable, "-P", "-m", "gateway.observe"]
    environment = {**os.environ, "HOTGATE_HOME": str(tmp_path)}
    first = subprocess.Popen(command, env=environment, cwd=tmp_path)
    wait_until((tmp_path / "monitor/observer.json").exists, what="the first one's pass")
    log = tmp_path / "second.log"
    with log.open("wb") as output:
        second = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=output)
    try:
        wait_until(lambda: b"waits" in log.read_bytes(), what="the second one's word")
        first.terminate()
        assert first.wait(10) == 0
        (tmp_path / "monitor/observer.json").unlink()
        wait_until((tmp_path / "monitor/observer.json").exists, what="the second one's pass")
        second.terminate()
        assert second.wait(10) == 0
    finally:
        for one in (first, second):
            one.kill()
            one.wait()


def test_what_fails_on_one_model_stops_no_other(tmp_path, linear, monkeypatch, caplog):
    """It is told once, shown in the status, and tried again."""
    reference = linear.file.metadata.reference
    for name in ("a", "b"):
        leave(ModelCounts(tmp_path / "counts" / name), reference, 1_800_000_000.0, 3)
    observer = Observer(tmp_path, MonitorSettings(), lambda: 1_800_000_100.0)
    fold = ModelCounts.fold

    def broken(self, *arguments):
        if self.folder.name == "a":
            raise OSError("no room")
        fold(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ModelCounts, "fold", broken)
        for _ in range(2):
            status = observer.look()
    assert status.problems == {"a": "counts are not folded: no room"}
    assert caplog.text.count("no room") == 1
    assert _all_folded(ModelCounts(tmp_path / "counts" / "b"))
    assert observer.look().problems == {}
    assert _all_folded(ModelCounts(tmp_path / "counts" / "a"))
    assert len(ModelCounts(tmp_path / "counts" / "a").spans()) == 3


@process
def test_a_version_that_was_swapped_out_stays_readable_at_every_horizon(tmp_path, linear, forest, cancer):
    """Its window stands beside that of the one that serves; what was never served, or too long ago, is told."""
    store = ModelStore(tmp_path / "home" / "store")
    body = json.dumps({"instances": cancer[0][:150].tolist()}).encode()
    with store.writer() as writer:
        for version, model in (("1", linear), ("2", forest)):
            writer.put(model.file.data)
            if version == "1":
                writer.publish({"cancer": ModelRoles(champion=Entry(version="1", sha256=model.file.sha256))})
    leave(counted(tmp_path / "home", linear), linear.file.metadata.reference, time.time() // 10 * 10 - 7200, 3, rows=70)
    with serving(tmp_path, "--no-sync") as server:
        answers = [server.predict(body)[1]["x-model-version"]]
        with store.writer() as writer:
            writer.publish({"cancer": ModelRoles(champion=Entry(version="2", sha256=forest.file.sha256))})
        while answers[-1] != "2":
            answers.append(server.predict(body)[1]["x-model-version"])
        scored = 150 * answers.count("1")

        def ask(query):
            status, _, content = server.request("GET", f"/monitor/drift?{query}")
            return status, json.loads(content)

        assert _drift(server)["version"] == "2"
        recent = "model=cancer&version=1&horizon_s=600"
        wait_until(lambda: ask(recent)[1][0]["n"] == scored, what="what version 1 scored")
        status, (past,) = ask("model=cancer&version=1")
        assert (status, past["n"], past["sha256"]) == (200, 210 + scored, linear.file.sha256)
        assert past["since"] == pytest.approx(time.time() - 7200, abs=330)
        assert past["features"][0]["psi"] is not None
        status, (present,) = ask("model=cancer&version=2&horizon_s=600")
        assert (present["version"], present["n"], present["sha256"]) == ("2", 150, forest.file.sha256)
        assert ask("model=cancer")[1][0]["version"] == "2"
        for query, code, text in (
            ("model=cancer&version=7", 404, "version 7 was never served here"),
            ("model=nobody", 404, "no model 'nobody'"),
            ("version=1", 400, "version needs a model"),
            ("horizon_s=3", 400, "horizon_s must be 10 to 604800, not 3"),
        ):
            status, problem = ask(query)
            assert (status, text in problem["detail"]) == (code, True), problem


@process
def test_a_breach_reaches_a_receiver_once_while_observers_are_killed(tmp_path, linear, cancer):
    """From counts on disk to a webhook: one firing of each kind by its id, whoever is killed and comes back."""
    taken = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    shared = counted(tmp_path / "home", linear)
    counter = RowCounter(linear.file.metadata.reference)
    window = time.time() // 300 * 300 - 300
    for start in (window, window + 300):  # the next one may close before the observer looks
        clock = [start]
        log = CountLog(shared, linear.file.metadata.reference, counter.size, lambda: clock[0])  # noqa: B023
        counter.add(log.current(), (cancer[0][:400] * 3).astype("float32"), [0.5] * 400, [0] * 400)
        log.commit()
        log.close()
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        settings = {
            "HOTGATE_MONITOR_WINDOW_S": "300",
            "HOTGATE_MONITOR_RAISE_AFTER": "1",
            "HOTGATE_MONITOR_WEBHOOKS": f'["http://127.0.0.1:{receiver.server_port}/"]',
        }
        with serving(tmp_path, "--model", f"cancer={linear.path}", env=settings) as server:
            wait_until(lambda: len(taken) == 3, what="three alerts: of the features, their range and the score")
            for _ in range(2):
                observer = wait_until(server.observer, what="an observer")
                os.kill(observer, signal.SIGKILL)
                (tmp_path / "home/monitor/observer.json").unlink(missing_ok=True)
                wait_until((tmp_path / "home/monitor/observer.json").exists, what="the next one's pass")
        receiver.shutdown()
    # One that was killed just behind a delivery leaves it to be sent again, under the same id.
    assert len({alert["id"] for alert in taken}) == 3
    assert sorted({(alert["state"], alert["kind"]) for alert in taken}) == [
        ("firing", "data_drift"),
        ("firing", "data_quality"),
        ("firing", "score_drift"),
    ]
    assert {(alert["model"], alert["version"]) for alert in taken} == {("cancer", "file")}
    assert max(len(alert["evidence"]) for alert in taken) == 5


def test_a_part_of_a_pass_that_breaks_down_stops_no_other(tmp_path, linear, monkeypatch, caplog):
    """Whatever it met: it is told once with where it happened, and tried again."""
    leave(ModelCounts(tmp_path / "counts" / "a"), linear.file.metadata.reference, 1_800_000_000.0, 3)
    observer = Observer(tmp_path, MonitorSettings(), lambda: 1_800_000_100.0)

    def broken(*_):
        raise ValueError("what nobody thought of")

    with monkeypatch.context() as patch:
        for part in (Folding, PerformanceKeeper, Alerter):
            patch.setattr(part, "look", broken)
        for _ in range(2):
            status = observer.look()
    assert status.problems == {
        "a": "counts are not folded: ValueError('what nobody thought of')",
        "labels": "ValueError('what nobody thought of')",
        "alarms": "ValueError('what nobody thought of')",
    }
    assert caplog.text.count("Traceback") == 3
    assert observer.look().problems == {}
