"""All figures of one machine, one after the other: what `hotgate bench` runs."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.figures import Figures, MemoryFigures, StartupFigures
from benchmarks.machine import this_machine, versions
from benchmarks.process import pss_bytes, workers
from benchmarks.rig import SERVE, Rig
from benchmarks.serving import compare
from benchmarks.swap import fill_registry, measure_swaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import ServingFigures, SwapFigures

__all__ = ["BenchPlan", "measure"]


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured; the defaults take about three minutes."""

    connections: tuple[int, ...] = (1, 32, 256)
    rounds: int = 3
    """Rounds of four blocks for each number of connections."""
    block_s: float = 3.0
    warmup_s: float = 0.5
    swaps: int = 10
    starts: int = 5
    seed: int = 42


class Bench:
    """One measurement; its parts share folder, generator and cores."""

    def __init__(self, folder: Path, plan: BenchPlan, say: Callable[[str], None]) -> None:
        self._rig, self._plan, self._say = Rig(folder), plan, say

    def against_fixed(self) -> tuple[float, tuple[ServingFigures, ...], MemoryFigures]:
        """The gateway against granian's fixed answer, and the memory of both after that load."""
        rig, plan = self._rig, self._plan
        with rig.against_fixed(self._say) as both:
            found = tuple(
                compare(
                    rig.generator,
                    rig.block(both.body, connections=connections, seconds=plan.block_s, warmup_s=plan.warmup_s),
                    {"hotgate": both.hotgate.port, "fixed": both.fixed.port},
                    rounds=plan.rounds,
                    say=self._say,
                )
                for connections in plan.connections
            )
            memory = MemoryFigures(
                worker=max(map(pss_bytes, workers(both.hotgate.pid))),
                supervisor=pss_bytes(both.hotgate.pid),
                fixed_worker=max(map(pss_bytes, workers(both.fixed.pid))),
            )
        return both.error_max, found, memory

    def with_registry(self) -> tuple[SwapFigures, StartupFigures]:
        """Swaps under traffic, then starts on the store that they left."""
        rig, plan, say = self._rig, self._plan, self._say
        with tempfile.TemporaryDirectory(dir=rig.folder, prefix="registry-") as scratch:
            home = Path(scratch)
            say(f"registering {plan.swaps + 1} versions")
            with fill_registry(home, plan.swaps + 1) as registry:
                registry.promote(registry.versions[0])
                with rig.server(*SERVE, "--port", log="registry", home=home) as server:
                    swap = measure_swaps(
                        rig.generator, server, registry, core=rig.generator_core, seed=plan.seed, say=say
                    )
            seconds = []
            for number in range(1, plan.starts + 1):
                say(f"start {number} of {plan.starts}")
                with rig.server(*SERVE, "--port", log="registry", home=home) as server:
                    seconds.append(server.startup_s)
        return swap, StartupFigures(seconds=tuple(seconds))


def measure(folder: Path, plan: BenchPlan, *, command: str, say: Callable[[str], None]) -> Figures:
    """Take all figures.

    Args:
        folder: for model files, the generator and logs; kept.
        plan: how much.
        command: stands in the report, for whoever measures again.
        say: told what is being done.

    Raises:
        BenchError: a figure could not be taken, or one request of the timed ones failed.
        LoadError: the load generator could not be built or run.
    """
    bench = Bench(folder, plan, say)
    error_max, found, memory = bench.against_fixed()
    swap, startup = bench.with_registry()
    return Figures(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        machine=this_machine(),
        versions=versions(),
        block_s=plan.block_s,
        error_max=error_max,
        serving=found,
        startup=startup,
        memory=memory,
        swap=swap,
    )
