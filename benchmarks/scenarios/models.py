"""What a larger model costs: a linear one, a forest and gradient boosting, in the closed loop."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from benchmarks.figures import Side
from benchmarks.load import run
from benchmarks.pause import paused
from benchmarks.plots import Point, draw_curve
from benchmarks.report import table
from benchmarks.scenarios.plan import checked, served
from benchmarks.serving import side
from benchmarks.subject import KINDS, row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.load import LoadResult
    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan

__all__ = ["TITLE", "ModelsFigures", "draw", "measure", "render"]

TITLE = "Kinds of models"
CONNECTIONS = (1, 32, 256)


class ModelsFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over blocks by number of connections, then by kind."""

    block_s: float
    sides: dict[int, dict[str, Side]]


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> ModelsFigures:
    """All kinds run, one is measured while the others are stopped, there and back again in each round."""
    subjects = {}
    for kind in KINDS:
        say(f"training {kind}")
        subjects[kind] = train_subject(rig.folder, kind)
    say("starting the servers, checking the answers")
    sides = {}
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(served(rig, it, f"models-{kind}")) for kind, it in subjects.items()}
        for connections in CONNECTIONS:
            found: dict[str, list[LoadResult]] = {kind: [] for kind in KINDS}
            for kind in (*KINDS, *reversed(KINDS)) * plan.rounds:
                say(f"{connections} connections: {kind}")
                block = rig.block(
                    row_body(subjects[kind].rows[0]),
                    connections=connections,
                    seconds=plan.block_s / 2,
                    warmup_s=plan.warmup_s,
                )
                block = msgspec.structs.replace(block, port=servers[kind].port)
                with paused(server.pid for other, server in servers.items() if other != kind):
                    found[kind].append(checked(run(rig.generator, block), f"{kind} at {connections} connections"))
            sides[connections] = {kind: side(results) for kind, results in found.items()}
    return ModelsFigures(block_s=plan.block_s / 2, sides=sides)


def render(figures: ModelsFigures) -> str:
    """A row for each kind and number of connections, and its throughput by the linear model's."""
    rows = [
        (
            f"{connections} {kind}",
            f"{it.throughput_per_s:,.0f}",
            f"{it.throughput_per_s / kinds['linear'].throughput_per_s:.2f}",
            f"{it.p50_us:,.0f}",
            f"{it.p99_us:,.0f}",
        )
        for connections, kinds in figures.sides.items()
        for kind, it in kinds.items()
    ]
    blocks = next(iter(next(iter(figures.sides.values())).values())).blocks
    requests = sum(it.requests for kinds in figures.sides.values() for it in kinds.values())
    return f"""`POST /predict` with one row of 30 floats: a scaler and a logistic regression, a random forest of \
100 trees of depth 5, gradient boosting of 200 trees of depth 5.

{table(("connections", "req/s", "of linear", "p50, µs", "p99, µs"), rows)}

Medians of {blocks} blocks of {figures.block_s:g} s, closed loop, the order of the kinds there and back again, the \
others stopped meanwhile; {requests:,} requests, 0 failed. Each model's answers were first held against \
scikit-learn's."""


def draw(figures: ModelsFigures, folder: Path) -> None:
    """Latency over throughput for each kind: `models.png`."""
    curves = {
        kind: [
            Point(
                label=str(connections),
                throughput_per_s=kinds[kind].throughput_per_s,
                p50_us=kinds[kind].p50_us,
                p99_us=kinds[kind].p99_us,
            )
            for connections, kinds in figures.sides.items()
        ]
        for kind in KINDS
    }
    how = "closed loop, one worker on one core; the numbers are connections"
    draw_curve(curves, folder / "models.png", title="What a larger model costs", how=how)
