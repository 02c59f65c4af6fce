"""Three times what the worker can do: how much it still answers, how it refuses, and when it is itself again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.load import Latency, LoadPlan, Slice, run
from benchmarks.plots import draw_percentiles
from benchmarks.report import table
from benchmarks.scenarios.plan import checked, maximum, served
from benchmarks.subject import row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan
    from benchmarks.subject import Subject

__all__ = ["TITLE", "Overload", "OverloadFigures", "draw", "measure", "render"]

TITLE = "Overload"
FACTOR = 3.0
LOADS = (("linear", 1), ("linear", 64), ("boosting", 64))
"""Kinds of models, and rows of a request. A connection has one request under way: with single rows the queue never
holds more rows than there are connections, so that only larger requests reach its bound. The last one's runs are on a
thread of their own, where the batcher's queue fills up; the others wait in granian's."""
PROBE_CONNECTIONS = 8
SLICE_S = 0.05


class Overload(msgspec.Struct, frozen=True, kw_only=True):
    """One model and size of requests at three times their maximum."""

    kind: str
    rows: int
    maximum_per_s: float
    """2xx a second in the closed loop with 32 connections."""
    offered_per_s: float
    sent_per_s: float
    """What really went out: a connection waits for its answer, and the generator's core has an end."""
    goodput_per_s: float
    status: dict[int, int]
    retry_after: dict[int, int]
    unsent: int
    """Found no free connection until the end."""
    lost: int
    accepted: Latency
    """Of 2xx, from the actual send."""
    refused: Latency | None
    """Of 429 and 503, from the actual send."""
    generator_share: float
    missed_share: float
    before: Latency
    """Of the probe, from the intended send."""
    after: Latency
    """Of the probe that begins when the load ends."""
    after_refused: int
    """Of the same: told to come back, because what the load has left was not done yet."""
    back_after_s: float | None
    """From the load's end to that of the first slice whose p99 was at most twice the one before; None: not seen."""


class OverloadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All loads."""

    connections: int
    seconds: float
    probe_rate_per_s: float
    probe_s: float
    """How long it probes after the load."""
    loads: tuple[Overload, ...]


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> OverloadFigures:
    """For each load: the maximum, the probe, the overload, and the probe again at once."""
    loads = []
    for kind, rows in LOADS:
        say(f"{kind}: training the model")
        subject = train_subject(rig.folder, kind)
        with served(rig, subject, f"overload-{kind}-{rows}") as server:
            loads.append(_overload(rig, plan, server.port, subject, rows, say))
    return OverloadFigures(
        connections=plan.overload_connections,
        seconds=plan.block_s,
        probe_rate_per_s=plan.rate_per_s,
        probe_s=plan.probe_s,
        loads=tuple(loads),
    )


def body(rows: npt.NDArray[np.float64], count: int) -> bytes:
    """A request for the first rows; one row is asked for as most clients do."""
    return row_body(rows[0]) if count == 1 else msgspec.json.encode({"instances": rows[:count].tolist()})


def _overload(
    rig: Rig, plan: ScenarioPlan, port: int, subject: Subject, rows: int, say: Callable[[str], None]
) -> Overload:
    request, row = body(subject.rows, rows), row_body(subject.rows[0])
    say(f"{subject.kind}, {_rows(rows)} a request: the maximum, then the probe")
    most = maximum(rig, plan, port, request)
    before = checked(
        run(rig.generator, _probe(rig, plan, port, row, seconds=2 * plan.probe_s)), "probe before the overload"
    )
    say(f"{FACTOR * most:,.0f} requests a second for {plan.block_s:g} s")
    load = LoadPlan(
        port=port,
        body=request,
        connections=plan.overload_connections,
        seconds=plan.block_s,
        warmup_s=plan.warmup_s,
        backlog="drop",
        rate_per_s=FACTOR * most,
        seed=plan.seed,
        core=rig.generator_core,
        missed_max=1.0,  # one core may not send so much: what it did send is stated
    )
    overload = run(rig.generator, load)
    after = run(rig.generator, _probe(rig, plan, port, row, seconds=plan.probe_s))
    if after.failed > after.refused:
        raise BenchError(f"probe after the overload: {after.faults()}")
    end_ns = overload.begin_monotonic_ns + round((plan.warmup_s + overload.seconds) * 1e9)
    whole_s = plan.warmup_s + overload.seconds
    return Overload(
        kind=subject.kind,
        rows=rows,
        maximum_per_s=most,
        offered_per_s=FACTOR * most,
        sent_per_s=(overload.requests - overload.unsent) / whole_s,
        goodput_per_s=overload.throughput_per_s,
        status=overload.status,
        retry_after=overload.retry_after,
        unsent=overload.unsent,
        lost=overload.lost + overload.reset_reused,
        accepted=overload.from_sent or overload.latency,
        refused=overload.refused_from_sent,
        generator_share=overload.cpu_share,
        missed_share=overload.missed_share,
        before=before.latency,
        after=after.latency,
        after_refused=after.refused,
        back_after_s=back_after_s(
            after.slices, (after.begin_monotonic_ns - end_ns) / 1e9, limit_us=2 * before.latency.p99_us
        ),
    )


def _probe(rig: Rig, plan: ScenarioPlan, port: int, row: bytes, *, seconds: float) -> LoadPlan:
    return LoadPlan(
        port=port,
        body=row,
        connections=PROBE_CONNECTIONS,
        seconds=seconds,
        warmup_s=0.0,
        rate_per_s=plan.rate_per_s,
        seed=plan.seed,
        slice_s=SLICE_S,
        core=rig.generator_core,
        missed_max=1.0,
    )


def back_after_s(slices: Sequence[Slice], begin_s: float, *, limit_us: float) -> float | None:
    """When the first slice without a failure and with a p99 within the limit ended; the first began at `begin_s`."""
    for number, part in enumerate(slices, 1):
        if not part.failed and part.p99_us is not None and part.p99_us <= limit_us:
            return begin_s + number * SLICE_S
    return None


def render(figures: OverloadFigures) -> str:
    """A row for each load; the wording keeps apart what the server did and what the generator could."""
    head = (
        "model", "rows a request", "maximum, req/s", "offered", "sent", "2xx/s", "of maximum", "2xx p99, ms", "refused",
        "with Retry-After", "refused p99, ms", "lost", "back after",
    )  # fmt: skip
    rows = [_row(load) for load in figures.loads]
    probes = "; ".join(
        f"{_name(load)}: {load.before.p99_us / 1e3:.2f} ms before, {load.after.p99_us / 1e3:.2f} ms in the"
        f" first {figures.probe_s:g} s after, {load.after_refused:,} of its requests refused"
        for load in figures.loads
    )
    busiest = max(load.generator_share for load in figures.loads)
    return f"""Poisson arrivals at {FACTOR:g} times the closed loop's maximum for {figures.seconds:g} s over \
{figures.connections} connections.

{table(head, rows)}

Latencies are from the actual send: what waits for one of the {figures.connections} connections waits in the \
generator, without bound, and is sent late or never, so this is an open loop only as far as `sent` comes near \
`offered`. With single rows no more than {figures.connections} can wait in the worker, which is below its bound of \
rows: nothing is refused, clients wait, and larger batches than at 32 connections may answer more than the maximum. \
The generator used up to {busiest:.0%} of its core, and the kernel's work for the connections is shared by both sides: \
the worker could do more with less beside it.

Afterwards a probe of {figures.probe_rate_per_s:,g} single rows a second, p99: {probes}. `back after` is the time \
from the load's end to the end of the first {SLICE_S * 1e3:g} ms in which the probe's p99 was at most twice the one \
before; starting the probe is part of it."""


def _row(load: Overload) -> tuple[str, ...]:
    refused = {code: count for code, count in load.status.items() if code in (429, 503)}
    told = sum(load.retry_after.get(code, 0) for code in refused)
    total = sum(refused.values())
    return (
        load.kind,
        str(load.rows),
        f"{load.maximum_per_s:,.0f}",
        f"{load.offered_per_s:,.0f}",
        f"{load.sent_per_s:,.0f}",
        f"{load.goodput_per_s:,.0f}",
        f"{load.goodput_per_s / load.maximum_per_s:.0%}",
        f"{load.accepted.p99_us / 1e3:,.1f}",
        ", ".join(f"{count:,} of {code}" for code, count in refused.items()) or "0",
        f"{told / total:.0%}" if total else "-",
        f"{load.refused.p99_us / 1e3:,.1f}" if load.refused else "-",
        f"{load.lost:,}",
        "not within 1 s" if load.back_after_s is None else f"{load.back_after_s:.2f} s",
    )


def _name(load: Overload) -> str:
    return f"{load.kind}, {_rows(load.rows)}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def draw(figures: OverloadFigures, folder: Path) -> None:
    """Accepted and refused: `overload.png`."""
    latencies = {}
    for load in figures.loads:
        latencies[f"{_name(load)}, 2xx"] = load.accepted
        if load.refused:
            latencies[f"{_name(load)}, refused"] = load.refused
    how = f"{FACTOR:g} times the maximum, {figures.connections} connections, from the actual send"
    draw_percentiles(latencies, folder / "overload.png", title="Latency by percentile under overload", how=how)
