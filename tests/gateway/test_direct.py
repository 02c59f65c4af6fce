"""The direct lane: batches of what is there, nobody waits for a slow client, and everybody is answered."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import granian
import pytest
from fakes import FakeEngine, Remembering
from prometheus_client import CollectorRegistry, Counter

from gateway import granian_hooks
from gateway.admission import Admission
from gateway.application import Gateway
from gateway.batcher import Batcher
from gateway.direct import _SMALL_BODY, DirectLane
from gateway.errors import Internal, NotFound
from gateway.granian_hooks import HookError
from gateway.settings import GatewaySettings, WorkerConfig
from gateway.turns import LoopTurns


class Granian:
    """granian as the lane sees it: what it is asked for comes when the test lets it, in order."""

    def __init__(self):
        self.pending = []
        self.woken = []
        self.call_soon_threadsafe = lambda callback, *args, **_: self.woken.append((callback, args))

    def deliver(self, count=1):
        """Let the next things that were asked for come."""
        for _ in range(count):
            future = self.pending.pop(0)
            self.call_soon_threadsafe(future.callback, future, context=None)

    def hold_back(self, request):
        """Take out of the queue what a request waits for, and return it."""
        future = next(future for future in self.pending if future.request is request)
        self.pending.remove(future)
        return future


class Future:
    """What granian gives for a piece of a body, or its end."""

    def __init__(self, request, piece):
        self.request, self.piece = request, piece

    def add_done_callback(self, callback):
        self.callback = callback
        self.request.server.pending.append(self)

    def result(self):
        if isinstance(self.piece, Exception):
            raise self.piece
        return self.piece


class Request:
    """A watcher with its scope and protocol in one."""

    def __init__(self, server, *pieces, path="/score", length=None, method="POST", headers=None):
        self.server = server
        self.pieces = [*pieces, b""]
        self.path, self.method = path, method
        size = sum(len(piece) for piece in pieces if isinstance(piece, bytes)) if length is None else length
        self.headers = {"content-type": "application/json", "content-length": str(size), **(headers or {})}
        self.scope = self.proto = self
        self.answers = []
        self.thread = None

    def __aiter__(self):
        return self

    def __anext__(self):
        if not self.pieces:
            raise StopAsyncIteration
        return Future(self, self.pieces.pop(0))

    def __call__(self):
        whole, self.pieces = b"".join(self.pieces), []
        return Future(self, whole)

    def response_bytes(self, status, fields, payload):
        self.thread = threading.get_ident()
        self.answers.append((status, dict(fields), payload))

    def response_empty(self, status, fields):
        self.answers.append((status, dict(fields), b""))

    @property
    def answer(self):
        (one,) = self.answers
        return one


class Route:
    """Stands for a compiled route: the body is a row."""

    media_types = frozenset({"application/json"})

    def __init__(self, batcher):
        self._batcher = batcher

    def begin(self, member, parameter, headers, body):
        if body == b"missing":
            raise NotFound("no such thing")
        member.finish = lambda scores: (200, [("x-id", headers.get("x-id"))], json.dumps(scores).encode())
        rows = json.loads(body)
        if rows and isinstance(rows[0], list):
            self._batcher.submit_many(rows, "$", member)
        else:
            self._batcher.submit_one(rows, "$", member)

    def failed(self, error, headers):
        return error.status, [], str(error).encode()


class Bench:
    """A lane over a fake granian and a fake model."""

    def __init__(self, pool, *, inline=True, max_rows=8, queue_limit_ms=1e9, run_us=1.0):
        self.server = Granian()
        self.engine = FakeEngine(max_rows=max_rows, run_us=run_us)
        self.observer = Remembering()
        self.admission = Admission(Counter("errors", "Errors.", ("status",), registry=CollectorRegistry()))
        table = SimpleNamespace(find=lambda path: (self.route, path) if path in {"/score", "/twin"} else None)
        self.refused = Counter("heads", "Heads.", registry=CollectorRegistry())
        self.lane = DirectLane(
            table, self.admission, self.refused, max_body_bytes=1 << 20, queue_limit_ms=queue_limit_ms
        )
        limits = GatewaySettings(
            max_batch_rows=max_rows, queue_limit_rows=64, queue_limit_ms=1e9, inline_limit_us=1e9 if inline else 0.0
        )
        self.batcher = Batcher(self.engine, self.observer, pool, self.lane, limits)
        self.route = Route(self.batcher)
        self.lane.hook(self.server)

    def ask(self, *pieces, **options):
        """Let a request's head come."""
        request = Request(self.server, *(pieces or (b"[0.25, 0]",)), **options)
        request.taken = self.lane.take(request)
        return request


@pytest.fixture
def pool():
    """One scoring thread."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def bench(pool):
    """Runs are short enough for the server's thread."""
    return Bench(pool)


def test_a_lone_request_is_scored_with_its_body(bench):
    """Nothing else is on its way, so nothing is waited for."""
    request = bench.ask(headers={"x-id": "a"})
    assert request.taken
    assert request.answers == []
    bench.server.deliver()
    assert request.answer == (200, {"x-id": "a"}, b"[[0.75, 0.25]]")
    assert bench.server.pending == []
    assert bench.batcher.idle


def test_bodies_that_are_coming_are_scored_together(bench):
    """The run is made when the last of them is here; the marker that was sent behind them then finds nothing to do."""
    requests = [bench.ask(b"[%f, 0]" % (index / 8)) for index in range(5)]
    bench.server.deliver(5)
    assert bench.engine.batches == []
    bench.server.deliver()
    assert bench.engine.batches == [[0.0, 0.125, 0.25, 0.375, 0.5]]
    assert [json.loads(request.answer[2])[0][1] for request in requests] == [0.0, 0.125, 0.25, 0.375, 0.5]
    assert bench.server.pending == []


def test_nobody_waits_for_a_client_that_sends_slowly(bench):
    """The marker comes back before the slow body does, and what is there is scored."""
    slow = bench.ask(b"[0.5, 0]")
    held = bench.server.hold_back(slow)
    for value in (0.25, 0.75):
        quick = bench.ask(b"[%f, 0]" % value)
        bench.server.deliver()
        assert quick.answers == []
        bench.server.deliver()
        assert quick.answer[0] == 200
    assert slow.answers == []
    bench.server.pending.append(held)
    bench.server.deliver()
    assert slow.answer == (200, {"x-id": None}, b"[[0.5, 0.5]]")
    assert bench.engine.batches == [[0.25], [0.75], [0.5]]


def test_a_body_in_pieces_is_put_together(bench):
    """Each piece is asked for when the one before has come."""
    request = bench.ask(b"[0.2", b"5, ", b"0]")
    bench.server.deliver(3)
    assert request.answer[:1] == (200,)
    assert bench.engine.batches == [[0.25]]


def test_a_large_body_comes_in_one_piece(bench):
    """It leaves no marker to send, so its rows do not wait for others."""
    slow = bench.ask()
    bench.server.hold_back(slow)
    request = bench.ask(b"[0.25, 0" + b" " * _SMALL_BODY + b"]")
    bench.server.deliver()
    assert request.answer[0] == 200
    assert bench.server.pending == []


@pytest.mark.parametrize("pieces", [(b"",), (b"[0.2", b""), (b"[0.2", ConnectionError("reset"))])
def test_a_client_that_breaks_off_is_forgotten_and_others_are_answered(bench, pieces):
    """Its rows are never queued, and it holds nobody up."""
    broken = bench.ask(*pieces, length=9)
    other = bench.ask()
    bench.server.deliver(2 if len(pieces) == 1 else 3)
    while bench.server.pending:
        bench.server.deliver()
    assert broken.answer[0] == 400
    assert other.answer[0] == 200
    assert bench.engine.batches == [[0.25]]
    assert bench.lane.on_the_way == 0


@pytest.mark.parametrize(
    "options",
    [{"path": "/other"}, {"method": "GET"}, {"headers": {"origin": "x"}}, {"length": 1 << 30}],
)
def test_what_is_not_plain_is_left_to_the_event_loop(bench, options):
    """The lane neither reads nor answers it."""
    request = bench.ask(**options)
    assert not request.taken
    assert bench.server.pending == []


def test_an_error_is_answered_and_leaves_the_batch_alone(bench):
    """A refused request between two good ones."""
    first, bad, last = bench.ask(), bench.ask(b"missing"), bench.ask(b"[1, 0]")
    bench.server.deliver(4)
    assert bad.answer == (404, {}, b"no such thing")
    assert (first.answer[0], last.answer[0]) == (200, 200)
    assert bench.engine.batches == [[0.25, 1.0]]


def test_an_answer_that_cannot_be_made_is_that_request_s_error(bench, pool):
    """Its neighbour in the batch gets its own."""
    bench.route.failed = lambda *_: (500, [], b"internal error")
    bad, good = bench.ask(headers={"x-id": {1, 2}}), bench.ask()
    begin = bench.route.begin

    def broken(member, parameter, headers, body):
        begin(member, parameter, headers, body)
        if isinstance(headers.get("x-id"), set):
            member.finish = lambda _: 1 / 0

    bench.route.begin = broken
    while bench.server.pending:
        bench.server.deliver()
    assert bad.answer[0] == 500
    assert good.answer[0] == 200


def test_while_draining_every_answer_closes_its_connection(bench):
    """Good answers and errors."""
    bench.admission.draining = True
    good, bad = bench.ask(), bench.ask(b"missing")
    while bench.server.pending:
        bench.server.deliver()
    assert good.answer[1]["connection"] == bad.answer[1]["connection"] == "close"


def test_more_rows_than_a_batch_holds_run_one_batch_after_the_other(bench):
    """All of them in the same turn."""
    request = bench.ask(json.dumps([[index / 32, 0] for index in range(20)]).encode())
    bench.server.deliver()
    assert [row[1] for row in json.loads(request.answer[2])] == [index / 32 for index in range(20)]
    assert [len(batch) for batch in bench.engine.batches] == [8, 8, 4]
    assert bench.observer.closed_by == ["full", "full", "turn"]


def test_a_long_run_leaves_the_server_s_thread_free(pool):
    """It answers from the scoring thread, which then runs what came meanwhile."""
    bench = Bench(pool, inline=False)
    bench.engine.may_go_on.clear()
    first = bench.ask()
    bench.server.deliver()
    assert bench.engine.started.wait(10)
    later = [bench.ask(b"[0.5, 0]"), bench.ask(b"[0.75, 0]")]
    bench.server.deliver(2)
    assert first.answers == later[0].answers == []
    bench.engine.may_go_on.set()
    pool.submit(lambda: None).result(10)
    pool.submit(lambda: None).result(10)
    assert [request.answer[0] for request in (first, *later)] == [200, 200, 200]
    assert first.thread == later[0].thread != threading.get_ident()
    assert bench.engine.batches == [[0.25], [0.5, 0.75]]
    assert bench.observer.closed_by == ["turn", "landing"]


def test_what_cannot_be_answered_in_time_is_refused_by_its_head(pool, monkeypatch):
    """Twenty bodies are on the way and three markers behind them take 200 ms each: one more would take too long.

    They turn out to be clients that send slowly: the next marker is fast, and makes bodies cheap again.
    """
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("gateway.direct.perf_counter", lambda: clock.now)
    bench = Bench(pool, queue_limit_ms=100.0)
    for _ in range(20):
        bench.server.hold_back(bench.ask())
    taken = []
    for number in range(3):
        taken.append(bench.ask())
        bench.server.deliver()
        if number == 2:  # two slow ones in a row may be a stall
            taken.append(bench.ask())
        clock.now += 0.2
        bench.server.deliver()
    bench.server.deliver()
    refused = bench.ask()
    bench.server.deliver()
    taken.append(bench.ask())
    bench.server.deliver()
    taken.append(bench.ask())
    bench.server.deliver(3)
    assert [request.answer[0] for request in taken] == [200] * 6
    assert refused.taken
    assert refused.answer == (503, {}, b"more requests are waiting than can be answered in time")
    assert bench.server.pending == []
    assert bench.refused.collect()[0].samples[0].value == 1


def test_few_bodies_on_the_way_say_nothing_of_what_many_take(pool, monkeypatch):
    """One stalled client and a long pause: nobody is refused for it."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("gateway.direct.perf_counter", lambda: clock.now)
    bench = Bench(pool, queue_limit_ms=100.0)
    bench.server.hold_back(bench.ask())
    bench.ask()
    bench.server.deliver()
    clock.now += 60.0
    bench.server.deliver()
    bench.ask()
    bench.server.deliver()
    later = bench.ask()
    bench.server.deliver(3)
    assert later.answer[0] == 200


def test_a_model_whose_queue_was_full_is_shut_until_half_of_it_is_done(pool, monkeypatch):
    """Its requests are refused unread and another model's are taken: here one row takes 1 s, and 64 may wait."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("gateway.direct.perf_counter", lambda: clock.now)
    bench = Bench(pool, inline=False, max_rows=1, run_us=1e6)
    bench.engine.may_go_on.clear()
    bench.ask()
    bench.server.deliver()
    assert bench.engine.started.wait(10)
    accepted = [bench.ask(json.dumps([[0.25, 0]] * 32).encode()) for _ in range(2)]
    decoded, unread = bench.ask(), [bench.ask(b"no JSON")]
    bench.server.deliver(4)
    assert decoded.answer[2].startswith(b"64 rows wait, at most 64 may")
    unread.append(bench.ask())
    for request in unread:
        assert request.answer == (503, {}, b"more requests are waiting than can be answered in time")
    assert bench.server.pending == []
    bench.ask(path="/twin")
    assert len(bench.server.pending) == 1
    clock.now += 31.0
    assert bench.ask().answers
    clock.now += 3.0
    assert bench.ask().answers == []
    bench.engine.may_go_on.set()
    for _ in range(3):
        pool.submit(lambda: None).result(10)
    assert [request.answer[0] for request in accepted] == [200, 200]


def test_one_large_request_that_finds_no_room_shuts_nobody_out(pool):
    """Less than half of what may wait does wait."""
    bench = Bench(pool, inline=False)
    bench.engine.may_go_on.clear()
    bench.ask()
    bench.server.deliver()
    assert bench.engine.started.wait(10)
    bench.ask()
    large = bench.ask(json.dumps([[0.25, 0]] * 64).encode())
    bench.server.deliver(2)
    assert large.answer[0] == 503
    small = bench.ask()
    bench.server.deliver()
    bench.engine.may_go_on.set()
    for _ in range(2):
        pool.submit(lambda: None).result(10)
    assert small.answer[0] == 200


def test_rows_of_the_bridge_are_flushed_by_the_event_loop(bench):
    """A thread that is neither the server's nor a scoring one leaves the flush to the loop."""
    bench.ask()
    bench.server.deliver()
    member = SimpleNamespace(deadline=float("inf"), count=1, finished=False, answer=print, fail=print)
    thread = threading.Thread(target=bench.batcher.submit_one, args=([0.5, 0], "$", member))
    thread.start()
    thread.join()
    ((callback, _),) = bench.server.woken
    assert callback == bench.batcher.flush


def test_the_hooks_work_with_the_granian_that_is_installed():
    """And leave it as it was."""
    before = granian._futures._cbsched_aioschedule
    granian_hooks.check()
    assert granian._futures._cbsched_aioschedule is before


def _renamed(monkeypatch):
    monkeypatch.delattr(granian._futures, "_cbsched_aioschedule")


def _unused(monkeypatch):
    monkeypatch.setattr(granian._futures, "_new_cbscheduler", lambda *_, **__: None)


def _not_passed_on(monkeypatch):
    monkeypatch.setattr(granian._futures, "_cbsched_aioschedule", lambda *_: lambda _: None)


def _other_version(monkeypatch):
    monkeypatch.setattr(granian, "__version__", "2.9.0")


@pytest.mark.parametrize("change", [_renamed, _unused, _not_passed_on, _other_version])
def test_an_unknown_granian_gets_the_event_loop_and_a_line_in_the_log(monkeypatch, caplog, change):
    """Requests are answered all the same, and the metric says on which lane."""
    change(monkeypatch)
    with pytest.raises(HookError, match="granian"):
        granian_hooks.check()
    gateway = Gateway(WorkerConfig(settings=GatewaySettings(), store="unused", monitor="unused"))
    loop = asyncio.new_event_loop()
    try:
        assert isinstance(gateway._turns(loop), LoopTurns)
    finally:
        loop.close()
    assert "no direct lane: granian" in caplog.text
    assert b'hotgate_lane{lane="loop"} 1.0' in gateway.worker.metrics.render()


def test_a_request_on_which_the_lane_fails_takes_the_event_loop(monkeypatch, caplog):
    """Nothing is lost by a defect of the lane."""
    passed_on = []
    monkeypatch.setattr(granian._futures, "_cbsched_aioschedule", lambda *_: passed_on.append)

    def broken(_watcher):
        raise RuntimeError("defect")

    granian_hooks.hook_requests(broken)
    granian._futures._cbsched_aioschedule(None)("request")
    assert passed_on == ["request"]
    assert "takes the event loop instead" in caplog.text


def test_a_request_that_fails_in_two_batches_is_answered_once(bench):
    """The first failure is the answer."""
    bench.engine.poisoned = {0.0, 1.0}
    request = bench.ask(json.dumps([[0, 0]] * 8 + [[1, 0]]).encode())
    bench.server.deliver()
    assert request.answer[0] == Internal.status


def test_a_defect_behind_an_answer_does_not_answer_again(bench):
    """The batcher then fails everybody in the batch, but who was answered before stays so."""

    def broken(*_):
        raise RuntimeError("defect")

    good, bad = bench.ask(), bench.ask(b"[0.5, 0]")
    bad.response_bytes = broken
    while bench.server.pending:
        bench.server.deliver()
    assert good.answer[0] == 200
    assert bench.batcher.idle


def test_a_failed_batch_is_answered(bench):
    """The culprit alone."""
    bench.engine.poisoned = {0.5}
    good, bad = bench.ask(), bench.ask(b"[0.5, 0]")
    while bench.server.pending:
        bench.server.deliver()
    assert good.answer[0] == 200
    assert bad.answer == (Internal.status, {}, b"scoring failed")
