"""A real Alertmanager: it shows one alert while a breach lasts, and tells its own receivers once of begin and end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from alarm_world import WINDOW, World
from harness import free_port, serving, wait_until

from gateway.observe.webhook import Webhook
from gateway.store import Entry, ModelRoles, ModelStore
from gateway.sync.status import RegistryState, SyncStatus

pytestmark = pytest.mark.process

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
CONFIG = """
global: {{resolve_timeout: 1s}}  # of alerts that say no end: ours do
route: {{receiver: test, group_by: [...], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers: [{{name: test, webhook_configs: [{{url: "http://127.0.0.1:{port}/", send_resolved: true}}]}}]
"""


class Receiver(BaseHTTPRequestHandler):
    """Keeps state and labels of each alert that Alertmanager tells of."""

    def do_POST(self):
        """Take a notification."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told += [(alert["status"], alert["labels"]["alertname"]) for alert in told["alerts"]]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


class Alertmanager:
    """One on a free port, and what it has told."""

    def __init__(self, folder, receiver):
        self._folder = folder
        self.told = receiver.told
        self.port = free_port()
        (folder / "alertmanager.yml").write_text(CONFIG.format(port=receiver.server_port))
        self._process = None

    def start(self):
        """Until it answers."""
        with (self._folder / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    PROGRAM, f"--config.file={self._folder}/alertmanager.yml", f"--storage.path={self._folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_until(self._ready, what="Alertmanager")

    def _ready(self):
        with contextlib.suppress(OSError):
            return self._get("/-/ready")
        return None

    def stop(self):
        """As an operator would: it keeps what it has told, and forgets all alerts."""
        self._process.terminate()
        self._process.wait(20)

    def alerts(self):
        """The labels of those that fire."""
        return [alert["labels"] for alert in json.loads(self._get("/api/v2/alerts?active=true"))]

    def _get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.read()


@pytest.fixture
def alertmanager(tmp_path):
    """Running."""
    if PROGRAM is None:
        pytest.skip("there is no Alertmanager: apt-get install prometheus-alertmanager")
    folder = tmp_path / "alertmanager"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        receiver.told = []
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        made = Alertmanager(folder, receiver)
        made.start()
        try:
            yield made
        finally:
            made.stop()
            receiver.shutdown()
            thread.join()


def test_a_drift_fires_once_outlives_a_restart_of_alertmanager_and_resolves(alertmanager, tmp_path):
    """With the times of closed windows, an hour ago; what fires is told again every minute."""
    world = World(tmp_path, begin=time.time() // WINDOW * WINDOW - 8 * WINDOW)
    hook = Webhook(f"alertmanager+http://127.0.0.1:{alertmanager.port}", clock=lambda: world.now)
    world.restart(hook)
    for shift in (0.0, 1.0, 1.0):
        world.pass_window(shift)
    (labels,) = wait_until(alertmanager.alerts, what="an alert")
    assert (labels["alertname"], labels["model"], labels["version"]) == ("hotgate_data_drift", "cancer", "3")
    wait_until(lambda: alertmanager.told, what="word of the begin")
    alertmanager.stop()
    alertmanager.start()
    assert alertmanager.alerts() == []
    world.pass_window(1.0)
    assert wait_until(alertmanager.alerts, what="the alert, told again") == [labels]
    for shift in (0.0, 0.0):
        world.pass_window(shift)
    wait_until(lambda: alertmanager.alerts() == [], what="no alert")
    wait_until(lambda: len(alertmanager.told) == 2, what="word of the end")
    world.pass_window(0.0)
    assert alertmanager.told == [("firing", "hotgate_data_drift"), ("resolved", "hotgate_data_drift")]


def test_one_begin_and_one_end_while_workers_and_observers_are_killed(alertmanager, tmp_path, linear):
    """From the sidecar's word on a registry that is away, over the real server, to those whom Alertmanager tells."""
    home = tmp_path / "home"
    with ModelStore(home / "store").writer() as writer:
        writer.put(linear.file.data)
        writer.publish({"cancer": ModelRoles(champion=Entry(version="1", sha256=linear.file.sha256))})
    _tell_registry(home, reachable=False)
    settings = {"HOTGATE_MONITOR_WEBHOOKS": f'["alertmanager+http://127.0.0.1:{alertmanager.port}"]'}
    with serving(tmp_path, "--no-sync", "--workers", "2", env=settings) as server:
        (labels,) = wait_until(alertmanager.alerts, what="an alert")
        assert labels == {"alertname": "hotgate_ops", "about": "registry"}
        workers = server.workers()
        for pid in (workers[0], wait_until(server.observer, what="an observer")):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(server.workers()) - {workers[0]}) == 2, what="another worker")
        _wait_for_a_pass(home)
        assert alertmanager.alerts() == [labels]
        _tell_registry(home, reachable=True)
        wait_until(lambda: len(alertmanager.told) == 2, what="word of the end")
        _wait_for_a_pass(home)
        assert alertmanager.alerts() == []
    assert alertmanager.told == [("firing", "hotgate_ops"), ("resolved", "hotgate_ops")]


def _tell_registry(home, *, reachable):
    """As the sidecar would; the file appears whole."""
    since = datetime.now(UTC) - timedelta(seconds=0 if reachable else 400)
    status = SyncStatus(pid=1, registry=RegistryState(reachable=reachable, since=since))
    (home / "store/sync.new").write_bytes(msgspec.json.encode(status))
    (home / "store/sync.new").rename(home / "store/sync.json")


def _wait_for_a_pass(home):
    (home / "monitor/observer.json").unlink(missing_ok=True)
    wait_until((home / "monitor/observer.json").exists, what="the observer's next pass")
