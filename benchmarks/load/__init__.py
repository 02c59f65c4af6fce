"""An honest load generator for servers on this machine: closed loop, and open loop timed from the intended send."""

from __future__ import annotations

from benchmarks.load.build import build
from benchmarks.load.plan import LoadError, LoadPlan
from benchmarks.load.result import Answers, Latency, LoadResult, Slice, merge
from benchmarks.load.run import Running, run, start

__all__ = [
    "Answers",
    "Latency",
    "LoadError",
    "LoadPlan",
    "LoadResult",
    "Running",
    "Slice",
    "build",
    "merge",
    "run",
    "start",
]
