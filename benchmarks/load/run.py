"""Run the generator and read what it says."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.affinity import pinned
from benchmarks.load.plan import LoadError, LoadPlan, LoadResult

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
        self._timeout_s = plan.warmup_s + plan.seconds + plan.drain_s + MARGIN_S

    def finish(self) -> None:
        """End the measured time now; what is under way is still waited for."""
        self._process.terminate()

    def result(self) -> LoadResult:
        """Wait for the end and what came of it.

        Raises:
            LoadError: the run failed, or answered nothing with 2xx.
        """
        try:
            out, err = self._process.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"the load generator did not end within {self._timeout_s:g} s") from error
        if self._process.returncode:
            said = (err + out).decode(errors="replace").strip()
            raise LoadError(said or f"the load generator ended with {self._process.returncode}")
        return msgspec.json.decode(out, type=LoadResult, strict=False)


@contextmanager
def start(generator: Path, plan: LoadPlan) -> Iterator[Running]:
    """Run the generator beside the block; leaving it ends the generator, whatever happened."""
    with pinned(plan.core):
        process = subprocess.Popen(
            [generator, *_options(plan)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    with process:
        try:
            _hand_over(process, plan.request())
            yield Running(process, plan)
        finally:
            process.kill()


def run(generator: Path, plan: LoadPlan) -> LoadResult:
    """Run the generator to its end.

    Raises:
        LoadError: the run failed, or answered nothing with 2xx.
    """
    with start(generator, plan) as running:
        return running.result()


def _hand_over(process: subprocess.Popen[bytes], request: bytes) -> None:
    assert process.stdin  # noqa: S101 - it is a pipe
    try:
        with process.stdin:
            process.stdin.write(request)
    except BrokenPipeError:
        pass  # it refused its options, and says so in its result
    process.stdin = None


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
        "seed": plan.seed,
        "requests": plan.requests_max,
        "expect-version-header": plan.version_header,
    }
    return [f"--{name}={value}" for name, value in options.items() if value is not None]
