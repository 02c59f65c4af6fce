"""Real registries: one in a SQLite file, one behind a real `mlflow server`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
import warnings
from pathlib import Path

import pytest
from harness import free_port

from gateway.sync.connect import open_registry

SERVER_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Admin:
    """What a data scientist does to a registry, through mlflow's own client."""

    def __init__(self, uri, artifacts):
        self.uri = uri
        self.client = client = mlflow_client(uri)
        experiment = f"e-{uuid.uuid4().hex}"
        self.experiment = client.create_experiment(
            experiment, artifact_location=None if artifacts is None else str(artifacts)
        )

    def register(self, name, files, *, tags=None):
        """Register a version whose artifact folder holds `files` (relative path -> bytes); returns its number."""
        run = self.client.create_run(self.experiment)
        root = run.info.artifact_uri
        self.client.log_text(run.info.run_id, "", "artifact/.keep")
        for path, data in files.items():
            folder, _, base = f"artifact/{path}".rpartition("/")
            self._log(run.info.run_id, data, base, folder)
        if not self.client.search_registered_models(f"name='{name}'"):
            self.client.create_registered_model(name)
        version = self.client.create_model_version(name, f"{root}/artifact", run_id=run.info.run_id, tags=tags)
        return int(version.version)

    def stage(self, name, version, stage):
        """Move a version as the registry's user interface does, leaving the others where they are."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # stages are deprecated and still used
            self.client.transition_model_version_stage(name, str(version), stage)

    def _log(self, run, data, base, folder):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / base
            path.write_bytes(data)
            self.client.log_artifact(run, str(path), folder)


def mlflow_client(uri):
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow's imports and its database layer warn about themselves
        from mlflow import MlflowClient

        client = MlflowClient(uri, uri)
        client.search_registered_models(max_results=1)
    return client


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """A real server with its own database and artifact folder; yields its address."""
    home = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    log = home / "server.log"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{home}/m.db", "--serve-artifacts", "--artifacts-destination", f"{home}/a"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=home, env=os.environ | SERVER_ENVIRONMENT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until_healthy(uri, process, log)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def wait_until_healthy(uri, process, log):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated SQLite file, made once: mlflow needs seconds for it."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    client = mlflow_client(f"sqlite:///{path}")
    client._tracking_client.store.engine.dispose()
    return path


@pytest.fixture
def sqlite_uri(tmp_path, empty_database):
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_database.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def admin(sqlite_uri, tmp_path):
    """The SQLite registry's data scientist."""
    return Admin(sqlite_uri, tmp_path / "artifacts")


@pytest.fixture(params=["sqlite", pytest.param("http", marks=pytest.mark.process)])
def both(request, tmp_path):
    """(registry, admin) of each kind, with a registry of its own or at least names of its own."""
    if request.param == "sqlite":
        uri, artifacts = request.getfixturevalue("sqlite_uri"), tmp_path / "artifacts"
    else:
        uri, artifacts = request.getfixturevalue("mlflow_server"), None
    registry = open_registry(uri, {})
    yield registry, Admin(uri, artifacts)
    registry.close()


@pytest.fixture
def name():
    return f"model-{uuid.uuid4().hex[:8]}"
