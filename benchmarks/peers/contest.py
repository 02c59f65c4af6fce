"""All servers in one run: installed, started, checked, and loaded in turns while the others stand still."""

from __future__ import annotations

import pickle  # for the peers' processes; hotgate itself reads none
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from benchmarks.errors import BenchError
from benchmarks.fixed import FixedAnswer
from benchmarks.load import LoadPlan
from benchmarks.machine import this_machine, versions
from benchmarks.pause import paused
from benchmarks.peers.entrant import Entrant
from benchmarks.peers.environment import find_uv, installed, lock_of, prepare
from benchmarks.peers.figures import Cell, Load, PeerFigures, PeersFigures
from benchmarks.peers.peer import PEERS, Peer
from benchmarks.peers.wire import HOTGATE
from benchmarks.rig import FIXED, SERVE, Rig
from benchmarks.servers import ask
from benchmarks.serving import side
from benchmarks.subject import NAME, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Contest", "ContestPlan", "block_seconds", "compare", "figures_of", "rounds_in", "turns"]

OPEN_CONNECTIONS = 256
"""Of the open loop: enough that no request waits for one while the server keeps up."""
BLOCK_MIN_S = 0.3
"""A shorter block says nothing."""
BLOCK_GOOD_S = 1.0
"""Rather fewer rounds than shorter blocks."""
OVERHEAD_S = 0.3
"""Of a block besides warm-up and measured time: stopping the others, starting and ending the generator."""


class ContestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and for how long."""

    model: str = "linear"
    peers: tuple[str, ...] = tuple(PEERS)
    """Besides hotgate and the fixed answer, which always take part."""
    connections: tuple[int, ...] = (1, 32, 256)
    rate_per_s: float | None = None
    """Of an open loop besides."""
    minutes: float = 12.0
    """Bound on starting, checking and loading; installing comes on top."""
    rounds: int = 3
    """At most; fewer if the time is short."""
    block_max_s: float = 5.0
    warmup_s: float = 0.5
    seed: int = 42

    @property
    def loads(self) -> tuple[Load, ...]:
        """The columns of the comparison."""
        closed = tuple(Load(connections=number) for number in self.connections)
        if self.rate_per_s is None:
            return closed
        return (*closed, Load(connections=OPEN_CONNECTIONS, rate_per_s=self.rate_per_s))


class Turn(NamedTuple):
    """One block to come."""

    round: int
    load: Load
    entrant: Entrant


def turns(rounds: int, loads: Sequence[Load], entrants: Sequence[Entrant]) -> list[Turn]:
    """Each server once per load and round, the order reversed every other round: a drift in time favours nobody."""
    return [
        Turn(number, load, entrant)
        for number in range(rounds)
        for load in loads
        for entrant in (entrants if number % 2 == 0 else entrants[::-1])
    ]


def rounds_in(left_s: float, blocks: int, plan: ContestPlan) -> int:
    """How many rounds of so many blocks there is time for; at least one."""
    return max(1, min(plan.rounds, int(left_s / blocks / (BLOCK_GOOD_S + plan.warmup_s + OVERHEAD_S))))


def block_seconds(left_s: float, blocks: int, plan: ContestPlan) -> float:
    """The measured time of the next block: an equal share of what is left, whatever those before it took."""
    return min(plan.block_max_s, left_s / blocks - plan.warmup_s - OVERHEAD_S)


def compare(folder: Path, plan: ContestPlan, *, command: str, say: Callable[[str], None]) -> PeersFigures:
    """Measure all servers of the plan.

    Args:
        folder: for model files, environments, the generator and logs; kept.
        plan: what and how much.
        command: stands in the report, for whoever measures again.
        say: told what is being done.

    Raises:
        BenchError: hotgate or the fixed answer failed, or the time is too short; another server that fails is out, and
            its figures say why.
        LoadError: the load generator could not be built.
    """
    contest = Contest(folder, plan, say)
    with ExitStack() as servers:
        contest.start(servers)
        seconds = contest.take_turns()
    return PeersFigures(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        machine=this_machine(),
        versions=versions(),
        model=plan.model,
        server_core=contest.rig.server_core,
        generator_core=contest.rig.generator_core,
        block_s=(min(seconds), max(seconds)),
        peers=tuple(figures_of(entrant, contest.entrants, plan.loads) for entrant in contest.entrants),
    )


class Contest:
    """One comparison: hotgate, the fixed answer, and the peers of the plan, in this order."""

    def __init__(
        self,
        folder: Path,
        plan: ContestPlan,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rig, self._plan, self._say, self._clock = Rig(folder), plan, say, clock
        self._place, self._rounds = folder / "peers", plan.rounds
        say("training the model")
        self._subject = train_subject(self._place, plan.model)
        self.entrants = [self._hotgate(), self._fixed(), *(self._peer(PEERS[name]) for name in plan.peers)]
        self._deadline = clock() + 60 * plan.minutes

    def start(self, servers: ExitStack) -> None:
        """Start them all; whoever does not answer as scikit-learn does is out."""
        for entrant in self.entrants:
            self._say(f"starting {entrant.name}, checking its answers")
            entrant.start(servers, self._place / "run", self.rig.server_core, self._subject)

    def take_turns(self) -> list[float]:
        """Load them in turns until all is done or the time is up, and end them; returns the blocks' lengths.

        Raises:
            BenchError: the time was not enough for a block of each.
        """
        standing = [entrant for entrant in self.entrants if entrant.failure is None]
        loads = self._plan.loads
        self._rounds = rounds_in(self._deadline - self._clock(), len(standing) * len(loads), self._plan)
        coming, seconds = turns(self._rounds, loads, standing), []
        for at, turn in enumerate(coming):
            blocks = sum(later.entrant.failure is None for later in coming[at:])
            length = block_seconds(self._deadline - self._clock(), blocks, self._plan) if blocks else 0.0
            if length < BLOCK_MIN_S:
                break
            if turn.entrant.failure is None:
                seconds.append(length)
                self._take(turn, length)
        for entrant in self.entrants:
            entrant.stop()
            if entrant.failure is None and {load for load, _ in entrant.blocks} != set(loads):
                raise BenchError(f"{self._plan.minutes:g} minutes are not enough for {len(self.entrants)} servers")
        return seconds

    def _take(self, turn: Turn, seconds: float) -> None:
        name, wire, load = turn.entrant.name, turn.entrant.wire, turn.load
        self._say(f"round {turn.round + 1} of {self._rounds}, {load}: {name}")
        assert turn.entrant.server is not None  # noqa: S101 - it has not failed
        block = LoadPlan(
            port=turn.entrant.server.port,
            path=wire.path,
            body=wire.body(self._subject.rows[0].tolist()),
            connections=load.connections,
            seconds=seconds,
            warmup_s=self._plan.warmup_s,
            rate_per_s=load.rate_per_s,
            seed=self._plan.seed + turn.round,
            core=self.rig.generator_core,
            missed_max=1.0,  # the generator's lateness is not the peer's fault
        )
        others = [one.server.pid for one in self.entrants if one.server is not None and one is not turn.entrant]
        with paused(others):
            turn.entrant.measure(self.rig.generator, block, load, turn.round)

    def _hotgate(self) -> Entrant:
        model = f"{NAME}={self._subject.file}"
        return Entrant(
            "hotgate",
            "hotgate, one worker",
            wire=HOTGATE,
            command=lambda port: (*SERVE, "--model", model, "--port", str(port)),
            needed=True,
        )

    def _fixed(self) -> Entrant:
        answer = self._place / "answer.json"

        def command(port: int) -> tuple[str, ...]:
            hotgate = self.entrants[0].server
            assert hotgate is not None  # noqa: S101 - it is needed, and started before
            reply = ask(hotgate.port, "POST", HOTGATE.path, HOTGATE.body(self._subject.rows[0].tolist()))
            answer.write_bytes(msgspec.json.encode(FixedAnswer.like(reply)))
            return (*FIXED, str(answer), str(port))

        label = "granian, RSGI, hotgate's answer to everyone"
        return Entrant("fixed", label, wire=HOTGATE, command=command, computes=False, needed=True)

    def _peer(self, peer: Peer) -> Entrant:
        """A peer in its environment; that it cannot be installed is its failure."""
        folder = self._place / peer.environment
        python, pickled = folder / "bin" / "python", self._place / f"{self._subject.kind}.pickle"
        pickled.write_bytes(pickle.dumps(self._subject.estimator))
        model = self._subject.file if peer.model == "onnx" else pickled
        entrant = Entrant(peer.name, peer.label, wire=peer.wire, command=lambda port: peer.command(python, port, model))
        try:
            prepare(folder, lock_of(peer.environment), uv=find_uv(), say=self._say)
            entrant.versions = installed(python, peer.packages)
        except (BenchError, OSError) as error:
            entrant.fail(error)
        return entrant


def figures_of(entrant: Entrant, entrants: Sequence[Entrant], loads: Sequence[Load]) -> PeerFigures:
    """What was found out about one of the servers; nothing about one that failed, whatever it did before."""
    hotgate, fixed = entrants[:2]
    return PeerFigures(
        name=entrant.name,
        label=entrant.label,
        versions=entrant.versions,
        error_max=entrant.error_max,
        failure=entrant.failure,
        cells=() if entrant.failure else tuple(_cell(entrant, hotgate, fixed, load) for load in loads),
    )


def _cell(entrant: Entrant, hotgate: Entrant, fixed: Entrant, load: Load) -> Cell:
    results = [result for (of, _), result in entrant.blocks.items() if of == load]
    return Cell(
        load=load,
        side=side(results),
        errors=sum(result.failed for result in results),
        faults="; ".join(filter(None, (result.faults() for result in results))),
        to_fixed=_ratios(entrant, fixed, load),
        to_hotgate=_ratios(entrant, hotgate, load),
    )


def _ratios(one: Entrant, other: Entrant, load: Load) -> tuple[float, ...]:
    """Throughput by the other's, for each round that has both."""
    return tuple(
        result.throughput_per_s / other.blocks[key].throughput_per_s
        for key, result in one.blocks.items()
        if key[0] == load and key in other.blocks
    )
