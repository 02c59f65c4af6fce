"""How much is measured, and the blocks that scenarios share."""

from __future__ import annotations

from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.load import LoadPlan, run
from benchmarks.rig import SERVE
from benchmarks.subject import NAME, check_answers
from gateway.store import Entry, ModelRoles, ModelStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.load import LoadResult
    from benchmarks.rig import Rig
    from benchmarks.servers import Server
    from benchmarks.subject import Subject
    from gateway.store_writer import StoreWriter

__all__ = ["STORE", "ScenarioPlan", "checked", "maximum", "publish", "publish_all", "served", "stocked"]

STORE = (*SERVE, "--no-sync")
"""The gateway on a store that is somebody else's affair: `rig.server(*STORE, "--port", home=…)`."""


class ScenarioPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured; the defaults take about twelve minutes in all."""

    block_s: float = 5.0
    warmup_s: float = 0.5
    rounds: int = 3
    """Rounds of balanced blocks."""
    connections: int = 256
    """Of an open loop that shall never wait for one."""
    overload_connections: int = 512
    rate_per_s: float = 1000.0
    """Of the swaps' traffic and of the probe before and after an overload."""
    probe_s: float = 1.0
    """Of the probe after an overload; the one before it takes twice as long."""
    swaps: int = 10
    swap_interval_s: float = 2.0
    swap_trees: tuple[int, int] = (200, 500)
    """Of the forests that take turns."""
    drain_s: float = 20.0
    """Most, for an observer that was stopped to take in what came meanwhile."""
    starts: int = 3
    forest_trees: int = 500
    """Of the forest whose conversion is timed."""
    wide_models: int = 3
    wide_features: int = 1000
    wide_requests: int = 30
    voids_max: int = 6
    """Pairs that are measured again because the generator missed its schedule; one more and there is no figure."""
    seed: int = 42


def checked(result: LoadResult, where: str) -> LoadResult:
    """A block without failures.

    Raises:
        BenchError: a request failed; there are no figures beside errors.
    """
    if result.failed:
        raise BenchError(f"{where}: {result.faults()}")
    return result


def maximum(rig: Rig, plan: ScenarioPlan, port: int, body: bytes, *, connections: int = 32) -> float:
    """Answers a second of the closed loop: the median of three blocks.

    Raises:
        BenchError: a request failed.
    """
    block = LoadPlan(
        port=port,
        body=body,
        connections=connections,
        seconds=plan.block_s / 2,
        warmup_s=plan.warmup_s,
        core=rig.generator_core,
    )
    return median(checked(run(rig.generator, block), "closed loop").throughput_per_s for _ in range(3))


@contextmanager
def served(
    rig: Rig, subject: Subject, log: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Serve one model file on the servers' core, its answers checked.

    Raises:
        BenchError: an answer was wrong, or the server did not start or live.
    """
    command = (*SERVE, "--model", f"{NAME}={subject.file}", *arguments, "--port")
    with rig.server(*command, log=log, environment=environment) as server:
        check_answers(server.port, subject)
        yield server


@contextmanager
def stocked(home: Path, *files: Path) -> Iterator[tuple[StoreWriter, list[str]]]:
    """Hold the store under `home`, with these model files in it; gives the writer and their SHA-256s."""
    with ModelStore(home / "store").writer() as writer:
        yield writer, [writer.put(file.read_bytes()) for file in files]


def publish(writer: StoreWriter, version: str, sha256: str) -> None:
    """What the sidecar does when a version is promoted."""
    writer.publish({NAME: ModelRoles(champion=Entry(version=version, sha256=sha256))})


def publish_all(writer: StoreWriter, files: Mapping[str, str]) -> None:
    """Version 1 of several models, by name and SHA-256."""
    writer.publish({name: ModelRoles(champion=Entry(version="1", sha256=sha256)) for name, sha256 in files.items()})
