"""Trainings made once: in a SQLite registry under a home of their own, and against a real `mlflow server`."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import free_port, wait_until

from training.config import load_config
from training.tracking import connect
from training.train import train

HERE = Path(__file__).parent

SMALL = ("search.candidates=[logistic, forest-50x4]", "search.folds=2", "split.balance_draws=100")
"""Settings that train in about a second."""


MLFLOW_WARNS = (
    # its tables use an option that a newer SQLAlchemy deprecates
    "ignore:The ``noload`` loader strategy is deprecated",
    # its own functions are hinted with Any, found while it is imported
    "ignore:.*Any type hint is inferred as AnyType:UserWarning",
)
"""About itself, when it is imported or first used: whichever test comes first would fail."""


def pytest_collection_modifyitems(items):
    """Let MLflow's remarks about itself pass in this folder."""
    for item in items:
        if item.path.parent == HERE:
            for line in MLFLOW_WARNS:
                item.add_marker(pytest.mark.filterwarnings(line))


@pytest.fixture(scope="session", autouse=True)
def environment():
    """No registry of the developer's own; what `prepare` sets is taken back at the end."""
    before = dict(os.environ)
    for key in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(key, None)
    yield
    for key in set(os.environ) - set(before):
        del os.environ[key]
    os.environ.update(before)


@pytest.fixture(scope="session")
def small():
    """A configuration that trains in about a second."""
    return load_config(None, SMALL)


@pytest.fixture(scope="session")
def trained(small, tmp_path_factory):
    """A training in a SQLite registry; tests read it."""
    return train(small, tmp_path_factory.mktemp("trained") / "home")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated SQLite file, made once: MLflow needs seconds for it."""
    home = tmp_path_factory.mktemp("empty")
    connect(home)._tracking_client.store.engine.dispose()
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path, empty_database):
    """A home with an empty registry."""
    (tmp_path / "home").mkdir()
    shutil.copy(empty_database, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """The address of a real server with its own database and artifacts."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")),
    ]
    told = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | told, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: _healthy(process, port, log), deadline_s=90, what="the server's health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="session")
def trained_remotely(small, mlflow_server, tmp_path_factory):
    """The same training, logged to the server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
        return train(small, tmp_path_factory.mktemp("remote") / "home")


def _healthy(process, port, log):
    assert process.poll() is None, log.read_text()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
