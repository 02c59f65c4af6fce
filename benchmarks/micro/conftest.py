"""A gateway with a real model, on each lane, for as long as a module's measurements take."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from benchmarks.micro.measuring import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.micro.granian import FakeGranian
    from benchmarks.subject import Subject
    from gateway.application import Gateway
    from gateway.direct import DirectLane
    from gateway.express import ExpressRoute
    from gateway.generation import Generation

_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_folder = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many calls of each thing are measured."""
    parser.addoption("--micro-rounds", type=int, default=20_000, help="measured calls of each case")


def pytest_configure(config: pytest.Config) -> None:
    """Have prometheus_client keep its values in files, as `hotgate serve` does; it decides when it is imported."""
    config.stash[_folder] = os.environ[_METRICS_DIR] = tempfile.mkdtemp(prefix="hotgate-micro-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove those files."""
    shutil.rmtree(config.stash[_folder], ignore_errors=True)


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Measure:
    """What times a call."""
    return Measure(benchmark, request.config.getoption("--micro-rounds"))


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A scaler and a logistic regression of 30 floats."""
    from benchmarks.subject import train_subject

    return train_subject(tmp_path_factory.mktemp("model"), "linear")


@pytest.fixture(scope="session")
def row(subject: Subject) -> list[float | None]:
    """One row that the model was not fitted on."""
    values: list[float | None] = subject.rows[0].tolist()
    return values


@pytest.fixture(scope="session")
def body(subject: Subject) -> bytes:
    """That row as a request's body."""
    from benchmarks.subject import row_body

    return row_body(subject.rows[0])


@pytest.fixture(scope="session")
def headers(body: bytes) -> dict[str, str]:
    """What a client sends, by lower-case name."""
    return {
        "host": "127.0.0.1:8000",
        "user-agent": "client/1.0",
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }


@dataclass(frozen=True, kw_only=True)
class Lived:
    """A gateway whose lifespan runs, as it does in a worker; its event loop stands still between requests."""

    gateway: Gateway
    loop: asyncio.AbstractEventLoop

    @property
    def route(self) -> ExpressRoute:
        """`/predict`."""
        found = self.gateway._express.find("/predict")  # noqa: SLF001 - the table that both lanes look it up in
        assert found is not None  # noqa: S101 - it is marked
        return found[0]

    @property
    def generation(self) -> Generation:
        """What answers there."""
        return self.gateway.worker.models.find(None)


@contextmanager
def _living(store: Path, subject: Subject, lane: FakeGranian | None) -> Iterator[tuple[Lived, DirectLane | None]]:
    from gateway.application import Gateway
    from gateway.direct import DirectLane
    from gateway.garbage import calm_garbage_collection
    from gateway.lifespan import LifespanTask
    from gateway.settings import GatewaySettings, WorkerConfig
    from gateway.store import Entry, ModelRoles, ModelStore

    with ModelStore(store).writer() as writer:
        sha256 = writer.put(subject.file.read_bytes())
        writer.publish({"cancer-classifier": ModelRoles(champion=Entry(version="1", sha256=sha256))})
    settings = GatewaySettings()
    gateway = Gateway(WorkerConfig(settings=settings, store=str(store), monitor=str(store.parent / "monitor")))
    direct = None
    if lane is not None:
        direct = DirectLane(
            gateway._express,  # noqa: SLF001 - as `Gateway` makes it
            gateway.worker.admission,
            gateway.worker.metrics.refused_heads,
            max_body_bytes=settings.max_body_bytes,
            queue_limit_ms=settings.queue_limit_ms,
        )
        direct.hook(lane)
        gateway.worker.turns = direct
    loop = asyncio.new_event_loop()
    life = LifespanTask(gateway.lifespan())
    life.start(loop)
    calm_garbage_collection()
    try:
        yield Lived(gateway=gateway, loop=loop), direct
    finally:
        life.stop(loop)
        loop.close()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, subject: Subject) -> Iterator[Lived]:
    """A gateway whose batches are formed by the event loop."""
    with _living(tmp_path_factory.mktemp("store"), subject, None) as (found, _):
        yield found


@pytest.fixture(scope="module")
def granian() -> FakeGranian:
    """The server under the direct lane."""
    from benchmarks.micro.granian import FakeGranian

    return FakeGranian()


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory, subject: Subject, granian: FakeGranian) -> Iterator[DirectLane]:
    """A gateway's direct lane over that server."""
    with _living(tmp_path_factory.mktemp("store"), subject, granian) as (_, lane):
        assert lane is not None  # noqa: S101 - asked for
        yield lane
