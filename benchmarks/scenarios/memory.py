"""What a further worker costs in memory, and how long a start from a filled store takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.load import run
from benchmarks.process import pss_bytes, workers
from benchmarks.report import table
from benchmarks.scenarios.plan import STORE, checked, publish, stocked
from benchmarks.subject import check_answers, row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan
    from benchmarks.subject import Subject

__all__ = ["TITLE", "Fleet", "MemoryByWorkers", "draw", "measure", "render"]

TITLE = "Memory and start by workers"
COUNTS = (1, 3)
MIB = 2**20


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """A server with some workers; memory is the proportional set size after load, in bytes."""

    workers: tuple[int, ...]
    supervisor: int
    ready_s: tuple[float, ...]
    """From the process's start to the first 200 of /readyz, which is the first worker's."""

    @property
    def whole(self) -> int:
        """All its processes together."""
        return sum(self.workers) + self.supervisor


class MemoryByWorkers(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest and a larger number of workers."""

    few: Fleet
    many: Fleet

    @property
    def marginal(self) -> float:
        """Bytes that each further worker costs the machine."""
        return (self.many.whole - self.few.whole) / (len(self.many.workers) - len(self.few.workers))


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> MemoryByWorkers:
    """Start each several times on one store; the last of them is loaded and weighed."""
    say("training the model")
    subject = train_subject(rig.folder, "linear")
    with tempfile.TemporaryDirectory(dir=rig.folder, prefix="memory-") as scratch:
        with stocked(Path(scratch), subject.file) as (writer, shas):
            publish(writer, "1", shas[0])
        few, many = (_fleet(rig, plan, subject, Path(scratch), count, say) for count in COUNTS)
    return MemoryByWorkers(few=few, many=many)


def _fleet(rig: Rig, plan: ScenarioPlan, subject: Subject, home: Path, count: int, say: Callable[[str], None]) -> Fleet:
    command = (*STORE, "--workers", str(count), "--port")
    ready = []
    for number in range(1, plan.starts + 1):
        say(f"{count} workers, start {number} of {plan.starts}")
        with rig.server(*command, log="memory", home=home) as server:
            ready.append(server.startup_s)
            if number < plan.starts:
                continue
            check_answers(server.port, subject)  # by now all of them are up, or nobody would answer for long
            body = row_body(subject.rows[0])
            block = rig.block(body, connections=64, seconds=plan.block_s / 2, warmup_s=plan.warmup_s)
            checked(run(rig.generator, msgspec.structs.replace(block, port=server.port)), f"{count} workers")
            weighed = tuple(map(pss_bytes, workers(server.pid)))
            supervisor = pss_bytes(server.pid)
    if len(weighed) != count:
        raise BenchError(f"{count} workers were asked for, {len(weighed)} are there")
    return Fleet(workers=weighed, supervisor=supervisor, ready_s=tuple(ready))


def render(figures: MemoryByWorkers) -> str:
    """A row for each number of workers, and what one more costs."""
    rows = [
        (
            str(len(fleet.workers)),
            f"{median(fleet.workers) / MIB:.0f}",
            f"{fleet.supervisor / MIB:.0f}",
            f"{fleet.whole / MIB:.0f}",
            f"{median(fleet.ready_s):.2f}",
            f"{max(fleet.ready_s):.2f}",
        )
        for fleet in (figures.few, figures.many)
    ]
    head = ("workers", "one worker, MiB", "supervisor, MiB", "all, MiB", "ready, s (median)", "ready, s (max)")
    return f"""{table(head, rows)}

Proportional set sizes after load, with one linear model: a page that several processes share counts for each by \
its part, so the sum is what the machine gives. A further worker costs {figures.marginal / MIB:.0f} MiB. `ready` is \
from the process's start, the model in the store, to the first 200 of `/readyz`, over {len(figures.few.ready_s)} \
starts, all processes on one core."""


def draw(figures: MemoryByWorkers, folder: Path) -> None:
    """A table says it."""
