"""What came of a run; `gen.c` says how each count is meant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Answers", "Latency", "LoadResult", "Slice", "merge"]


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of answers to requests of the measured time; a percentile is at most 0.8 % too high, never too low."""

    n: int
    mean_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    buckets: dict[int, int] = {}
    """Answers by the highest value of their bucket, in ns, ascending."""

    def percentile_us(self, percent: float) -> float:
        """The highest value of the bucket in which a percentile lies; the maximum is exact."""
        rank, seen = math.ceil(self.n * percent / 100), 0
        for highest_ns, count in self.buckets.items():
            seen += count
            if seen >= rank:
                return min(highest_ns / 1e3, self.max_us)
        return self.max_us


def merge(parts: Iterable[Latency]) -> Latency:
    """The latency of all answers together, exactly what one run with all of them would have said.

    Raises:
        ValueError: there is no part.
    """
    found = list(parts)
    counts: dict[int, int] = {}
    for part in found:
        for highest_ns, count in part.buckets.items():
            counts[highest_ns] = counts.get(highest_ns, 0) + count
    if not counts:
        raise ValueError("no latencies to merge")
    n = sum(counts.values())
    whole = Latency(
        n=n,
        mean_us=sum(part.mean_us * part.n for part in found) / n,
        p50_us=0,
        p90_us=0,
        p99_us=0,
        p999_us=0,
        max_us=max(part.max_us for part in found),
        buckets=dict(sorted(counts.items())),
    )
    points = {"p50_us": 50, "p90_us": 90, "p99_us": 99, "p999_us": 99.9}
    return msgspec.structs.replace(whole, **{name: whole.percentile_us(percent) for name, percent in points.items()})


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The answers that carried one value of the version header."""

    count: int
    first_monotonic_ns: int
    """When the first was read: CLOCK_MONOTONIC, which is `time.monotonic_ns()`."""
    first_wall_ns: int


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the requests that were meant to go out in one slice of the run, its warm-up included."""

    ok: int
    refused: int
    """Answered with 429 or 503."""
    other_status: int
    lost: int
    reset_reused: int
    unsent: int
    answered: int
    """Answers that came in within the slice, to whichever requests, whatever they said."""
    p50_us: float | None = None
    """Of those answered with 2xx, from the intended send; None if there are none."""
    p99_us: float | None = None
    max_us: float | None = None

    @property
    def failed(self) -> int:
        """Requests without a 2xx answer."""
        return self.refused + self.other_status + self.lost + self.reset_reused + self.unsent


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run; counts span the whole run, its warm-up included."""

    requests: int
    """All that should have been sent: the answered by status, and lost, reset_reused, unsent."""
    ok: int
    status: dict[int, int]
    lost: int
    reset_reused: int
    unsent: int
    connect_errors: int
    reconnects: int
    queued: int
    """Due requests that found every connection busy (open loop)."""
    missed: int
    """Due requests that the generator itself noticed more than 1 ms late (open loop): its fault, not the server's."""
    max_lag_us: float
    seconds: float
    cpu_share: float
    """Of one core, used by the generator: near 1 it measures itself."""
    throughput_per_s: float
    """2xx answers that came in within the measured time, by its length."""
    latency: Latency
    """Of 2xx answers, from the intended send (open loop)."""
    versions: dict[str, Answers]
    refused: int = 0
    """Answered with 429 or 503."""
    other_status: int = 0
    retry_after: dict[int, int] = {}
    """Answers that said when to come back, by status."""
    from_sent: Latency | None = None
    """Of 2xx answers, from the actual send: without the wait for a free connection."""
    refused_latency: Latency | None = None
    refused_from_sent: Latency | None = None
    begin_monotonic_ns: int = 0
    """When the first slice begins: `time.monotonic_ns()` at the begin of the warm-up."""
    slice_s: float = 0
    slices: tuple[Slice, ...] = ()

    @property
    def failed(self) -> int:
        """Requests without a 2xx answer, and connections that could not be made."""
        return self.requests - self.ok + self.connect_errors

    @property
    def missed_share(self) -> float:
        """Of the requests that were due."""
        return self.missed / self.requests

    def faults(self) -> str:
        """What failed, in words; empty if nothing did."""
        counts = {f"status {code}": n for code, n in self.status.items() if not 200 <= code < 300}
        for name in ("lost", "reset_reused", "unsent", "connect_errors"):
            counts[name] = getattr(self, name)
        return ", ".join(f"{n} {name}" for name, n in counts.items() if n)
