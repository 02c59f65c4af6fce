"""The micro-batcher: work-conserving and counted in rows.

Idle means run now: a row is scored as soon as everything that is coming in right now is in, and never waits for
company. What arrives while a run is in flight forms the next batch.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gateway.blocks import Block, empty_rows
from gateway.errors import Expired, Internal, Overloaded, TooLarge, Unanswerable
from gateway.rows import packer_of
from gateway.tickets import Part, Share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    import numpy.typing as npt

    from converters.modelfile import Signature
    from gateway.engine import Engine
    from gateway.errors import GatewayError
    from gateway.rows import Row, Texts
    from gateway.settings import GatewaySettings
    from gateway.tickets import Member, Request, Scores
    from gateway.turns import Turns

    # The members that were run together, and their answers or what the engine raised.
    Outcome = tuple[list[Member], npt.NDArray[np.float32] | Exception]

__all__ = ["BatchObserver", "Batcher"]

_log = logging.getLogger("hotgate.batcher")

_RUNS_A_LOOK = 16
"""Runs after which what they cost is looked at again to say how many rows may wait."""


class BatchObserver(Protocol):
    """Is told of every run, once a batch: counts it, and takes its rows to the monitor."""

    def ran(
        self,
        rows: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        members: Sequence[Member],
        *,
        texts: Texts | None,
        took_s: float,
        waited_s: float,
        closed_by: str,
    ) -> None:
        """Rows [n, columns], scores [n, width] and texts [n, text columns] are valid during the call only.

        Members are in the order of their rows.
        """

    def failed(self, rows: int) -> None:
        """`rows` rows have no answer."""

    def refused(self, reason: str) -> None:
        """A request was turned away: `rows`, `wait`, `deadline` or `expired`."""


class Batcher:
    """Scores rows for one generation of a model.

    `_lock` guards what waits, what is free and what is in flight; the block in flight belongs to the thread that runs
    it. One block is in flight at a time, from the moment it is taken until its callers are answered.
    """

    def __init__(
        self,
        engine: Engine,
        observer: BatchObserver,
        executor: Executor,
        turns: Turns,
        limits: GatewaySettings,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine = engine
        self._observer = observer
        self._executor = executor
        self._turns = turns
        packer = packer_of(engine.metadata, limits.max_text_chars)
        self._pack, self._check = packer.pack, packer.check
        self._signature = engine.metadata.signature
        self._max_rows = limits.max_batch_rows
        self._queue_limit = limits.queue_limit_rows
        self._queue_limit_us = 1e3 * limits.queue_limit_ms
        self._inline_limit_us = limits.inline_limit_us
        self._clock = clock
        self._lock = threading.Lock()
        # A block waits, is in flight or free: one of them at a time. The last one that waits may be filling.
        self._waiting: deque[Block] = deque()
        self._filling: Block | None = None
        self._free: list[Block] = []
        self._in_flight: Block | None = None
        self._queued_rows = 0
        self._flush_scheduled = False
        self._runs = 0
        self._admitted_rows = self._rows_in_time()

    def __repr__(self) -> str:
        """For operators: what waits and what runs."""
        block = self._in_flight
        return f"Batcher(queued_rows={self._queued_rows}, running_rows={block.used if block else 0})"

    @property
    def idle(self) -> bool:
        """Whether no row waits or runs."""
        return not self._queued_rows and self._in_flight is None

    def submit_one(self, row: Row, path: str, member: Request) -> None:
        """Queue one row; its member is given the answer as a list of one list.

        Args:
            row: values in the model's order, or by name.
            path: where the row stands in the body, for the error.
            member: whose it is; without a deadline it may wait as long as `queue_limit_ms` lets it.

        Raises:
            BadRequest: the row does not fit the model.
            Overloaded: too many rows wait already, or it cannot be scored in time.
            Expired: the deadline is over.
        """
        with self._lock:
            if self._queued_rows >= self._admitted_rows or member.deadline != math.inf:
                self._admit(1, member.deadline)
            block = self._filling or self._open()
            self._pack(block, block.used, row, path)
            self._enter(block, member)
        if self._filling is None:
            self._run_full()

    def submit_many(self, rows: list[Row], path: str, member: Request) -> None:
        """Queue a request of many rows, split over as many runs as it takes.

        Raises:
            BadRequest: a row does not fit the model; nothing of the request is queued.
            Overloaded: too many rows wait already, or they cannot be scored in time.
            TooLarge: the request alone has more rows than may ever wait.
            Expired: the deadline is over.
        """
        self._admit_many(len(rows), member)
        packed = _Packed(self._signature, len(rows))
        for index, row in enumerate(rows):
            self._pack(packed, index, row, f"{path}[{index}]")
        self._submit(packed, member)

    def submit_array(self, rows: npt.NDArray[Any], texts: Texts | None, member: Request) -> None:
        """Queue rows that came as a matrix; they are copied into blocks, and not looked at again.

        Args:
            rows: [n, columns] of the signature's dtype; NaN is a missing value. With texts among them it is written to:
                their columns are filled in.
            texts: [n, text columns], or None if no column is text.
            member: as for `submit_many`.

        Raises:
            BadRequest: a value does not fit its column; names row and column.
            GatewayError: as `submit_many`.
        """
        self._admit_many(len(rows), member)
        self._check(rows, texts)
        self._submit(_Packed(self._signature, len(rows), rows, texts), member)

    def _admit_many(self, count: int, member: Request) -> None:
        if count > self._queue_limit:
            raise TooLarge(f"{count} rows in one request, at most {self._queue_limit} are taken: send them in parts")
        with self._lock:
            self._admit(count, member.deadline)

    def _submit(self, packed: _Packed, member: Request) -> None:
        member.count = len(packed.rows)
        if not member.count:
            member.answer([])
            return
        with self._lock:
            self._spread(packed, member)
        self._run_full()

    def _run_full(self) -> None:
        """Run what is full now: more that comes in this turn can only wait behind it, and be refused for it."""
        while self._in_flight is None and self._waiting and self._waiting[0].used == self._max_rows:
            self.flush()

    def _spread(self, packed: _Packed, member: Request) -> None:
        """Copy rows behind those that wait, over as many blocks as they need."""
        count = len(packed.rows)
        first = self._max_rows - (self._filling or self._open()).used
        starts = [0, *range(first, count, self._max_rows), count]
        gathered: list[Scores | None] = [None] * (len(starts) - 1)
        for number, (start, end) in enumerate(itertools.pairwise(starts)):
            block = self._filling or self._open()
            packed.copy(block, start, end)
            self._enter(block, Part(member, number, Share(member.origin, start, end - start), gathered))

    def _enter(self, block: Block, member: Member) -> None:
        if not block.used:
            block.first_at = self._clock()
            if self._in_flight is not None:
                block.closed_by = "landing"
        member.start = block.used
        block.used += member.count
        block.members.append(member)
        if member.deadline < block.deadline:  # noqa: PLR1730 - once a request, and `min` takes four times as long
            block.deadline = member.deadline
        self._queued_rows += member.count
        if block.used == self._max_rows:
            block.closed_by = "full"
            self._filling = None
        if not self._flush_scheduled:
            self._schedule()

    def _schedule(self) -> None:
        if not self._flush_scheduled and self._in_flight is None:
            self._flush_scheduled = True
            self._turns.soon(self.flush)

    def _open(self) -> Block:
        """A block with room, behind those that wait."""
        self._filling = block = self._free.pop() if self._free else Block(self._engine, self._max_rows)
        self._waiting.append(block)
        return block

    # admission

    def _admit(self, rows: int, deadline: float) -> None:
        """Refuse before anything is spent on it what could not be answered, or not in time."""
        queued = self._queued_rows
        if queued + rows > self._queue_limit:
            raise self._full("rows", f"{queued} rows wait, at most {self._queue_limit} may: {rows} more were refused")
        if queued and queued + rows > self._admitted_rows:
            raise self._full(
                "wait",
                f"{queued} rows wait, about {self._wait_us(queued) / 1e3:.3g} ms of work: {rows} more were refused",
            )
        if deadline == math.inf:
            return
        left_us = 1e6 * (deadline - self._clock())
        if left_us <= 0:
            self._observer.refused("expired")
            raise Expired("the deadline is over")
        needed_us = self._wait_us(queued + rows)
        if needed_us > left_us:
            self._observer.refused("deadline")
            raise Overloaded(
                f"scoring takes about {needed_us / 1e3:.3g} ms, the deadline leaves {left_us / 1e3:.3g} ms"
            )

    def _full(self, reason: str, text: str) -> Overloaded:
        """Too much waits, until no more than half of what may wait is left; a large request may fail before that."""
        self._observer.refused(reason)
        excess = self._queued_rows - self._admitted_rows // 2
        return Overloaded(text, full_s=self._wait_us(excess) / 1e6 if excess > 0 else 0.0)

    def _wait_us(self, rows: int) -> float:
        """Predicted time until that many rows, behind the block in flight, are scored."""
        running = self._in_flight.used if self._in_flight is not None else 0
        predict = self._engine.cost.predict_us
        full, rest = divmod(rows, self._max_rows)
        return (
            full * predict(self._max_rows) + (predict(rest) if rest else 0.0) + (predict(running) if running else 0.0)
        )

    def _rows_in_time(self) -> int:
        """How many rows `queue_limit_ms` is enough for, by what runs have cost so far."""
        full_us = self._engine.cost.predict_us(self._max_rows)
        rows = self._queue_limit_us / full_us * self._max_rows if full_us else math.inf
        return int(min(max(rows, 1), self._queue_limit))

    # runs

    def flush(self) -> None:
        """Run one block: here if that is short, else on the executor; the next one gets a turn of its own."""
        with self._lock:
            self._flush_scheduled = False
            if self._in_flight is not None or not self._waiting:
                return
            block = self._in_flight = self._waiting.popleft()
            if block is self._filling:
                self._filling = None
            self._queued_rows -= block.used
        now = self._clock()
        if block.deadline <= now:
            self._expire(block, now)
        block.drop_finished()
        waited = now - block.first_at
        if not block.used:
            self._release(block)
        elif self._engine.cost.predict_us(block.used) <= self._inline_limit_us:
            self._complete(block, *self._run(block), waited)
        else:
            self._launch(block, waited)

    def _expire(self, block: Block, now: float) -> None:
        for member in block.members:
            if member.deadline <= now and not member.finished:
                self._observer.refused("expired")
                member.fail(Expired("the deadline passed while the request waited"))

    def _launch(self, block: Block, waited: float) -> None:
        def run() -> None:
            outcomes, took = self._run(block)
            self._turns.land(lambda: self._complete(block, outcomes, took, waited))

        try:
            self._executor.submit(run)
        except RuntimeError as error:  # the executor is shut down: the process is stopping
            self._complete(block, [(block.members, error)], 0.0, waited)

    def _run(self, block: Block) -> tuple[list[Outcome], float]:
        """Score a block; what may be on a thread of the executor."""
        start = self._clock()
        outcomes: list[Outcome]
        try:
            outcomes = [(block.members, block.run(block.used))]
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises is one request's 500, not the batch's
            outcomes = self._isolate(block, block.members, error)
        return outcomes, self._clock() - start

    def _isolate(self, block: Block, members: list[Member], error: Exception) -> list[Outcome]:
        """If a batch fails, only the culprit fails: halves are run again until it stands alone."""
        if len(members) == 1:
            return [(members, error)]
        middle = len(members) // 2
        return [outcome for half in (members[:middle], members[middle:]) for outcome in self._score(block, half)]

    def _score(self, block: Block, members: list[Member]) -> list[Outcome]:
        first, last = members[0], members[-1]
        try:
            texts = block.texts[first.start : last.start + last.count] if block.texts is not None else None
            return [(members, self._engine.run(block.rows[first.start : last.start + last.count], texts))]
        except Exception as error:  # noqa: BLE001 - as above
            return self._isolate(block, members, error)

    def _complete(self, block: Block, outcomes: list[Outcome], took: float, waited: float) -> None:
        """Answer everybody and let the next block run, whatever happens."""
        try:
            self._engine.cost.observe(block.used, took * 1e6)
            for members, scores in outcomes:
                self._answer(block, members, scores, took, waited)
        except Exception:  # noqa: BLE001 - a defect, which must not leave callers waiting or the batcher stuck
            _log.exception("answering %d rows failed", block.used)
            for member in block.members:
                member.fail(Internal("scoring failed"))
        finally:
            self._release(block)

    def _answer(
        self,
        block: Block,
        members: list[Member],
        scores: npt.NDArray[np.float32] | Exception,
        took: float,
        waited: float,
    ) -> None:
        start, end = members[0].start, members[-1].start + members[-1].count
        if isinstance(scores, Exception):
            self._observer.failed(end - start)
            error: GatewayError
            if block.texts is None:
                _log.error("scoring %d rows failed", end - start, exc_info=scores)
                error = Internal("scoring failed")
            else:  # an encoder may refuse a text that it was not fitted on, as scikit-learn's does
                _log.warning("%d rows have no answer: %s", end - start, scores)
                error = Unanswerable("the model has no answer for these values: a text that it does not know")
            for member in members:
                member.fail(error)
        elif _finite(scores):
            texts = None if block.texts is None else block.texts[start:end]
            self._observer.ran(
                block.rows[start:end], scores, members,
                texts=texts, took_s=took, waited_s=waited, closed_by=block.closed_by,
            )  # fmt: skip
            answers = scores.tolist()
            if len(members) == len(answers):
                for member, answer in zip(members, answers, strict=True):
                    member.answer([answer])
                return
            for member in members:
                begin = member.start - start
                member.answer(answers[begin : begin + member.count])
        elif len(members) == 1:
            self._observer.failed(end - start)
            members[0].fail(Unanswerable("the model has no finite probability for these values"))
        else:  # only the requests that hold such a row are refused
            for member in members:
                begin = member.start - start
                self._answer(block, [member], scores[begin : begin + member.count], took, waited)

    def _release(self, block: Block) -> None:
        with self._lock:
            self._in_flight = None
            block.clear()
            self._free.append(block)
            self._runs += 1
            if not self._runs % _RUNS_A_LOOK:
                self._admitted_rows = self._rows_in_time()
            if self._queued_rows:
                self._schedule()


class _Packed:
    """The rows of one request on their way into blocks."""

    def __init__(
        self, signature: Signature, count: int, rows: npt.NDArray[Any] | None = None, texts: Texts | None = None
    ) -> None:
        if rows is None:
            rows, texts = empty_rows(signature, count)
            self.bytes = rows.reshape(-1).data.cast("B")
        self.rows, self.texts = rows, texts

    def copy(self, block: Block, start: int, end: int) -> None:
        """Copy some of them behind those of a block."""
        into = slice(block.used, block.used + end - start)
        block.rows[into] = self.rows[start:end]
        if block.texts is not None and self.texts is not None:
            block.texts[into] = self.texts[start:end]


def _finite(scores: npt.NDArray[np.float32]) -> bool:
    """Whether every score is a number: their sum is none if one of them is none, or if they are very large."""
    total = scores.item(0) + scores.item(1) if scores.size == 2 else np.add.reduce(scores, axis=None)
    return math.isfinite(total) or bool(np.isfinite(scores).all())
