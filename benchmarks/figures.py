"""What `hotgate bench` finds out."""

from __future__ import annotations

from statistics import median

import msgspec

from benchmarks.load.result import Slice

__all__ = ["Figures", "Machine", "MemoryFigures", "ServingFigures", "Side", "StartupFigures", "SwapFigures"]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One server at one number of connections: medians over its blocks."""

    blocks: int
    requests: int
    throughput_per_s: float
    p50_us: float
    p99_us: float
    generator_share: float
    """Of its core, used by the generator: near 1 it is the generator that was measured."""


class ServingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway against granian's fixed answer, at one number of connections."""

    connections: int
    hotgate: Side
    fixed: Side
    ratios: tuple[float, ...]
    """Throughput of the gateway by the fixed answer's, one for each pair of adjacent blocks."""

    @property
    def ratio(self) -> float:
        """The median of the pairs."""
        return median(self.ratios)


class StartupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """From the process's start to the first 200 of /readyz, with the model in the store."""

    seconds: tuple[float, ...]


class MemoryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Proportional set sizes after load, in bytes."""

    worker: int
    supervisor: int
    fixed_worker: int
    """Of granian with the fixed answer: what a worker is without the gateway."""


class SwapFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Stage changes in a SQLite registry under constant traffic."""

    poll_interval_s: float
    """Pause between two looks of the sidecar at the registry: a swap waits for half of it on average."""
    rate_per_s: float
    requests: int
    failed: int
    missed: int
    """Sent more than 1 ms late by the generator itself, which their latency includes."""
    seconds: tuple[float, ...]
    """Of each swap, from just before the stage change is asked for to the first answer with the new version."""
    p50_us: float
    p99_us: float
    max_us: float
    slice_s: float = 0
    slices: tuple[Slice, ...] = ()
    """Of the whole run, its warm-up included."""
    warmup_s: float = 0
    asked_s: tuple[float, ...] = ()
    """When each stage change was asked for, from the begin of the first slice."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, with what is needed to measure it again."""

    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    block_s: float
    error_max: float
    """Largest distance of an answered probability from scikit-learn's, over the held-out rows."""
    serving: tuple[ServingFigures, ...]
    startup: StartupFigures
    memory: MemoryFigures
    swap: SwapFigures
