"""All figures of one machine, one after the other: what `hotgate bench` runs."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.affinity import cores
from benchmarks.errors import BenchError
from benchmarks.figures import Figures, MemoryFigures, StartupFigures
from benchmarks.fixed import FixedAnswer
from benchmarks.load import LoadPlan, build
from benchmarks.machine import this_machine, versions
from benchmarks.process import pss_bytes, workers
from benchmarks.servers import ask, free_port, serving
from benchmarks.serving import compare
from benchmarks.subject import NAME, check_answers, row_body, train_subjects
from benchmarks.swap import fill_registry, measure_swaps

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from benchmarks.figures import ServingFigures, SwapFigures
    from benchmarks.servers import Server

__all__ = ["BenchPlan", "measure"]

SERVE = (sys.executable, "-P", "-m", "hotgate", "serve", "--host", "127.0.0.1", "--workers", "1")
FIXED = (sys.executable, "-P", "-m", "benchmarks.fixed")


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
        usable = cores()
        if len(usable) < 2:
            raise BenchError("one core for the servers and one for the generator are needed; this process may use one")
        self._folder, self._plan, self._say = folder, plan, say
        self._server_core, self._generator_core = usable[:2]
        self._generator = build(folder)

    def against_fixed(self) -> tuple[float, tuple[ServingFigures, ...], MemoryFigures]:
        """The gateway against granian's fixed answer, and the memory of both after that load."""
        self._say("training the model")
        (subject,) = train_subjects(self._folder, [1.0])
        body = row_body(subject.rows[0])
        self._say("starting the servers, checking the answers")
        with ExitStack() as servers:
            model = f"{NAME}={subject.file}"
            hotgate = servers.enter_context(self._server(*SERVE, "--model", model, "--port", log="hotgate"))
            error_max = check_answers(hotgate.port, subject)
            answer = self._folder / "answer.json"
            answer.write_bytes(msgspec.json.encode(FixedAnswer.like(ask(hotgate.port, "POST", "/predict", body))))
            fixed = servers.enter_context(self._server(*FIXED, str(answer), log="fixed"))
            found = tuple(
                compare(
                    self._generator,
                    self._block(body, connections),
                    {"hotgate": hotgate.port, "fixed": fixed.port},
                    rounds=self._plan.rounds,
                    say=self._say,
                )
                for connections in self._plan.connections
            )
            memory = MemoryFigures(
                worker=max(map(pss_bytes, workers(hotgate.pid))),
                supervisor=pss_bytes(hotgate.pid),
                fixed_worker=max(map(pss_bytes, workers(fixed.pid))),
            )
        return error_max, found, memory

    def with_registry(self) -> tuple[SwapFigures, StartupFigures]:
        """Swaps under traffic, then starts on the store that they left."""
        plan, say = self._plan, self._say
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="registry-") as scratch:
            home = Path(scratch)
            say(f"registering {plan.swaps + 1} versions")
            with fill_registry(home, plan.swaps + 1) as registry:
                registry.promote(registry.versions[0])
                with self._server(*SERVE, "--port", log="registry", home=home) as server:
                    swap = measure_swaps(
                        self._generator, server, registry, core=self._generator_core, seed=plan.seed, say=say
                    )
            seconds = []
            for number in range(1, plan.starts + 1):
                say(f"start {number} of {plan.starts}")
                with self._server(*SERVE, "--port", log="registry", home=home) as server:
                    seconds.append(server.startup_s)
        return swap, StartupFigures(seconds=tuple(seconds))

    def _block(self, body: bytes, connections: int) -> LoadPlan:
        return LoadPlan(
            port=0,
            body=body,
            connections=connections,
            seconds=self._plan.block_s,
            warmup_s=self._plan.warmup_s,
            core=self._generator_core,
        )

    def _server(self, *command: str, log: str, home: Path | None = None) -> AbstractContextManager[Server]:
        """A server on the servers' core; its command ends with the port."""
        port = free_port()
        return serving(
            [*command, str(port)],
            port=port,
            core=self._server_core,
            log=self._folder / f"{log}.log",
            home=home or self._folder,
            environment={"HOTGATE_GATEWAY_DRAIN_S": "0"},  # how it stops is not measured
        )


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
    folder.mkdir(parents=True, exist_ok=True)
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
