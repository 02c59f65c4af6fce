"""The sidecar as a real process: production wiring, signals, lock, parent, and what it never opens."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import wait_until
from registries import Admin
from sync.fakes import sha

from gateway.store import ModelStore, StoreLockedError
from gateway.sync.base import ARTIFACT_NAME
from gateway.sync.report import status_path
from gateway.sync.status import read_status

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
PROBE = Path(__file__).parents[1] / "probe"


class Running:
    """A sidecar process and its store."""

    def __init__(self, process, store, log):
        self.process, self.store, self.log = process, store, log

    def status(self):
        """What it last wrote itself."""
        status = read_status(status_path(self.store))
        return status if status and status.pid == self.process.pid else None

    def champion(self, name):
        """The version it serves, or None."""
        roles = self.store.read().models.get(name)
        return roles.champion.version if roles and roles.champion else None

    def wait(self, condition, what):
        """Until it holds; a dead process is reported at once."""

        def held():
            assert self.process.poll() is None, self.log.read_text()
            return condition()

        wait_until(held, deadline_s=60, what=what)


@pytest.fixture
def start(tmp_path):
    """Start sidecars over one home; all are ended with the test."""
    home = tmp_path / "home"
    (tmp_path / "cwd").mkdir()
    with contextlib.ExitStack() as stack:

        def begin(uri, *arguments, env=None):
            log = tmp_path / f"sidecar-{len(list(tmp_path.glob('sidecar-*')))}.log"
            environ = {key: value for key, value in os.environ.items() if not key.startswith(("HOTGATE", "MLFLOW"))}
            environ |= {"HOTGATE_HOME": str(home), "MLFLOW_TRACKING_URI": uri, "HOTGATE_SYNC_POLL_INTERVAL_S": "0.1"}
            environ |= {"PYTHONPATH": str(ROOT)} | (env or {})
            output = stack.enter_context(log.open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.sync", *arguments],
                cwd=tmp_path / "cwd",
                env=environ,
                stdout=output,
                stderr=output,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Running(process, ModelStore(home / "store"), log)

        yield begin


def test_a_real_version_is_verified_and_served(both, name, start, linear, forest):
    """Real registry, real model files, real verifier, real process: promote, and it serves; stop, and it ends."""
    _, admin = both
    for file in (linear.file.data, forest.file.data, linear.file.data + b"\0"):
        admin.register(name, {ARTIFACT_NAME: file}, tags={"hotgate.sha256": sha(file)})
    admin.stage(name, 1, "Production")
    running = start(admin.uri)
    running.wait(lambda: running.champion(name) == "1", "version 1")
    assert running.store.load(sha(linear.file.data)) == linear.file.data
    admin.stage(name, 1, "Archived")
    admin.stage(name, 2, "Production")
    running.wait(lambda: running.champion(name) == "2", "version 2")
    admin.stage(name, 3, "Staging")
    running.wait(lambda: running.status() and running.status().quarantined, "the damaged file in quarantine")
    wait_until(lambda: "hotgate.sync" in admin.client.get_model_version(name, "3").tags, what="the tag")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0
    assert "Traceback" not in running.log.read_text()


def test_nothing_is_ever_unpickled(admin, name, start, linear, tmp_path):
    """A version full of what unpickles, and a full pass: none of it is opened, and no class is looked up."""
    file = linear.file.data
    beside = dict.fromkeys(("model.pkl", "model.pickle", "model.joblib", "model.skops"), pickle.dumps(linear.estimator))
    version = admin.register(
        name, {ARTIFACT_NAME: file, "MLmodel": b"flavors: {}", **beside}, tags={"hotgate.sha256": sha(file)}
    )
    admin.stage(name, version, "Production")
    probe = tmp_path / "probe"
    probe.mkdir()
    env = {"PYTHONPATH": os.pathsep.join([str(PROBE), str(ROOT)]), "HOTGATE_PROBE": str(probe)}
    running = start(admin.uri, env=env)
    running.wait(lambda: running.champion(name) == "1", "version 1")
    assert [path.read_text() for path in probe.glob("*.audit")] == []
    os.kill(running.process.pid, signal.SIGUSR2)  # the probe is really in there
    modules = probe / f"{running.process.pid}.modules"
    running.wait(modules.exists, "the list of modules")
    assert not {"sklearn", "skl2onnx", "joblib"} & set(modules.read_text().split())


def test_an_http_registry_needs_no_mlflow(mlflow_server, name, start, tmp_path):
    """A pod's sidecar installs and imports neither mlflow nor what comes with it."""
    Admin(mlflow_server, None).register(name, {})
    probe = tmp_path / "probe"
    probe.mkdir()
    env = {"PYTHONPATH": os.pathsep.join([str(PROBE), str(ROOT)]), "HOTGATE_PROBE": str(probe)}
    running = start(mlflow_server, env=env)
    running.wait(lambda: running.status() and name in running.status().models, "the first pass")
    os.kill(running.process.pid, signal.SIGUSR2)
    modules = probe / f"{running.process.pid}.modules"
    running.wait(modules.exists, "the list of modules")
    assert not {"mlflow", "sqlalchemy", "numpy", "onnxruntime", "pandas"} & set(modules.read_text().split())


def test_a_second_sidecar_ends_and_names_the_first(start):
    """Exit code 1, one line, no traceback."""
    first = start("http://127.0.0.1:1")
    first.wait(first.status, "the first pass")
    assert not first.status().registry.reachable
    second = start("http://127.0.0.1:1")
    assert second.process.wait(30) == 1
    text = second.log.read_text()
    assert text.startswith("error: ")
    assert f"is held by process {first.process.pid}" in text
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(10) == 0
    assert lock_holder(first.store) is None


PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "gateway.sync", "--parent", str(os.getpid())])
print(child.pid, flush=True)
child.wait()
"""


def test_it_ends_with_its_parent(tmp_path):
    """A killed `hotgate serve` leaves no sidecar behind that holds the lock."""
    store = ModelStore(tmp_path / "store")
    env = os.environ | {"HOTGATE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, env=env, stdout=subprocess.PIPE)
    with parent:
        sidecar = int(parent.stdout.readline())
        wait_until(lambda: read_status(status_path(store)), deadline_s=30, what="the first pass")
        assert lock_holder(store) == sidecar
        parent.kill()
    wait_until(lambda: lock_holder(store) is None, deadline_s=10, what="the lock")


def lock_holder(store):
    """Who holds the lock, by trying."""
    try:
        with store.writer():
            return None
    except StoreLockedError as error:
        return error.pid


def test_a_wrong_setting_ends_the_start(start):
    """Exit code 2 and the key."""
    running = start("http://127.0.0.1:1", env={"HOTGATE_SYNC_JITTER": "7"})
    assert running.process.wait(30) == 2
    assert running.log.read_text() == "error: [sync] jitter must be 0 to 1, not 7\n"
