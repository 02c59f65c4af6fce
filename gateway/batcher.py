"""The micro-batcher: work-conserving and counted in rows.

Idle means run now: a row is scored in the event loop's next turn, together with whatever else arrived in this one, and
never waits for company. What arrives while a run is on a thread forms the next batch.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gateway.blocks import Block, Member, Ticket
from gateway.errors import Internal, Overloaded, TooLarge, Unanswerable
from gateway.rows import RowPacker

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    import numpy.typing as npt

    from gateway.blocks import Scores
    from gateway.engine import Engine
    from gateway.rows import Row

    # The members that were run together, and their probabilities or what the engine raised.
    Outcome = tuple[list[Member], npt.NDArray[np.float32] | Exception]

__all__ = ["BatchObserver", "Batcher"]

_log = logging.getLogger("hotgate.batcher")


class BatchObserver(Protocol):
    """Is told of every run, once a batch: counts it, and takes its rows to the monitor."""

    def ran(
        self, rows: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], *, took_s: float, waited_s: float
    ) -> None:
        """Rows [n, columns] are valid during the call only, scores [n, classes] may be kept."""

    def failed(self, rows: int) -> None:
        """`rows` rows have no answer."""


class Batcher:
    """Scores rows for one generation of a model.

    All state belongs to the event loop's thread; a thread of `executor` only sees the block that is in flight.
    """

    def __init__(
        self,
        engine: Engine,
        observer: BatchObserver,
        executor: Executor,
        *,
        max_rows: int,
        queue_limit_rows: int,
        inline_limit_us: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine = engine
        self._observer = observer
        self._executor = executor
        self._packer = RowPacker(engine.metadata.signature)
        self._width = len(engine.metadata.signature.columns)
        self._max_rows = max_rows
        self._queue_limit = queue_limit_rows
        self._inline_limit_us = inline_limit_us
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # A block is in `waiting` (the last one is being filled), in flight or free: in one of them at a time.
        self._waiting: deque[Block] = deque()
        self._free: list[Block] = []
        self._in_flight: Block | None = None
        self._queued_rows = 0
        self._flush_scheduled = False

    def __repr__(self) -> str:
        """For operators: what waits and what runs."""
        running = self._in_flight.used if self._in_flight else 0
        return f"Batcher(queued_rows={self._queued_rows}, running_rows={running})"

    @property
    def idle(self) -> bool:
        """Whether no row waits or runs."""
        return not self._queued_rows and self._in_flight is None

    def submit_one(self, row: Row, path: str) -> asyncio.Future[Scores]:
        """Queue one row; the future gives its probabilities as a list of one list.

        Raises:
            BadRequest: the row does not fit the model; `path` says where it stood in the body.
            Overloaded: too many rows wait already.
        """
        if self._queued_rows >= self._queue_limit:
            raise self._overloaded(1)
        block = self._block_with_room()
        self._packer.pack(block.bytes, block.used * self._packer.row_bytes, row, path)
        future: asyncio.Future[Scores] = self._loop.create_future()
        self._enter(block, Ticket(future, 1), part=0, count=1)
        return future

    def submit_many(self, rows: list[Row], path: str) -> asyncio.Future[Scores]:
        """Queue a request of many rows, split over as many runs as it takes.

        Raises:
            BadRequest: a row does not fit the model; nothing of the request is queued.
            Overloaded: too many rows wait already.
            TooLarge: the request alone has more rows than may ever wait.
        """
        count = len(rows)
        if count > self._queue_limit:
            raise TooLarge(f"{count} rows in one request, at most {self._queue_limit} are taken: send them in parts")
        if self._queued_rows + count > self._queue_limit:
            raise self._overloaded(count)
        packed = np.empty((count, self._width), dtype=np.float32)
        view = packed.reshape(-1).data.cast("B")
        for index, row in enumerate(rows):
            self._packer.pack(view, index * self._packer.row_bytes, row, f"{path}[{index}]")
        future: asyncio.Future[Scores] = self._loop.create_future()
        if count:
            self._spread(packed, future)
        else:
            future.set_result([])
        return future

    def _spread(self, packed: npt.NDArray[np.float32], future: asyncio.Future[Scores]) -> None:
        """Copy rows behind those that wait, over as many blocks as they need."""
        first = self._max_rows - self._block_with_room().used
        starts = [0, *range(first, len(packed), self._max_rows)]
        ticket = Ticket(future, len(starts))
        for part, start in enumerate(starts):
            block = self._block_with_room()
            share = packed[start : starts[part + 1] if part + 1 < len(starts) else None]
            block.rows[block.used : block.used + len(share)] = share
            self._enter(block, ticket, part, len(share))

    def _enter(self, block: Block, ticket: Ticket, part: int, count: int) -> None:
        if not block.used:
            block.first_at = self._clock()
        block.members.append(Member(ticket, part, block.used, count))
        block.used += count
        self._queued_rows += count
        self._schedule()

    def _schedule(self) -> None:
        if not self._flush_scheduled and self._in_flight is None:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _block_with_room(self) -> Block:
        if self._waiting and self._waiting[-1].used < self._max_rows:
            return self._waiting[-1]
        block = self._free.pop() if self._free else Block(self._max_rows, self._width)
        self._waiting.append(block)
        return block

    def _overloaded(self, rows: int) -> Overloaded:
        return Overloaded(f"{self._queued_rows} rows wait, at most {self._queue_limit} may: {rows} more were refused")

    def _flush(self) -> None:
        """Run one block: inline if that is short, else on the thread; the next one gets its own turn of the loop."""
        self._flush_scheduled = False
        if self._in_flight is not None or not self._waiting:
            return
        block = self._waiting.popleft()
        self._queued_rows -= block.used
        block.drop_cancelled()
        if not block.used:
            self._recycle(block)
        elif self._engine.cost.predict_us(block.used) <= self._inline_limit_us:
            waited = self._clock() - block.first_at
            self._finish(block, self._run(block), waited)
        else:
            self._launch(block)
        if self._queued_rows:
            self._schedule()

    def _launch(self, block: Block) -> None:
        waited = self._clock() - block.first_at
        try:
            run = self._loop.run_in_executor(self._executor, self._run, block)
        except RuntimeError as error:  # the executor is shut down: the process is stopping
            self._finish(block, ([(block.members, error)], 0.0), waited)
            return
        self._in_flight = block
        run.add_done_callback(lambda done: self._landed(block, done, waited))

    def _landed(self, block: Block, run: asyncio.Future[tuple[list[Outcome], float]], waited: float) -> None:
        self._in_flight = None
        try:
            done = run.result()
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - `_run` does not raise: the run itself was given up
            done = [(block.members, RuntimeError("the run was given up"))], 0.0
        self._finish(block, done, waited)
        if self._queued_rows:
            self._schedule()

    def _run(self, block: Block) -> tuple[list[Outcome], float]:
        """Score a block; the one part that may be on a thread."""
        start = self._clock()
        outcomes = self._score(block, block.members)
        return outcomes, self._clock() - start

    def _score(self, block: Block, members: list[Member]) -> list[Outcome]:
        """If a batch fails, only the culprit fails: halves are run again until it stands alone."""
        first, last = members[0], members[-1]
        try:
            return [(members, self._engine.run(block.rows[first.start : last.start + last.count]))]
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises is one request's 500, not the batch's
            if len(members) == 1:
                return [(members, error)]
            half = len(members) // 2
            return self._score(block, members[:half]) + self._score(block, members[half:])

    def _finish(self, block: Block, run: tuple[list[Outcome], float], waited: float) -> None:
        outcomes, took = run
        self._engine.cost.observe(block.used, took * 1e6)
        for members, scores in outcomes:
            start, end = members[0].start, members[-1].start + members[-1].count
            if isinstance(scores, Exception):
                _log.error("scoring %d rows failed", end - start, exc_info=scores)
                self._observer.failed(end - start)
                for member in members:
                    member.ticket.fail(Internal("scoring failed"))
            elif math.isfinite(scores.sum()):
                self._observer.ran(block.rows[start:end], scores, took_s=took, waited_s=waited)
                answers = scores.tolist()
                for member in members:
                    begin = member.start - start
                    member.ticket.answer(member.part, answers[begin : begin + member.count])
            else:
                self._answer_finite(block, members, scores, took, waited)
        self._recycle(block)

    def _answer_finite(
        self, block: Block, members: list[Member], scores: npt.NDArray[np.float32], took: float, waited: float
    ) -> None:
        """Some row's probabilities are not finite: only the requests that hold such a row are refused."""
        origin = members[0].start
        for member in members:
            begin = member.start - origin
            part = scores[begin : begin + member.count]
            if np.isfinite(part).all():
                rows = block.rows[member.start : member.start + member.count]
                self._observer.ran(rows, part, took_s=took, waited_s=waited)
                member.ticket.answer(member.part, part.tolist())
            else:
                self._observer.failed(member.count)
                member.ticket.fail(Unanswerable("the model has no finite probability for these values"))

    def _recycle(self, block: Block) -> None:
        block.clear()
        self._free.append(block)
