"""The direct lane: scoring requests on granian's own Python thread, with no event loop on the way.

granian hands each request to one Python thread, which otherwise does nothing but wake the event loop. Here it does the
work itself: where the loop's lane takes six changes of thread, this one takes four, and no task, future or callback
queue. The price is that it leans on private names of granian (`gateway/granian_hooks.py`), which are tried out at
start; if they are not as expected, every request goes through the event loop instead.
"""

from __future__ import annotations

import logging
import math
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gateway.errors import Overloaded
from gateway.express import takes
from gateway.granian_hooks import check, hook_loop, hook_requests
from gateway.reply import CLOSE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from prometheus_client import Counter

    from gateway.admission import Admission
    from gateway.express import ExpressRoute, ExpressTable, Headers
    from gateway.reply import Answer
    from gateway.tickets import Scores

    Found = tuple[ExpressRoute, tuple[str, ...]]

__all__ = ["DirectLane"]

_log = logging.getLogger("hotgate.direct")

_SMALL_BODY = 65_536
"""Bytes up to which a body is read chunk by chunk."""

_WAY_SHARE = 0.4
"""Of `queue_limit_ms`, for each of a request's two ways through granian's queue: as head and as body."""

_MANY = 16
"""Bodies on the way from which on the time of a marker's way is theirs, rather than that of any way."""


class DirectLane:
    """Takes plain scoring requests from granian's Python thread; the `Turns` of the batchers behind it.

    A batch is everything whose body has come by the time that granian has nothing more in hand. If no body is on its
    way, that is at once; else a marker is sent through granian behind the bodies that are: when it comes back, all
    that could be there is there. So nobody waits for a client that sends slowly.

    What cannot be answered in time is refused by its head, before its body is read and decoded. A model whose queue was
    full stays shut until half of that is done. And the marker's way, by the number of bodies that it stood behind, is
    what a body takes, at least in three markers in a row, so that one stall of the process is not taken for load:
    while so many are on the way that the next one would wait too long, no head is let in. Clients that send slowly make
    bodies cheap, and without a marker out, which always comes, nothing is refused.
    """

    def __init__(
        self, table: ExpressTable, admission: Admission, refused: Counter, *, max_body_bytes: int, queue_limit_ms: float
    ) -> None:
        self.admission = admission
        self._refused = refused
        self.loop_soon: Callable[..., Any]
        self._find = table.find
        self._max_body = max_body_bytes
        self._way_limit_s = _WAY_SHARE * queue_limit_ms / 1e3
        # Only granian's Python thread touches these: bodies that are on the way, and what runs when they are in.
        self.on_the_way = 0
        self.marked = False
        self.due: list[Callable[[], None]] = []
        self._marker = _Marker(self)
        self._bodies_s = (0.0, 0.0, 0.0)
        self._body_s = 0.0
        self.full_until: dict[Found, float] = {}
        self._python_thread = 0
        # `due` of a scoring thread while it answers.
        self._scoring = threading.local()

    # Turns

    def soon(self, flush: Callable[[], None]) -> None:
        """Flush on this thread if it comes to that by itself, else in a turn of the event loop."""
        due = self.due if threading.get_ident() == self._python_thread else getattr(self._scoring, "due", None)
        if due is None:
            self.loop_soon(flush)
        else:
            due.append(flush)

    def land(self, finish: Callable[[], None]) -> None:
        """Answer on the scoring thread, which then runs what came meanwhile."""
        due: list[Callable[[], None]] = []
        self._scoring.due = due
        finish()
        while due:
            due.pop()()
        self._scoring.due = None

    # granian

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take over the requests of the server that is about to start on this loop.

        Raises:
            HookError: this granian is not known, or does not do what is expected of it.
        """
        check()
        self.hook(loop)
        hook_requests(self.take)

    def hook(self, loop: Any) -> None:
        """Have the bodies that are asked for on this loop's behalf come here."""
        self.loop_soon = hook_loop(loop, frozenset({_Exchange, _Marker}))

    def take(self, watcher: Any) -> bool:
        """Begin a request if it is plain: its body is asked for, and comes to the exchange."""
        scope = watcher.scope
        found = self._find(scope.path) if scope.method == "POST" else None
        if found is None:
            return False
        headers = scope.headers
        length = takes(headers, found[0].media_types, self._max_body)
        if length is None:
            return False
        if not self._python_thread:
            self._python_thread = threading.get_ident()
        protocol = watcher.proto
        exchange = _Exchange(self, found, headers, protocol, length)
        if (self.marked and self.on_the_way * self._body_s > self._way_limit_s) or (
            self.full_until and self.is_full(found, exchange.arrived)
        ):
            self.refuse(exchange)
            return True
        # Asked for chunk by chunk, a body leaves its end to ask for: a marker. A large one comes in one piece.
        body = protocol.__aiter__().__anext__() if length <= _SMALL_BODY else protocol()
        self.on_the_way += 1
        body.add_done_callback(exchange)
        return True

    def shut(self, found: Found, seconds: float) -> None:
        """Refuse requests of one model on one route by their heads for so long."""
        if seconds:
            self.full_until[found] = perf_counter() + seconds

    def is_full(self, found: Found, now: float) -> bool:
        """Whether it is shut."""
        until = self.full_until.get(found, 0.0)
        if until <= now:
            self.full_until.pop(found, None)
        return until > now

    def refuse(self, exchange: _Exchange) -> None:
        """Answer a request whose body was not looked at."""
        self._refused.inc()
        exchange.fail(Overloaded("more requests are waiting than can be answered in time"))

    def form_batch(self, protocol: Any) -> None:
        """Rows wait: run them now if no other body is on its way, else behind those that are nearly here."""
        if not self.on_the_way:
            self.run_due()
            return
        try:
            marker = protocol.__anext__()
        except (StopAsyncIteration, RuntimeError):  # its body came in one piece, or is empty
            self.run_due()
        else:
            self.marked = True
            self._marker.behind = self.on_the_way
            self._marker.sent = perf_counter()
            marker.add_done_callback(self._marker)

    def run_due(self) -> None:
        """Make the flushes that wait, and those that they ask for."""
        while self.due:
            self.due.pop()()

    def marker_came(self) -> None:
        """Everything that granian had in hand when the marker was sent is here."""
        self.marked = False
        behind = self._marker.behind
        if behind >= _MANY:
            self._bodies_s = *self._bodies_s[1:], (perf_counter() - self._marker.sent) / behind
            self._body_s = min(self._bodies_s)
        self.run_due()


class _Exchange:
    """One request: called by granian as its body comes, and the batcher's `Member` for its rows."""

    __slots__ = (
        "_found",
        "_headers",
        "_lane",
        "_missing",
        "_parts",
        "_protocol",
        "arrived",
        "count",
        "deadline",
        "finish",
        "finished",
        "origin",
        "start",
    )

    def __init__(self, lane: DirectLane, found: Found, headers: Headers, protocol: Any, length: int) -> None:
        self._lane = lane
        self._found = found
        self._headers = headers
        self._protocol = protocol
        self._missing = length
        self._parts: list[bytes] | None = None
        self.finish: Callable[[Scores], Answer]
        self.origin = ""
        self.arrived = perf_counter()
        self.count = 1
        self.start = 0
        self.deadline = math.inf
        self.finished = False

    def __call__(self, future: Any) -> None:
        """Take a piece of the body; with the last one the rows are queued."""
        lane = self._lane
        lane.on_the_way -= 1
        try:
            body = future.result()
            self._missing -= len(body)
            if self._missing > 0:
                self._ask_for_more(body)
                return
            if self._parts is not None:
                body = b"".join([*self._parts, body])
        except Exception:  # noqa: BLE001 - the client broke off
            _log.debug("a body did not come whole", exc_info=True)
            self._protocol.response_empty(400, [])
        else:
            if lane.full_until and lane.is_full(self._found, perf_counter()):
                lane.refuse(self)
            else:
                self._begin(body)
        if lane.due and not lane.marked:
            lane.form_batch(self._protocol)

    def _begin(self, body: bytes) -> None:
        route, parameters = self._found
        try:
            route.begin(self, parameters, self._headers, body)
        except Overloaded as error:
            self._lane.shut(self._found, error.full_s)
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - the root of a request
            self.fail(error)

    def _ask_for_more(self, piece: bytes) -> None:
        """Keep a piece and ask for the next, which raises behind the end of a body that is too short."""
        if self._parts is None:
            self._parts = []
        self._parts.append(piece)
        body = self._protocol.__anext__()
        self._lane.on_the_way += 1
        body.add_done_callback(self)

    def answer(self, scores: Scores) -> None:
        """Answer the client, whatever happens."""
        if self.finished:
            return
        try:
            status, fields, payload = self.finish(scores)
        except Exception as error:  # noqa: BLE001 - the root of a request
            self.fail(error)
            return
        self.finished = True
        if self._lane.admission.draining:
            fields.append(CLOSE)
        self._protocol.response_bytes(status, fields, payload)

    def fail(self, error: BaseException) -> None:
        """Tell the client what went wrong."""
        if self.finished:
            return
        self.finished = True
        status, fields, payload = self._found[0].failed(error, self._headers)
        if self._lane.admission.draining:
            fields.append(CLOSE)
        self._protocol.response_bytes(status, fields, payload)


class _Marker:
    """What granian calls when everything that was in its hands before has come."""

    __slots__ = ("_lane", "behind", "sent")

    def __init__(self, lane: DirectLane) -> None:
        self._lane = lane
        self.behind = 0
        self.sent = 0.0

    def __call__(self, _future: Any) -> None:
        """Run what waits."""
        try:
            self._lane.marker_came()
        except Exception:  # noqa: BLE001 - granian would swallow it
            _log.exception("a batch could not be run")
