"""Rounds of requests to gateways that differ in their lane only, until the time is over or something is wrong."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.fuzz.forms import right_case
from benchmarks.fuzz.models import MARKS, write_models
from benchmarks.fuzz.mutate import mutated, sent_otherwise
from benchmarks.fuzz.rules import comparable, faults_of_script
from benchmarks.fuzz.wire import exchange, script_of
from benchmarks.process import rss_bytes
from benchmarks.servers import free_port, serving, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.fuzz.forms import Case
    from benchmarks.fuzz.wire import Script
    from benchmarks.servers import Server

__all__ = ["LANES", "FuzzError", "FuzzReport", "fuzz", "gateways"]

LANES = ("direct", "loop", "off")
CONNECTIONS = 12
_RIGHT_SHARE = 0.5
_GROWTH_BYTES = 64 * 2**20
"""What a worker may grow by: buffers of the largest bodies, blocks, and what an allocator keeps."""
_SETTLED_ROUNDS = 100


class FuzzError(BenchError):
    """A rule was broken; the text has the bytes that did it."""


class FuzzReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, and how it was answered."""

    seed: int
    rounds: int
    requests: int
    """To each lane."""
    statuses: dict[str, int]
    """Answers by status, of all lanes."""
    growth_bytes: dict[str, int]
    """Of each worker's memory, from when it had seen a hundred rounds."""


@contextmanager
def gateways(folder: Path) -> Iterator[dict[str, Server]]:
    """One gateway for each lane, with one worker, serving the two models."""
    models = [part for name, path in write_models(folder).items() for part in ("--model", f"{name}={path}")]
    with ExitStack() as stack:
        found = {}
        for lane in LANES:
            home, port = folder / lane, free_port()
            home.mkdir(exist_ok=True)
            command = [sys.executable, "-P", "-m", "hotgate", "serve", "--host", "127.0.0.1", "--workers", "1"]
            environment = {
                "HOTGATE_GATEWAY_LANE": lane,
                "HOTGATE_GATEWAY_DEFAULT_MODEL": MARKS,
                "HOTGATE_GATEWAY_MAX_BODY_BYTES": str(2**20),
                "HOTGATE_GATEWAY_DRAIN_S": "0",
            }
            found[lane] = stack.enter_context(
                serving(
                    [*command, *models, "--port", str(port)],
                    port=port,
                    log=folder / f"{lane}.log",
                    home=home,
                    environment=environment,
                )
            )
        yield found


def fuzz(
    servers: dict[str, Server], folder: Path, *, seed: int, first: int, seconds: float, say: Callable[[str], None]
) -> FuzzReport:
    """Send the rounds that a seed makes, from the `first` on, until the time is over.

    Raises:
        FuzzError: an answer, or a worker, was not as it must be; at the first one.
    """
    before = _workers(servers)
    memory: dict[str, int] = {}
    statuses: Counter[int] = Counter()
    number, requests = first, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        scripts = _round(Random(f"{seed}/{number}"), number)  # noqa: S311 - it must come again
        requests += sum(len(script.cases) for script in scripts)
        _play(servers, scripts, statuses, where=f"seed {seed}, round {number}")
        if _workers(servers) != before:
            raise FuzzError(f"seed {seed}, round {number}: a worker died:\n{_shown(scripts)}\n{_logs(folder)}")
        number += 1
        if number - first == _SETTLED_ROUNDS:
            memory = _memory(before)
        if number % _SETTLED_ROUNDS == 0:
            say(f"{number} rounds, {requests} requests to each lane: {dict(sorted(statuses.items()))}")
    growth = {lane: held - memory.get(lane, held) for lane, held in _memory(before).items()}
    for lane, grown in growth.items():
        if grown > _GROWTH_BYTES:
            raise FuzzError(f"seed {seed}: the worker on lane {lane} grew by {grown / 2**20:.0f} MiB")
    for lane in servers:
        log = (folder / f"{lane}.log").read_text(encoding="utf-8", errors="replace")
        if "Traceback" in log:
            raise FuzzError(
                f"seed {seed}: the server on lane {lane} met a defect:\n{log[log.index('Traceback') :][:4000]}"
            )
    shown = {str(status): count for status, count in sorted(statuses.items())}
    return FuzzReport(seed=seed, rounds=number - first, requests=requests, statuses=shown, growth_bytes=growth)


def _workers(servers: dict[str, Server]) -> dict[str, list[int]]:
    """What each server's main thread has forked; the observer is another thread's child."""
    tasks = {lane: Path(f"/proc/{server.pid}/task/{server.pid}/children") for lane, server in servers.items()}
    return {lane: [int(pid) for pid in task.read_text().split()] for lane, task in tasks.items()}


def _memory(pids: dict[str, list[int]]) -> dict[str, int]:
    return {lane: sum(map(rss_bytes, found)) for lane, found in pids.items()}


def _round(rng: Random, number: int) -> list[Script]:
    scripts = []
    for place in range(CONNECTIONS):
        count = rng.choice((1, 1, 1, 2, 5))
        cases = tuple(_case(rng, f"{number}.{place}.{at}") for at in range(count))
        scripts.append(script_of(rng, cases))
    return scripts


def _case(rng: Random, request_id: str) -> Case:
    case = right_case(rng, request_id)
    if rng.random() > _RIGHT_SHARE:
        return mutated(rng, case)
    return sent_otherwise(rng, case) if rng.random() < 0.1 else case


def _play(servers: dict[str, Server], scripts: list[Script], statuses: Counter[int], *, where: str) -> None:
    """Send a round to every lane, and hold the answers to the rules and to each other."""
    told = {}
    for lane, server in servers.items():
        try:
            told[lane] = exchange(server.port, scripts)
        except (TimeoutError, ValueError, OSError) as error:
            raise FuzzError(f"{where}, lane {lane}: no whole answer ({error!r}):\n{_shown(scripts)}") from error
        for script, answers in zip(scripts, told[lane], strict=True):
            statuses.update(answer.status for answer in answers)
            for fault in faults_of_script(script, answers):
                raise FuzzError(f"{where}, lane {lane}: {fault}\nto\n{_shown([script])}")
    for place, script in enumerate(scripts):
        seen = {lane: found for lane in told if (found := comparable(script, told[lane][place])) is not None}
        heard = min(map(len, seen.values()), default=0)  # behind one that it did not read a server closes, or not
        for at in range(heard):
            first, *others = (found[at] for found in seen.values())
            if any(other != first for other in others):
                said = "\n".join(f"  {lane}: {found[at]}" for lane, found in seen.items())
                raise FuzzError(f"{where}: the lanes disagree:\n{said}\non the request {at} of\n{_shown([script])}")


def _shown(scripts: list[Script]) -> str:
    """The pieces as Python bytes, each connection a line: pasted into a socket they do it again."""
    return "\n".join(f"  {list(script.pieces)!r}{' (broken off)' if script.cut else ''}" for script in scripts)


def _logs(folder: Path) -> str:
    return "\n".join(f"{lane}: {tail(folder / f'{lane}.log')}" for lane in LANES)
