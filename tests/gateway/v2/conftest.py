"""One server for the protocol's tests: two models, and a token for its administrator."""

from __future__ import annotations

import sys

import msgspec
import pytest
from harness import serving
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from converters import Column, Provenance, build_model_file
from gateway.settings import WORKER_CONFIG, GatewaySettings, WorkerConfig
from gateway.store import Entry, ModelRoles, ModelStore


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The folder of the server's store."""
    return ModelStore(tmp_path_factory.mktemp("v2") / "store")


@pytest.fixture(scope="session")
def tumors(cancer):
    """The model of docs/v2.md: three columns."""
    rows, target, _ = cancer
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[:, :3], target)
    return build_model_file(
        estimator,
        columns=[Column(name=name) for name in "abc"],
        labels=["malignant", "benign"],
        train_rows=rows[:400, :3],
        heldout_rows=rows[400:, :3],
        provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
    )


@pytest.fixture(scope="session")
def served(store, linear, forest, tumors):
    """A worker on RSGI that serves `cancer` version 7, `trees` version 2, and `tumors` version 1."""
    folder = store.root.parent
    with store.writer() as writer:
        models = {"cancer": ("7", linear.file), "trees": ("2", forest.file), "tumors": ("1", tumors)}
        writer.publish(
            {
                name: ModelRoles(champion=Entry(version=version, sha256=writer.put(file.data)))
                for name, (version, file) in models.items()
            }
        )
    settings = GatewaySettings(max_body_bytes=1 << 20, admin_token="a-token-of-the-administrator")
    config = WorkerConfig(settings=settings, store=str(store.root), monitor=str(folder / "monitor"))
    options = ["--interface", "rsgi", "--loop", "asyncio", "--no-ws", "--runtime-threads", "1"]
    with serving(
        folder,
        command=lambda port: [sys.executable, "-m", "granian", "--port", str(port), *options, "gateway.app:app"],
        env={WORKER_CONFIG: msgspec.json.encode(config).decode()},
    ) as server:
        yield server
