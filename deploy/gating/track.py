"""Candidate and champion in real gateway processes on one core, each with a home of its own, under real load."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.duel import Bout, Contender, Duel, weigh
from benchmarks.errors import BenchError
from benchmarks.load import run
from benchmarks.rig import SERVE, Rig
from benchmarks.subject import row_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from benchmarks.gate import Order, Pair
    from benchmarks.gate_run import Profile
    from benchmarks.load import LoadPlan, LoadResult
    from deploy.gating.speed import Track

__all__ = ["CONNECTIONS", "gateways"]

CONNECTIONS = 32
BODIES_MAX = 64
"""Rows that are sent in turn: of some models a row's cost depends on its values."""


class _Pace:
    """How long blocks are, and what is sent."""

    def __init__(self, block: LoadPlan, profile: Profile) -> None:
        self._block, self._profile = block, profile
        self.probe = msgspec.structs.replace(block, seconds=profile.probe_s)
        self.rounds = profile.probe_rounds

    def bout(self, rate_per_s: float) -> Bout:
        """Blocks in which each side owes enough answers for a p99; who gives fewer has not held the rate."""
        seconds = max(self._profile.block_s, 1.2 * self._profile.answers_min / rate_per_s)
        block = msgspec.structs.replace(self._block, seconds=seconds)
        return Bout(figure="p99", block=block, rates={"a": rate_per_s, "b": rate_per_s})


class _Both:
    """The `Track` of two gateways, one of which is stopped while the other is measured."""

    def __init__(self, duel: Duel, pace: _Pace) -> None:
        self._duel, self._pace = duel, pace

    def maximum(self) -> float:
        """See `Track`; the candidate is not asked, for it may be too slow to answer everybody."""
        return self._duel.maximum(self._pace.probe, 2 * self._pace.rounds, order=("a",))["a"]

    def pair(self, rate_per_s: float, order: Order, seed: int) -> Pair:
        """See `Track`."""
        return self._duel.pair(self._pace.bout(rate_per_s), order, seed)


class _Alone:
    """The `Track` of a first model."""

    def __init__(self, load: Callable[[LoadPlan], LoadResult], pace: _Pace) -> None:
        self._load, self._pace = load, pace

    def maximum(self) -> float:
        """See `Track`."""
        results = [self._load(self._pace.probe) for _ in range(2 * self._pace.rounds)]
        for result in results:
            if result.failed:
                raise BenchError(f"requests to the candidate failed: {result.faults()}")
        return median(result.throughput_per_s for result in results)

    def pair(self, rate_per_s: float, _order: Order, seed: int) -> Pair:
        """See `Track`."""
        bout = self._pace.bout(rate_per_s)
        plan = msgspec.structs.replace(bout.block, rate_per_s=rate_per_s, seed=seed, missed_max=1.0)
        result = self._load(plan)
        pair = weigh({"a": result, "b": result}, bout, {"a": "the candidate", "b": "the candidate"})
        return msgspec.structs.replace(pair, void="; ".join(dict.fromkeys(pair.void.split("; "))))  # said once


@contextmanager
def gateways(
    folder: Path,
    candidate: Path,
    champion: Path | None,
    rows: npt.NDArray[np.float64],
    profile: Profile,
    *,
    say: Callable[[str], None],
) -> Iterator[Track]:
    """Serve the model files beside the block, with the default settings.

    Args:
        folder: for the servers' homes and logs, and the generator.
        candidate: its model file.
        champion: its model file; None where there is none.
        rows: what is asked, [n, columns].
        profile: how long is measured.
        say: told what is being done.

    Raises:
        BenchError: one core only, or a server did not start or live.
        LoadError: the load generator could not be built.
    """
    rig = Rig(folder)
    bodies = tuple(row_body(row) for row in rows[:BODIES_MAX])
    block = rig.block(b"", connections=CONNECTIONS, seconds=profile.block_s, warmup_s=profile.warmup_s)
    pace = _Pace(msgspec.structs.replace(block, bodies=bodies), profile)
    with ExitStack() as running:

        def serve(name: str, file: Path) -> Contender:
            home = folder / name
            home.mkdir()
            say(f"starting a gateway with the {name}")
            command = (*SERVE, "--model", f"{name}={file}", "--port")
            server = running.enter_context(rig.server(*command, log=name, home=home))
            return Contender(name=f"the {name}", pid=server.pid, port=server.port)

        new = serve("candidate", candidate)
        if champion is None:
            yield _Alone(lambda plan: run(rig.generator, msgspec.structs.replace(plan, port=new.port)), pace)
        else:
            yield _Both(Duel(rig.generator, serve("champion", champion), new, say=say), pace)
