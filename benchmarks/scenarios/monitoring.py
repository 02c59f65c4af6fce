"""What knowing the data costs a request: the same gateway with counting and logging, and with neither."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.load import run
from benchmarks.pause import paused
from benchmarks.process import descendants, workers
from benchmarks.report import table
from benchmarks.scenarios.plan import checked, served
from benchmarks.subject import row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.load import LoadResult
    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan
    from benchmarks.servers import Server

__all__ = ["TITLE", "Cost", "MonitoringCost", "Pair", "draw", "measure", "render"]

TITLE = "What monitoring costs"
CONNECTIONS = (32, 256)
SIDES = {
    "on": {},
    "no log": {"HOTGATE_MONITOR_LOG_SAMPLE": "0"},
    "off": {"HOTGATE_GATEWAY_MONITORING": "false"},
}
"""Settings by side; `on` is the default."""
PATH = "on, observer stopped"
"""The first side again: what the worker itself pays."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One side in the closed loop: a value for each of its blocks."""

    throughput_per_s: tuple[float, ...]
    p99_us: tuple[float, ...]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """All sides at one number of connections."""

    connections: int
    requests: int
    sides: dict[str, Cost]


class MonitoringCost(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of connections."""

    block_s: float
    loads: tuple[Pair, ...]


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> MonitoringCost:
    """All sides in adjacent blocks, the order turned round each time, the others stopped meanwhile."""
    say("training the model")
    subject = train_subject(rig.folder, "linear")
    body = row_body(subject.rows[0])
    say("starting the servers, checking the answers")
    # Each has a home of its own: an observer looks after one home, and each shall look after its own server only.
    homes = {name: rig.folder / f"monitoring-{name.replace(' ', '-')}" for name in SIDES}
    with (
        served(rig, subject, "monitoring-on", environment=_settings("on", homes)) as on,
        served(rig, subject, "monitoring-no-log", environment=_settings("no log", homes)) as no_log,
        served(rig, subject, "monitoring-off", environment=_settings("off", homes)) as off,
    ):
        servers = {"on": on, "no log": no_log, "off": off}
        servers[PATH] = on
        loads = []
        for connections in CONNECTIONS:
            block = rig.block(body, connections=connections, seconds=plan.block_s, warmup_s=plan.warmup_s)
            found: dict[str, list[LoadResult]] = {name: [] for name in servers}
            for number, name in enumerate(_order(tuple(servers), 2 * plan.rounds), 1):
                say(f"{connections} connections, block {number} of {2 * plan.rounds * len(servers)}: {name}")
                with _alone(servers, name):
                    result = run(rig.generator, msgspec.structs.replace(block, port=servers[name].port))
                if name == PATH:
                    _catch_up(homes["on"] / "monitor" / "spool" / "predictions", plan.drain_s)
                found[name].append(checked(result, f"{name}, {connections} connections"))
            loads.append(_load(connections, found))
    return MonitoringCost(block_s=plan.block_s, loads=tuple(loads))


def _alone(servers: dict[str, Server], name: str) -> AbstractContextManager[None]:
    """Stop all but one server; of the side that is without it, its observer too."""
    still = [server.pid for server in servers.values() if server is not servers[name]]
    if name == PATH:
        pid = servers[name].pid
        still += [child for child in descendants(pid) if child not in workers(pid)]
    return paused(still)


def _catch_up(spool: Path, most_s: float) -> None:
    """Wait until the observer has taken in what came while it was stopped, but for the file that is still open."""
    until = time.monotonic() + most_s
    while len(list(spool.glob("*"))) > 1 and time.monotonic() < until:
        time.sleep(0.1)  # nobody tells when a file is gone


def _settings(name: str, homes: dict[str, Path]) -> dict[str, str]:
    return {"HOTGATE_HOME": str(homes[name]), **SIDES[name]}


def _order(names: tuple[str, ...], rounds: int) -> Iterable[str]:
    for number in range(rounds):
        yield from names if number % 2 == 0 else reversed(names)


def _load(connections: int, found: dict[str, list[LoadResult]]) -> Pair:
    return Pair(
        connections=connections,
        requests=sum(result.requests for results in found.values() for result in results),
        sides={
            name: Cost(
                throughput_per_s=tuple(result.throughput_per_s for result in results),
                p99_us=tuple(result.latency.p99_us for result in results),
            )
            for name, results in found.items()
        },
    )


def ratios(side: Sequence[float], off: Sequence[float]) -> list[float]:
    """By adjacent blocks."""
    return [one / other for one, other in zip(side, off, strict=True)]


def render(figures: MonitoringCost) -> str:
    """A row for each load and side, the ratio to the side that does nothing."""
    rows = [
        (
            str(load.connections),
            name,
            f"{median(side.throughput_per_s):,.0f}",
            _ratio(side.throughput_per_s, load.sides["off"].throughput_per_s) if name != "off" else "",
            f"{median(side.p99_us):,.0f}",
            _ratio(side.p99_us, load.sides["off"].p99_us) if name != "off" else "",
        )
        for load in figures.loads
        for name, side in load.sides.items()
    ]
    head = ("connections", "monitoring", "req/s", "by off", "p99, µs", "by off")
    blocks = len(figures.loads[0].sides["off"].p99_us)
    requests = sum(load.requests for load in figures.loads)
    return f"""The same gateway as it is by default (`on`: rows are counted for drift and every request is logged), \
without the prediction log, and with neither; the closed loop, one row a request. The observer, which writes Parquet \
and waits for labels, shares the worker's core here and gets what time it leaves; with a core to spare a worker pays \
what it pays while the observer is stopped.

{table(head, rows)}

Medians of {blocks} blocks of {figures.block_s:g} s a side, in turn and back, the other servers stopped meanwhile; \
ratios are the median (and range) over adjacent blocks; {requests:,} requests, 0 failed."""


def _ratio(side: Sequence[float], off: Sequence[float]) -> str:
    found = ratios(side, off)
    return f"{median(found):.3f} ({min(found):.2f} to {max(found):.2f})"


def draw(figures: MonitoringCost, folder: Path) -> None:
    """A table says it."""
