"""What a second worker brings, the generator's own share of the cores accounted for."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.affinity import cores
from benchmarks.load import LoadPlan, run
from benchmarks.report import table
from benchmarks.rig import SERVE
from benchmarks.scenarios.plan import checked
from benchmarks.subject import NAME, check_answers, row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan

__all__ = ["TITLE", "ScalingFigures", "Workers", "draw", "measure", "render"]

TITLE = "Two workers"
CONNECTIONS = 64


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """Some workers in the closed loop: medians over blocks."""

    workers: int
    throughput_per_s: float
    p99_us: float
    generator_share: float
    cores_left: float
    """Cores that the workers could use: those they were given, less what the generator took of them."""
    requests: int

    @property
    def per_core(self) -> float:
        """Answers a second for each core that was left to the workers."""
        return self.throughput_per_s / self.cores_left


class ScalingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One worker and two."""

    own_core: bool
    """Whether the generator had a core that no worker used."""
    block_s: float
    blocks: int
    one: Workers
    two: Workers


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> ScalingFigures:
    """One worker and two, each on as many cores, in turn: one, two, two, one in each round."""
    usable = cores()
    own_core = len(usable) > 2
    generator_core = usable[-1]
    say("training the model")
    subject = train_subject(rig.folder, "linear")
    model = f"{NAME}={subject.file}"
    found: dict[int, list[Workers]] = {1: [], 2: []}
    for number in (1, 2, 2, 1) * plan.rounds:
        say(f"{number} workers")
        command = (*SERVE, "--workers", str(number), "--model", model, "--port")
        with rig.server(*command, log=f"scaling-{number}", core=set(usable[:number])) as server:
            check_answers(server.port, subject)
            block = LoadPlan(
                port=server.port,
                body=row_body(subject.rows[0]),
                connections=CONNECTIONS,
                seconds=plan.block_s / 2,
                warmup_s=plan.warmup_s,
                core=generator_core,
            )
            result = checked(run(rig.generator, block), f"{number} workers")
        taken = 0.0 if own_core or number == 1 else result.cpu_share
        found[number].append(
            Workers(
                workers=number,
                throughput_per_s=result.throughput_per_s,
                p99_us=result.latency.p99_us,
                generator_share=result.cpu_share,
                cores_left=number - taken,
                requests=result.requests,
            )
        )
    return ScalingFigures(
        own_core=own_core,
        block_s=plan.block_s / 2,
        blocks=len(found[1]),
        one=_median(found[1]),
        two=_median(found[2]),
    )


def _median(blocks: list[Workers]) -> Workers:
    return Workers(
        workers=blocks[0].workers,
        throughput_per_s=median(block.throughput_per_s for block in blocks),
        p99_us=median(block.p99_us for block in blocks),
        generator_share=median(block.generator_share for block in blocks),
        cores_left=median(block.cores_left for block in blocks),
        requests=sum(block.requests for block in blocks),
    )


def render(figures: ScalingFigures) -> str:
    """Both beside each other; what cannot be said on this machine is not said."""
    rows = [
        (
            str(it.workers),
            f"{it.throughput_per_s:,.0f}",
            f"{it.throughput_per_s / figures.one.throughput_per_s:.2f}",
            f"{it.cores_left:.2f}",
            f"{it.per_core:,.0f}",
            f"{it.p99_us:,.0f}",
            f"{it.generator_share:.0%}",
        )
        for it in (figures.one, figures.two)
    ]
    head = ("workers", "req/s", "of one", "cores left", "req/s a core", "p99, µs", "generator")
    requests = figures.one.requests + figures.two.requests
    if figures.own_core:
        said = "The generator had a core of its own: `of one` is the scaling."
    else:
        said = (
            "Scaling is not measured here: with two workers the generator shares a core with one of them. What can be"
            " said is the throughput for each core that it left to the workers, the cores that they were given less"
            f" its share: with two it is {figures.two.per_core / figures.one.per_core:.0%} of what it is with one."
            " Switching between them costs too, so that this is too low rather than too high."
        )
    return f"""Closed loop over {CONNECTIONS} connections, one worker on one core and two workers on two.

{table(head, rows)}

{said} Medians of {figures.blocks} blocks of {figures.block_s:g} s, ABBA, a new server for each; {requests:,} \
requests, 0 failed."""


def draw(figures: ScalingFigures, folder: Path) -> None:
    """Two numbers are no picture."""
