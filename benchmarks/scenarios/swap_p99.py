"""What clients feel of a swap: large forests take turns in the model store under a constant rate."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.load import Latency, LoadPlan, LoadResult, Slice, start
from benchmarks.plots import Timeline, draw_timeline
from benchmarks.report import table
from benchmarks.scenarios.plan import STORE, checked, publish, stocked
from benchmarks.subject import row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan
    from gateway.store_writer import StoreWriter

__all__ = ["TITLE", "Run", "SwapP99Figures", "draw", "measure", "render"]

TITLE = "p99 across swaps"
SLICE_S = 0.1


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run at the rate."""

    requests: int
    missed_share: float
    latency: Latency

    @classmethod
    def of(cls, result: LoadResult) -> Run:
        """What is kept of a result."""
        return cls(requests=result.requests, missed_share=result.missed_share, latency=result.latency)


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the store."""

    at_s: float
    """When it was published, from the begin of the first slice."""
    trees: int
    """Of the forest that came."""
    took_s: float
    """From the publication to the first answer with the new version."""


class SwapP99Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The same rate without and with swaps."""

    rate_per_s: float
    connections: int
    file_bytes: dict[int, int]
    """Size of the model file by number of trees."""
    steady: Run
    swapping: Run
    swaps: tuple[Swap, ...]
    warmup_s: float
    slices: tuple[Slice, ...]
    """Of the run with swaps."""


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> SwapP99Figures:
    """The steady run and the run with swaps are equally long, on one server."""
    say(f"training forests of {' and '.join(map(str, plan.swap_trees))} trees")
    subjects = [train_subject(rig.folder, "forest", n_estimators=trees, max_depth=None) for trees in plan.swap_trees]
    seconds = (plan.swaps + 1) * plan.swap_interval_s
    with (
        tempfile.TemporaryDirectory(dir=rig.folder, prefix="swap-") as scratch,
        stocked(Path(scratch), *(subject.file for subject in subjects)) as (writer, shas),
    ):
        publish(writer, "0", shas[0])
        with rig.server(*STORE, "--port", log="swap-p99", home=Path(scratch)) as server:
            block = LoadPlan(
                port=server.port,
                body=row_body(subjects[0].rows[0]),
                connections=32,
                seconds=seconds,
                warmup_s=plan.warmup_s,
                rate_per_s=plan.rate_per_s,
                seed=plan.seed,
                slice_s=SLICE_S,
                version_header="X-Model-Version",
                missed_max=1.0,  # in both runs, and stated
                core=rig.generator_core,
            )
            say(f"{seconds:g} s without swaps")
            with start(rig.generator, block) as running:
                steady = checked(running.result(), "without swaps")
            say(f"{plan.swaps} swaps, one each {plan.swap_interval_s:g} s")
            with start(rig.generator, block) as running:
                published = _swap(writer, shas, plan)
                swapping = checked(running.result(), "across swaps")
    return SwapP99Figures(
        rate_per_s=plan.rate_per_s,
        connections=block.connections,
        file_bytes={
            trees: subject.file.stat().st_size for trees, subject in zip(plan.swap_trees, subjects, strict=True)
        },
        steady=Run.of(steady),
        swapping=Run.of(swapping),
        swaps=tuple(_timed(swapping, published, plan.swap_trees)),
        warmup_s=plan.warmup_s,
        slices=swapping.slices,
    )


def _swap(writer: StoreWriter, shas: list[str], plan: ScenarioPlan) -> list[int]:
    """Publish versions "1", "2", ... in turn; when each was, on the generator's clock."""
    time.sleep(plan.warmup_s)
    published = []
    for number in range(1, plan.swaps + 1):
        time.sleep(plan.swap_interval_s)
        published.append(time.monotonic_ns())
        publish(writer, str(number), shas[number % len(shas)])
    return published


def _timed(result: LoadResult, published: list[int], trees: tuple[int, int]) -> list[Swap]:
    swaps = []
    for number, at_ns in enumerate(published, 1):
        seen = result.versions.get(str(number))
        if seen is None:
            raise BenchError(f"swap {number} of {len(published)} never answered: the next one came before it served")
        swaps.append(
            Swap(
                at_s=(at_ns - result.begin_monotonic_ns) / 1e9,
                trees=trees[number % len(trees)],
                took_s=(seen.first_monotonic_ns - at_ns) / 1e9,
            )
        )
    return swaps


def render(figures: SwapP99Figures) -> str:
    """Both runs beside each other, and how long the swaps took."""
    rows = [
        (
            name,
            f"{run.requests:,}",
            *(f"{value:,.0f}" for value in _points(run.latency)),
            f"{run.missed_share:.2%}",
        )
        for name, run in (("no swap", figures.steady), (f"{len(figures.swaps)} swaps", figures.swapping))
    ]
    head = ("", "requests", "p50, µs", "p99, µs", "p99.9, µs", "max, µs", "missed")
    took = {trees: [swap.took_s for swap in figures.swaps if swap.trees == trees] for trees in figures.file_bytes}
    times = "; ".join(f"{max(times):.2f} s at most to {trees} trees" for trees, times in took.items() if times)
    sizes = " and ".join(f"{trees} trees ({size / 1e6:.1f} MB)" for trees, size in figures.file_bytes.items())
    return f"""{figures.rate_per_s:,g} requests a second (Poisson, {figures.connections} connections) on one \
worker, while forests of {sizes} take turns in the model store; no sidecar.

{table(head, rows)}

Latency from the intended send, 0 failed; `missed` is the share that the generator sent over 1 ms late itself. From \
the publication to the first answer of the new version: {times}. Loading, checking and warming happen in the \
worker, beside its traffic on one core: on a core of their own they would cost less."""


def _points(latency: Latency) -> tuple[float, ...]:
    return latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us


def draw(figures: SwapP99Figures, folder: Path) -> None:
    """p99 of each 100 ms with the moments of publication: `swap-p99.png`."""
    timeline = Timeline(
        slice_s=SLICE_S,
        slices=figures.slices,
        moments=tuple((swap.at_s, f"{swap.trees} trees published") for swap in figures.swaps),
        measured_from_s=figures.warmup_s,
    )
    how = f"{figures.rate_per_s:,g} requests a second, open loop; worker, loading and checking on one core"
    draw_timeline(timeline, folder / "swap-p99.png", title="Latency while forests are swapped", how=how)
