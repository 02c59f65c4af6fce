"""What to send and what came of it; `gen.c` says how each count is meant."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Answers", "Latency", "LoadError", "LoadPlan", "LoadResult"]


class LoadError(Exception):
    """The run failed: there is no result, and none must be made up."""


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the generator: a closed loop, or with `rate_per_s` an open one."""

    port: int
    host: str = "127.0.0.1"
    """A numeric loopback address; the generator refuses every other."""
    method: str = "POST"
    path: str = "/predict"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b""
    connections: int = 1
    seconds: float = 5.0
    """Measured time."""
    warmup_s: float = 1.0
    """Time under the same load before it."""
    drain_s: float = 5.0
    """Time after it in which answers may still come in."""
    rate_per_s: float | None = None
    """Requests meant to be sent in a second, whether or not the server keeps up; None sends when answered."""
    schedule: Literal["poisson", "constant"] = "poisson"
    seed: int = 0
    requests_max: int | None = None
    version_header: str | None = None
    """Count answers by the value of this header, with the time of each value's first answer."""
    core: int | None = None
    """The core that the generator is pinned to."""

    def request(self) -> bytes:
        """The request as it goes over the wire."""
        headers = (("Host", f"{self.host}:{self.port}"), *self.headers, ("Content-Length", str(len(self.body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + self.body


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of the 2xx answers to requests of the measured time; a percentile is at most 0.8 % too high, never too low."""

    n: int
    mean_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The answers that carried one value of the version header."""

    count: int
    first_monotonic_ns: int
    """When the first was read: CLOCK_MONOTONIC, which is `time.monotonic_ns()`."""
    first_wall_ns: int


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
    versions: dict[str, Answers]

    @property
    def failed(self) -> int:
        """Requests without a 2xx answer, and connections that could not be made."""
        return self.requests - self.ok + self.connect_errors

    def faults(self) -> str:
        """What failed, in words; empty if nothing did."""
        counts = {f"status {code}": n for code, n in self.status.items() if not 200 <= code < 300}
        for name in ("lost", "reset_reused", "unsent", "connect_errors"):
            counts[name] = getattr(self, name)
        return ", ".join(f"{n} {name}" for name, n in counts.items() if n)
