"""What to send, and how."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["MISSED_MAX", "LoadError", "LoadPlan"]


MISSED_MAX = 0.005
"""Of a run that was late for a share m of its requests, a percentile q is at most the true one at q + m: p99 then lies
between the true p99 and p99.5, whereas p99.9 may be the generator's. Two shared virtual cores miss 0 to 0.7 % at 200 to
30,000 requests a second (12 runs of 3 s, median 0.26 %): a bound that p99.9 would need refuses most of them."""


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
    bodies: tuple[bytes, ...] = ()
    """Sent in turn, instead of `body`: a batch is then not one row many times."""
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
    backlog: Literal["send", "drop"] = "send"
    """Whether requests that were due and found no connection are still sent after the measured time; else unsent."""
    seed: int = 0
    requests_max: int | None = None
    version_header: str | None = None
    """Count answers by the value of this header, with the time of each value's first answer."""
    slice_s: float | None = None
    """Length of the slices of the timeline; None takes none."""
    missed_max: float = MISSED_MAX
    """Share of due requests that the generator may miss (open loop); 1 leaves the judgement to who reads the count."""
    core: int | None = None
    """The core that the generator is pinned to."""

    def requests(self) -> bytes:
        """The requests as they go over the wire, each body's behind the other's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return b"".join(self._request(body, f"{host}:{self.port}") for body in self.bodies or (self.body,))

    def _request(self, body: bytes, host: str) -> bytes:
        headers = (("Host", host), *self.headers, ("Content-Length", str(len(body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
