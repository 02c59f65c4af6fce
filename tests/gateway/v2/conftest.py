"""One server for the protocol's tests: two models, and a token for its administrator."""

from __future__ import annotations

import sys

import msgspec
import pytest
from harness import serving

from gateway.settings import WORKER_CONFIG, GatewaySettings, WorkerConfig
from gateway.store import Entry, ModelRoles, ModelStore


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The folder of the server's store."""
    return ModelStore(tmp_path_factory.mktemp("v2") / "store")


@pytest.fixture(scope="session")
def served(store, linear, forest):
    """A worker on RSGI that serves `cancer` version 7, and `trees` version 2."""
    folder = store.root.parent
    with store.writer() as writer:
        models = {"cancer": ("7", linear), "trees": ("2", forest)}
        writer.publish(
            {
                name: ModelRoles(champion=Entry(version=version, sha256=writer.put(trained.file.data)))
                for name, (version, trained) in models.items()
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
