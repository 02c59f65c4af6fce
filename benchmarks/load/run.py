"""Run the generator and read what it says."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.affinity import pinned
from benchmarks.load.plan import LoadError, LoadPlan
from benchmarks.load.result import LoadResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Running", "run", "start"]

MARGIN_S = 10.0
"""Beyond the times of its plan, for connecting and ending; a generator that takes longer hangs."""


class Running:
    """A generator at work."""

    def __init__(self, process: subprocess.Popen[bytes], plan: LoadPlan) -> None:
        self.pid = process.pid
        self._process = process
        self._plan = plan
        self._timeout_s = plan.warmup_s + plan.seconds + plan.drain_s + MARGIN_S

    def finish(self) -> None:
        """End the measured time now; what is under way is still waited for."""
        self._process.terminate()

    def result(self) -> LoadResult:
        """Wait for the end and what came of it.

        Raises:
            LoadError: the run failed, answered nothing with 2xx, or missed its schedule by more than the plan allows.
        """
        try:
            out, err = self._process.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"the load generator did not end within {self._timeout_s:g} s") from error
        if self._process.returncode:
            said = (err + out).decode(errors="replace").strip()
            raise LoadError(said or f"the load generator ended with {self._process.returncode}")
        result = msgspec.json.decode(out, type=LoadResult, strict=False)
        if result.missed_share > self._plan.missed_max:
            raise LoadError(_too_late(result, self._plan))
        return result


@contextmanager
def start(generator: Path, plan: LoadPlan) -> Iterator[Running]:
    """Run the generator beside the block; leaving it ends the generator, whatever happened."""
    with pinned(plan.core):
        process = subprocess.Popen(
            [generator, *_options(plan)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    # Not `with process` around it: an interrupt in front of the `try` would wait for the generator's own end.
    try:
        _hand_over(process, plan.requests())
        yield Running(process, plan)
    finally:
        process.kill()
        with process:  # closes its pipes, and waits
            pass


def run(generator: Path, plan: LoadPlan) -> LoadResult:
    """Run the generator to its end.

    Raises:
        LoadError: as `Running.result` does.
    """
    with start(generator, plan) as running:
        return running.result()


def _hand_over(process: subprocess.Popen[bytes], requests: bytes) -> None:
    assert process.stdin  # noqa: S101 - it is a pipe
    try:
        with process.stdin:
            process.stdin.write(requests)
    except BrokenPipeError:
        pass  # it refused its options, and says so in its result
    process.stdin = None


def _too_late(result: LoadResult, plan: LoadPlan) -> str:
    return (
        f"the load generator missed its schedule: it was over 1 ms late itself for {result.missed:,} of"
        f" {result.requests:,} requests ({result.missed_share:.2%}, allowed {plan.missed_max:.2%}; at worst"
        f" {result.max_lag_us / 1e3:.1f} ms, at {result.cpu_share:.0%} of its core): the latencies are partly its own."
        " Give it a core of its own, a quieter machine or a lower rate"
    )


def _options(plan: LoadPlan) -> list[str]:
    options: dict[str, Any] = {
        "host": plan.host,
        "port": plan.port,
        "request": "-",
        "connections": plan.connections,
        "seconds": plan.seconds,
        "warmup": plan.warmup_s,
        "drain": plan.drain_s,
        "rate": plan.rate_per_s,
        "schedule": plan.schedule,
        "backlog": plan.backlog,
        "seed": plan.seed,
        "requests": plan.requests_max,
        "expect-version-header": plan.version_header,
        "slice": plan.slice_s,
    }
    return [f"--{name}={value}" for name, value in options.items() if value is not None]
