"""What `hotgate bench peers` finds out."""

from __future__ import annotations

from statistics import median

import msgspec

from benchmarks.figures import Machine, Side

__all__ = ["Cell", "Load", "PeerFigures", "PeersFigures"]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent at once: a closed loop, or with a rate an open one."""

    connections: int
    rate_per_s: float | None = None

    def __str__(self) -> str:
        """In words."""
        if self.rate_per_s is not None:
            return f"{self.rate_per_s:,g} requests a second (open loop, Poisson)"
        return f"{self.connections} connection{'s' * (self.connections > 1)}"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One server under one load."""

    load: Load
    side: Side
    """Medians over its blocks; latencies are those of the 2xx answers."""
    errors: int
    """Requests of all its blocks without a 2xx answer, and connections that could not be made."""
    faults: str
    """What the errors were."""
    to_fixed: tuple[float, ...]
    """Its throughput by the fixed answer's, one for each round that both took part in."""
    to_hotgate: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, float]:
        """The medians: to the fixed answer, and to hotgate."""
        return median(self.to_fixed), median(self.to_hotgate)


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One server."""

    name: str
    label: str
    versions: dict[str, str]
    error_max: float | None
    """Largest distance of an answered probability from scikit-learn's; None where nothing is computed."""
    failure: str | None
    """Why it has no figures, with the end of its log."""
    cells: tuple[Cell, ...]


class PeersFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, with what is needed to measure them again."""

    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    """Of this environment; each peer has its own."""
    model: str
    """Key of `benchmarks.subject.KINDS`."""
    server_core: int
    generator_core: int
    block_s: tuple[float, float]
    """Length of the shortest and of the longest block."""
    peers: tuple[PeerFigures, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of those without figures."""
        return tuple(peer.name for peer in self.peers if peer.failure is not None)
