"""A request's rows in the batcher, and the answer to come."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context

    from gateway.reply import Answer

    Scores = list[list[float]]
    # Of a request of one row its id alone, so that noting it costs nothing.
    Origin: TypeAlias = "str | Share"

__all__ = ["Member", "Part", "Request", "Share", "Ticket"]


class Share(NamedTuple):
    """Which rows of a request a member is."""

    request_id: str
    first: int
    rows: int


class Member(Protocol):
    """The rows of one request, or a part of them, as the batcher sees them: what to score, and whom to tell.

    `answer` and `fail` come on whatever thread has scored; of several only the first one counts.
    """

    count: int
    """Rows."""
    start: int
    """Where they begin in their block; the batcher's."""

    @property
    def origin(self) -> Origin:
        """Whose rows they are; of a request of one row its id."""

    @property
    def deadline(self) -> float:
        """Until when an answer is wanted, by the batcher's clock."""

    @property
    def finished(self) -> bool:
        """Whether nobody waits any more."""

    def answer(self, scores: Scores) -> None:
        """Give the probabilities [rows][classes]."""

    def fail(self, error: BaseException) -> None:
        """Say why there are none."""


class Request(Member, Protocol):
    """A member that is all rows of a request."""

    origin: str
    """The request's id."""


class Ticket:
    """A member that an asyncio task awaits; it has a future's methods, and is the one thing awaited for a request.

    Setting `finished` comes before the waiter is taken, registering the waiter before `finished` is read, and taking is
    `list.pop`, which is atomic: so a waiter is told once, by one of the two threads.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_error",
        "_scores",
        "_waiters",
        "arrived",
        "count",
        "deadline",
        "finish",
        "finished",
        "origin",
        "start",
    )

    _cancel_message = None  # asyncio.gather reads it

    def __init__(self, arrived: float) -> None:
        """Begin unanswered; `arrived` is when the request's head came, by the batcher's clock."""
        self.arrived = arrived
        self.count = 1
        self.deadline = math.inf
        self.finish: Callable[[Scores], Answer]
        self.origin = ""
        self.start = 0
        self.finished = False
        self._asyncio_future_blocking = False
        self._error: BaseException | None = None
        self._scores: Scores = []
        self._waiters: list[tuple[Callable[[Ticket], Any], asyncio.AbstractEventLoop, Context | None]] = []

    # for whoever scores

    def answer(self, scores: Scores) -> None:
        """Give the probabilities of all rows; a caller who has left is no error."""
        if not self.finished:
            self._scores = scores
            self._finish()

    def fail(self, error: BaseException) -> None:
        """Tell the caller, if there still is one."""
        if not self.finished:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self.finished = True
        if self._waiters:
            self._tell()

    def _tell(self) -> None:
        while self._waiters:
            try:
                notify, loop, context = self._waiters.pop()
            except IndexError:  # the other thread was here first
                return
            if asyncio._get_running_loop() is loop:  # noqa: SLF001 - public, for those who write event loop code
                loop.call_soon(notify, self, context=context)
            else:
                loop.call_soon_threadsafe(notify, self, context=context)

    # for whoever waits

    def __await__(self) -> Generator[Ticket, None, Scores]:
        """Wait for the probabilities [rows][classes]."""
        if not self.finished:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def add_done_callback(self, notify: Callable[[Ticket], Any], *, context: Context | None = None) -> None:
        """Have `notify` called with the ticket in a turn of the running event loop, as asyncio's futures do."""
        self._waiters.append((notify, asyncio.get_running_loop(), context))
        if self.finished:
            self._tell()

    def remove_done_callback(self, notify: Callable[[Ticket], Any]) -> int:
        """Forget a waiter; returns how many there were."""
        before = len(self._waiters)
        self._waiters[:] = [waiter for waiter in self._waiters if waiter[0] != notify]
        return before - len(self._waiters)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task that asks: a ticket belongs to none."""
        return asyncio.get_running_loop()

    def cancel(self, msg: Any = None) -> bool:
        """Leave: the batcher drops the rows if they do not run yet."""
        del msg
        if self.finished:
            return False
        self.fail(asyncio.CancelledError())
        return True

    def done(self) -> bool:
        """Whether it is answered, failed or cancelled."""
        return self.finished

    def cancelled(self) -> bool:
        """Whether the caller has left."""
        return isinstance(self._error, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        """What went wrong.

        Raises:
            CancelledError: the caller has left.
        """
        if self.cancelled():
            raise asyncio.CancelledError
        return self._error

    def result(self) -> Scores:
        """The probabilities [rows][classes].

        Raises:
            GatewayError: there are none, and why.
            CancelledError: the caller has left.
        """
        if self._error is not None:
            raise self._error
        return self._scores


class Part:
    """A share of a request that is split over several runs; the last one that is answered answers the request."""

    __slots__ = ("_gathered", "_number", "_whole", "count", "origin", "start")

    def __init__(self, whole: Member, number: int, share: Share, gathered: list[Scores | None]) -> None:
        """Take a share.

        Args:
            whole: the request.
            number: which share this is.
            share: which rows.
            gathered: one place a share, all of them filled in by the parts.
        """
        self._whole = whole
        self._number = number
        self._gathered = gathered
        self.count = share.rows
        self.origin = share
        self.start = 0

    @property
    def finished(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._whole.finished

    @property
    def deadline(self) -> float:
        """The whole request's."""
        return self._whole.deadline

    def answer(self, scores: Scores) -> None:
        """Give this part's probabilities."""
        self._gathered[self._number] = scores
        if None not in self._gathered:
            self._whole.answer([row for part in self._gathered if part for row in part])

    def fail(self, error: BaseException) -> None:
        """One part that fails fails the request."""
        self._whole.fail(error)
