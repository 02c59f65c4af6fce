"""How long a stage change takes to reach the clients, in a real registry, under traffic."""

from __future__ import annotations

import os
import random
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.errors import BenchError
from benchmarks.figures import SwapFigures
from benchmarks.load import LoadPlan, start
from benchmarks.servers import ask
from benchmarks.subject import NAME, row_body, train_subjects
from gateway.sync.settings import SyncSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mlflow import MlflowClient

    from benchmarks.servers import Server
    from benchmarks.subject import Subject

__all__ = ["Registry", "fill_registry", "measure_swaps"]

RATE_PER_S = 500.0
DEADLINE_S = 30.0
"""A swap that takes longer has failed."""
STAGE = "Production"
VERSION_HEADER = "X-Model-Version"


class Registry:
    """A registry of its own, filled with versions of one model."""

    def __init__(self, client: MlflowClient, versions: Sequence[str], body: bytes) -> None:
        self.versions = tuple(versions)
        self.body = body
        self._client = client

    def promote(self, version: str) -> None:
        """Put a version into production, and the one that was there away."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # stages are deprecated, and what users have
            self._client.transition_model_version_stage(NAME, version, STAGE, archive_existing_versions=True)


@contextmanager
def fill_registry(home: Path, versions: int) -> Iterator[Registry]:
    """Train and register that many versions under `home`, none in a stage; never in the user's own registry."""
    with _registry_at(f"sqlite:///{home}/mlflow.db"):
        from training.registering import register
        from training.tracking import connect

        subjects: list[Subject] = list(train_subjects(home / "models", [1 + step / 100 for step in range(versions)]))
        registered = [register(subject.file, NAME, home=home).version for subject in subjects]
        yield Registry(connect(home), registered, row_body(subjects[0].rows[0]))


def measure_swaps(
    generator: Path, server: Server, registry: Registry, *, core: int | None, seed: int, say: Callable[[str], None]
) -> SwapFigures:
    """Promote one version after the other under a constant rate, at random phases of whatever polls.

    Raises:
        BenchError: a request failed, or a version did not come in time.
        LoadError: the generator failed.
    """
    moments = random.Random(seed)  # noqa: S311 - a phase, not a secret
    asked: dict[str, int] = {}
    plan = LoadPlan(
        port=server.port,
        body=registry.body,
        connections=8,
        seconds=len(registry.versions) * DEADLINE_S,
        warmup_s=0.5,
        rate_per_s=RATE_PER_S,
        schedule="constant",
        version_header=VERSION_HEADER,
        slice_s=0.1,
        core=core,
        missed_max=1.0,  # registry and promotions are on this machine too; the report says how many
    )
    with start(generator, plan) as running:
        time.sleep(plan.warmup_s)
        for version in registry.versions[1:]:
            time.sleep(moments.uniform(0.2, 1.2))
            say(f"swap {len(asked) + 1} of {len(registry.versions) - 1}")
            asked[version] = time.monotonic_ns()
            registry.promote(version)
            _wait_for(server.port, version, registry.body)
        running.finish()
        result = running.result()
    if result.failed:
        raise BenchError(f"{result.failed} of {result.requests} requests failed across the swaps: {result.faults()}")
    return SwapFigures(
        poll_interval_s=SyncSettings().poll_interval_s,
        rate_per_s=RATE_PER_S,
        requests=result.requests,
        failed=result.failed,
        missed=result.missed,
        seconds=tuple((result.versions[version].first_monotonic_ns - at) / 1e9 for version, at in asked.items()),
        p50_us=result.latency.p50_us,
        p99_us=result.latency.p99_us,
        max_us=result.latency.max_us,
        slice_s=result.slice_s,
        slices=result.slices,
        warmup_s=plan.warmup_s,
        asked_s=tuple((at - result.begin_monotonic_ns) / 1e9 for at in asked.values()),
    )


def _wait_for(port: int, version: str, body: bytes) -> None:
    """Wait until a version answers; its first answer is timed by the generator, which asks more often."""
    deadline = time.monotonic() + DEADLINE_S
    while (reply := ask(port, "POST", "/predict", body)).header(VERSION_HEADER) != version:
        if time.monotonic() > deadline:
            serves = reply.header(VERSION_HEADER)
            raise BenchError(f"version {version} does not serve {DEADLINE_S:g} s after its promotion; {serves} does")
        time.sleep(0.02)


@contextmanager
def _registry_at(uri: str) -> Iterator[None]:
    """Have this process use one registry; what MLflow and its set-up put into the environment goes away again."""
    before = dict(os.environ)
    os.environ["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_REGISTRY_URI"] = uri
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
