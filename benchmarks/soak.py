"""A long run against one worker: does its memory stay where it was, and does every request come through?"""

from __future__ import annotations

import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING, Literal

import msgspec

from benchmarks.errors import BenchError
from benchmarks.figures import Machine
from benchmarks.load import run
from benchmarks.machine import this_machine, versions
from benchmarks.process import pss_bytes, rss_bytes, workers
from benchmarks.rig import SERVE, Rig
from benchmarks.servers import ask
from benchmarks.subject import NAME, check_answers, row_body, train_subjects
from gateway.store import Entry, ModelRoles, ModelStore, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from benchmarks.servers import Server
    from gateway.store_writer import StoreWriter

__all__ = ["Slice", "SoakFigures", "SoakPlan", "judge", "soak"]

KIB, MIB = 2**10, 2**20
SETTLED = 0.1
"""Share of the run after which pools, caches and the allocator's arenas have their working size."""


class SoakPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How long, and what is allowed."""

    requests: int = 10_000_000
    minutes: float = 20.0
    """The run ends then, however many requests there were."""
    connections: int = 64
    slice_s: float = 5.0
    """Load between two looks at the worker; each slice opens its connections anew."""
    swap_every_s: float | None = None
    """A swap between two model files so often; None: none."""
    swaps: int = 1000
    """Where there are any: the run goes on until so many were made, unless its time is over."""
    versions: int = 2
    """Version numbers that the swaps go through, again and again."""
    hold_s: float = 0.0
    """How long the worker keeps the model that served before: 0 has every swap make a session and drop one."""
    growth_max_mib: float = 8.0
    """Memory of the worker may grow by so much from a tenth of the run to its end."""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A look at the worker, between two stretches of load; counts are from the run's begin."""

    requests: int
    swaps: int
    """That the worker made; of those that are published while it loads one, it makes the last."""
    published: int
    pss_bytes: int
    rss_bytes: int
    throughput_per_s: float
    p999_us: float
    max_us: float


class SoakFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; not one request failed, or there would be none."""

    outcome: Literal["flat", "grows"]
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    plan: SoakPlan
    seconds: float
    settled: int
    """The slice at a tenth of the requests, from which growth counts."""
    growth_bytes: int
    """PSS at the end, less that at a tenth."""
    slope_bytes: float
    """Of PSS by requests, in bytes a request: least squares over the slices from there on."""
    slices: tuple[Slice, ...]

    @property
    def judged(self) -> tuple[Slice, ...]:
        """The slices from a tenth on."""
        return self.slices[self.settled :]

    @property
    def growth_per_swap_bytes(self) -> float | None:
        """As if all growth were the swaps'; None without any."""
        swaps = self.slices[-1].swaps - self.slices[self.settled].swaps
        return self.growth_bytes / swaps if swaps else None


def judge(slices: tuple[Slice, ...]) -> tuple[int, int, float]:
    """Where the run had settled, and growth (bytes) and slope (bytes a request) of PSS from there.

    Raises:
        BenchError: fewer than three slices are left to judge by.
    """
    wanted = SETTLED * slices[-1].requests if slices else 0
    settled = next((index for index, one in enumerate(slices) if one.requests >= wanted), 0)
    judged = slices[settled:]
    if len(judged) < 3:
        raise BenchError(f"{len(slices)} slices are too few to see memory grow: let it run longer")
    slope, _ = linear_regression([one.requests for one in judged], [one.pss_bytes for one in judged])
    return settled, judged[-1].pss_bytes - judged[0].pss_bytes, slope


def soak(folder: Path, plan: SoakPlan, *, command: str, say: Callable[[str], None]) -> SoakFigures:
    """Load one pinned worker in a closed loop, slice by slice, and look at its memory between them.

    Args:
        folder: for the generator and logs, kept, and for models and their store, which are not.
        plan: how long.
        command: stands in the report.
        say: told what is being done.

    Raises:
        BenchError: a request failed, the worker died, a swap could not be made, or the run was too short to judge.
        LoadError: the generator failed.
    """
    run_of = _Soak(Rig(folder), plan, say)
    slices, seconds = run_of.slices()
    settled, growth, slope = judge(slices)
    return SoakFigures(
        outcome="flat" if growth <= plan.growth_max_mib * MIB else "grows",
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        machine=this_machine(),
        versions=versions(),
        plan=plan,
        seconds=seconds,
        settled=settled,
        growth_bytes=growth,
        slope_bytes=slope,
        slices=slices,
    )


class _Soak:
    """One run."""

    def __init__(self, rig: Rig, plan: SoakPlan, say: Callable[[str], None]) -> None:
        self._rig, self._plan, self._say = rig, plan, say
        self._published = 0  # by the thread that swaps

    def slices(self) -> tuple[tuple[Slice, ...], float]:
        """All slices, and how long they took."""
        self._say("training two models")
        with tempfile.TemporaryDirectory(dir=self._rig.folder, prefix="soak-") as scratch:
            home = Path(scratch)
            subjects = list(train_subjects(home / "models", [1.0, 1.01]))
            with ModelStore(home / "store").writer() as writer:
                hashes = [writer.put(subject.file.read_bytes()) for subject in subjects]
                _publish(writer, "1", hashes[0])
                with self._server(home) as server:
                    check_answers(server.port, subjects[0])
                    with self._swapping(writer, hashes) as swaps:
                        begin = time.monotonic()
                        found = tuple(self._loaded(server, row_body(subjects[0].rows[0]), swaps))
                        return found, time.monotonic() - begin

    @contextmanager
    def _server(self, home: Path) -> Iterator[Server]:
        settings = {"HOTGATE_GATEWAY_HOLD_PREVIOUS_S": str(self._plan.hold_s)}
        with self._rig.server(*SERVE, "--no-sync", "--port", log="soak", home=home, environment=settings) as server:
            yield server

    def _loaded(self, server: Server, body: bytes, swaps: Future[None] | None) -> Iterator[Slice]:
        plan, answered, made = self._plan, 0, 0
        wanted = plan.swaps if swaps is not None else 0
        end = time.monotonic() + 60 * plan.minutes
        (worker,) = workers(server.pid)
        while (answered < plan.requests or made < wanted) and (left_s := end - time.monotonic()) > 0:
            block = self._rig.block(body, connections=plan.connections, seconds=min(plan.slice_s, left_s), warmup_s=0)
            block = msgspec.structs.replace(
                block,
                port=server.port,
                requests_max=plan.requests - answered if answered < plan.requests else None,
            )
            result = run(self._rig.generator, block)
            if result.failed:
                raise BenchError(f"after {answered} requests: {result.faults()}")
            if swaps is not None and swaps.done():
                swaps.result()
            if workers(server.pid) != [worker]:
                raise BenchError(f"the worker, process {worker}, died after {answered} requests")
            answered, made = answered + result.ok, _swaps(server.port)
            one = Slice(
                requests=answered,
                swaps=made,
                published=self._published,
                pss_bytes=pss_bytes(worker),
                rss_bytes=rss_bytes(worker),
                throughput_per_s=result.throughput_per_s,
                p999_us=result.latency.p999_us,
                max_us=result.latency.max_us,
            )
            self._say(f"{answered:,} requests, {one.swaps:,} swaps, PSS {one.pss_bytes / MIB:.1f} MiB")
            yield one

    @contextmanager
    def _swapping(self, writer: StoreWriter, hashes: list[str]) -> Iterator[Future[None] | None]:
        """Publish one version after the other on a thread of its own, until the block is left."""
        every_s, versions = self._plan.swap_every_s, self._plan.versions
        if every_s is None:
            yield None
            return
        stop = threading.Event()

        def publish() -> None:
            number = 0
            while not stop.wait(every_s):
                number += 1
                try:
                    _publish(writer, str(1 + number % versions), hashes[number % 2])
                except (OSError, StoreError) as error:
                    raise BenchError(f"no swap {number}: {error}") from error
                self._published = number

        with ThreadPoolExecutor(1, thread_name_prefix="soak-swaps") as pool:
            published = pool.submit(publish)
            try:
                yield published
            finally:
                stop.set()
        published.result()


def _publish(writer: StoreWriter, version: str, sha256: str) -> None:
    """What the sidecar does."""
    writer.publish({NAME: ModelRoles(champion=Entry(version=version, sha256=sha256))})


def _swaps(port: int) -> int:
    """Swaps that the worker made, by its own count; the first model was none."""
    lines = ask(port, "GET", "/metrics").body.decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("hotgate_swaps_total{"))) - 1
