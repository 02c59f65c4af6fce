"""The batcher's promises: nothing waits for company, nothing is mixed up, one bad request is one bad request."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fakes import Clock, FakeEngine, Remembering

from gateway.batcher import Batcher
from gateway.errors import BadRequest, Expired, Internal, Overloaded, TooLarge, Unanswerable
from gateway.settings import GatewaySettings
from gateway.tickets import Ticket
from gateway.turns import LoopTurns

INLINE = {"max_batch_rows": 8, "queue_limit_rows": 64, "queue_limit_ms": 1e9, "inline_limit_us": 1e9}
ON_THREAD = {**INLINE, "inline_limit_us": 0.0}


@pytest.fixture(params=[INLINE, ON_THREAD], ids=["inline", "thread"])
def options(request):
    """Both places a run can take."""
    return request.param


@pytest.fixture
def executor():
    """One scoring thread, as in a worker."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Asking:
    """A batcher as a loop's lane uses it: every submission makes a ticket."""

    def __init__(self, under_test):
        self.under_test = under_test
        self.numbers = itertools.count()

    def submit_one(self, row, path, deadline=math.inf):
        """One row."""
        return self._submit(self.under_test.submit_one, row, path, deadline)

    def submit_many(self, rows, path, deadline=math.inf):
        """Many."""
        return self._submit(self.under_test.submit_many, rows, path, deadline)

    def submit_array(self, rows):
        """A matrix of numbers."""
        ticket = Ticket(0.0)
        ticket.origin = f"r{next(self.numbers)}"
        ticket.deadline = math.inf
        self.under_test.submit_array(rows, None, ticket)
        return ticket

    def _submit(self, submit, rows, path, deadline):
        ticket = Ticket(0.0)
        ticket.origin = f"r{next(self.numbers)}"
        ticket.deadline = deadline
        submit(rows, path, ticket)
        return ticket

    def __getattr__(self, name):
        return getattr(self.under_test, name)

    def __repr__(self):
        return repr(self.under_test)


def batcher(engine, executor, options, observer=None, **more):
    turns = LoopTurns(asyncio.get_running_loop())
    limits = GatewaySettings(**options)
    return Asking(Batcher(engine, observer or Remembering(), executor, turns, limits, **more))


def run(main):
    return asyncio.run(asyncio.wait_for(main, 20))


def test_a_lone_row_is_scored_at_once_and_alone(executor, options):
    """Idle means run now: the first batch holds just that row."""
    engine = FakeEngine()

    async def main():
        return await batcher(engine, executor, options).submit_one([0.25, 7.0], "$")

    assert run(main()) == [[0.75, 0.25]]
    assert engine.batches == [[0.25]]


def test_rows_of_one_turn_are_scored_together(executor, options):
    """What arrives in one turn of the loop forms one batch, and each caller gets its own row's answer."""
    engine = FakeEngine()

    async def main():
        under_test = batcher(engine, executor, options)
        return await asyncio.gather(*[under_test.submit_one([index / 8, 0.0], "$") for index in range(5)])

    assert run(main()) == [[[1 - index / 8, index / 8]] for index in range(5)]
    assert engine.batches == [[0.0, 0.125, 0.25, 0.375, 0.5]]


def test_rows_that_arrive_during_a_run_form_the_next_batch(executor):
    """The batcher conserves work: it runs again as soon as the thread is free, with all that came meanwhile."""
    engine = FakeEngine()
    engine.may_go_on.clear()

    async def main():
        under_test = batcher(engine, executor, ON_THREAD)
        first = under_test.submit_one([0.5, 0.0], "$")
        await asyncio.to_thread(engine.started.wait, 10)
        later = [under_test.submit_one([index / 16, 0.0], "$") for index in range(10)]
        assert "queued_rows=10, running_rows=1" in repr(under_test)
        engine.may_go_on.set()
        await asyncio.gather(first, *later)
        assert under_test.idle

    run(main())
    assert [len(batch) for batch in engine.batches] == [1, 8, 2]


def test_a_large_request_is_split_and_put_together_again(executor, options):
    """Thirty rows over runs of eight, behind a row that was there before, come back in order."""
    engine = FakeEngine()

    async def main():
        under_test = batcher(engine, executor, options)
        one = under_test.submit_one([0.5, 0.0], "$")
        many = under_test.submit_many([[index / 32, 1.0] for index in range(30)], "$")
        return await one, await many

    one, many = run(main())
    assert one == [[0.5, 0.5]]
    assert many == [[1 - index / 32, index / 32] for index in range(30)]
    assert [len(batch) for batch in engine.batches] == [8, 8, 8, 7]


def test_a_matrix_is_split_like_rows_and_refused_like_them(executor, options):
    """The same answers; an infinity, or too many rows, are refused and leave nothing in the queue."""
    engine = FakeEngine()
    rows = np.arange(40, dtype=np.float32).reshape(20, 2) / 64

    async def main():
        under_test = batcher(engine, executor, options)
        wrong = rows.copy()
        wrong[3, 1] = np.inf
        with pytest.raises(BadRequest, match="inf is no number to score - in row 3, column 'c1'"):
            under_test.submit_array(wrong)
        with pytest.raises(TooLarge, match="65 rows in one request, at most 64"):
            under_test.submit_array(np.zeros((65, 2), dtype=np.float32))
        assert under_test.idle
        assert await under_test.submit_array(rows[:0]) == []
        return await under_test.submit_array(rows)

    assert run(main()) == [[1 - first, first] for first in rows[:, 0].tolist()]
    assert [len(batch) for batch in engine.batches] == [8, 8, 4]


def test_no_rows_are_answered_without_a_run(executor, options):
    """An empty list of rows is no work and no hang."""
    engine = FakeEngine()

    async def main():
        return await batcher(engine, executor, options).submit_many([], "$")

    assert run(main()) == []
    assert engine.batches == []


def test_only_the_culprit_of_a_failed_batch_fails(executor, options):
    """The others of its batch get their answers, and the monitor sees only rows that were answered."""
    engine, observer = FakeEngine(), Remembering()
    engine.poisoned = {0.375}

    async def main():
        under_test = batcher(engine, executor, options, observer)
        waiting = [under_test.submit_one([index / 8, 0.0], "$") for index in range(7)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = run(main())
    assert isinstance(answers[3], Internal)
    assert [answer for index, answer in enumerate(answers) if index != 3] == [
        [[1 - index / 8, index / 8]] for index in range(7) if index != 3
    ]
    assert sorted(row[0] for row in observer.rows) == [index / 8 for index in range(7) if index != 3]
    assert observer.failures == 1


def test_a_row_without_a_finite_answer_is_refused_alone(executor, options):
    """NaN never becomes a probability in an answer, and its neighbours do not suffer."""
    engine, observer = FakeEngine(), Remembering()
    engine.nonfinite = {0.5}

    async def main():
        under_test = batcher(engine, executor, options, observer)
        waiting = [under_test.submit_one([value, 0.0], "$") for value in (0.25, 0.5, 0.75)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = run(main())
    assert answers[0] == [[0.75, 0.25]]
    assert isinstance(answers[1], Unanswerable)
    assert answers[2] == [[0.25, 0.75]]
    assert observer.failures == 1


def test_a_refused_row_leaves_no_trace(executor, options):
    """A value that float32 cannot hold is half written when it is found; the next row is whole all the same."""
    observer = Remembering()

    async def main():
        under_test = batcher(FakeEngine(), executor, options, observer)
        before = under_test.submit_one([0.25, 1.0], "$")
        with pytest.raises(BadRequest, match=r"1e\+39 does not fit float32 .* at `\$\.features\[1\]`"):
            under_test.submit_one([0.875, 1e39], "$.features")
        with pytest.raises(BadRequest, match=r"at `\$\.instances\[1\]\[0\]`"):
            under_test.submit_many([[0.1, 0.2], [None, 0.2]], "$.instances")
        after = under_test.submit_one([0.5, 2.0], "$")
        return await before, await after

    assert run(main()) == ([[0.75, 0.25]], [[0.5, 0.5]])
    assert observer.rows == [[0.25, 1.0], [0.5, 2.0]]


def test_a_caller_who_leaves_before_the_batch_is_not_scored(executor, options):
    """Cancelled rows are taken out and the others close up; nobody gets another's answer."""
    engine = FakeEngine()

    async def main():
        under_test = batcher(engine, executor, options)
        waiting = [under_test.submit_one([index / 8, 0.0], "$") for index in range(5)]
        many = under_test.submit_many([[0.75, 0.0], [0.875, 0.0]], "$")
        for index in (0, 3):
            waiting[index].cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert await many == [[0.25, 0.75], [0.125, 0.875]]
        return answers

    answers = run(main())
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert [answers[index] for index in (1, 2, 4)] == [[[1 - i / 8, i / 8]] for i in (1, 2, 4)]
    assert engine.batches == [[0.125, 0.25, 0.5, 0.75, 0.875]]


def test_a_batch_that_everybody_left_is_not_run(executor, options):
    """No caller, no run; and the batcher is idle afterwards."""
    engine = FakeEngine()

    async def main():
        under_test = batcher(engine, executor, options)
        for waiting in [under_test.submit_one([0.5, 0.0], "$") for _ in range(3)]:
            waiting.cancel()
        while not under_test.idle:  # noqa: ASYNC110 - a turn of the loop is what it takes
            await asyncio.sleep(0)
        return await under_test.submit_one([0.25, 0.0], "$")

    assert run(main()) == [[0.75, 0.25]]
    assert engine.batches == [[0.25]]


def test_a_caller_who_leaves_during_the_run_hurts_nobody(executor):
    """The answer of a cancelled caller is dropped; the others of the batch get theirs."""
    engine = FakeEngine()
    engine.may_go_on.clear()

    async def main():
        under_test = batcher(engine, executor, ON_THREAD)
        waiting = [under_test.submit_one([index / 8, 0.0], "$") for index in range(3)]
        await asyncio.to_thread(engine.started.wait, 10)
        waiting[1].cancel()
        engine.may_go_on.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = run(main())
    assert answers[0] == [[1.0, 0.0]]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[2] == [[0.75, 0.25]]


def test_a_full_queue_refuses_and_recovers(executor):
    """What does not fit is refused at once with 503; what was accepted is answered."""
    engine = FakeEngine()
    engine.may_go_on.clear()

    async def main():
        under_test = batcher(engine, executor, ON_THREAD)
        running = under_test.submit_one([0.5, 0.0], "$")
        await asyncio.to_thread(engine.started.wait, 10)
        accepted = [under_test.submit_one([0.25, 0.0], "$") for _ in range(64)]
        with pytest.raises(Overloaded, match="64 rows wait, at most 64 may"):
            under_test.submit_one([0.25, 0.0], "$")
        with pytest.raises(Overloaded):
            under_test.submit_many([[0.25, 0.0]], "$")
        with pytest.raises(TooLarge, match="65 rows in one request"):
            under_test.submit_many([[0.25, 0.0]] * 65, "$")
        engine.may_go_on.set()
        await running
        assert await asyncio.gather(*accepted) == [[[0.75, 0.25]]] * 64
        return await under_test.submit_one([0.25, 0.0], "$")

    assert run(main()) == [[0.75, 0.25]]


def test_a_stopped_executor_fails_its_callers_instead_of_leaving_them(options):
    """Whoever still waits when the process stops gets an error, not silence."""
    engine = FakeEngine()

    async def main():
        pool = ThreadPoolExecutor(1)
        under_test = batcher(engine, pool, ON_THREAD)
        pool.shutdown()
        waiting = under_test.submit_one([0.5, 0.0], "$")
        with pytest.raises(Internal):
            await waiting

    run(main())


@pytest.mark.parametrize("seed", range(5))
def test_a_storm_of_requests_mixes_nothing_up(executor, options, seed):
    """Random sizes, cancellations, poison and turns of the loop: every answer, and what is told, is of its own rows."""
    random_ = random.Random(seed)
    engine, observer = FakeEngine(max_rows=8), Remembering()
    engine.poisoned = {float(value) for value in range(0, 100_000, 97)}

    async def main():
        under_test = batcher(engine, executor, {**options, "queue_limit_rows": 10_000}, observer)
        asked = []
        for turn in range(300):
            for _ in range(random_.randrange(4)):
                values = [float(random_.randrange(100_000)) for _ in range(random_.choice([1, 1, 1, 3, 20]))]
                future = (
                    under_test.submit_one([values[0], 0.0], "$")
                    if len(values) == 1
                    else under_test.submit_many([[value, 0.0] for value in values], "$")
                )
                asked.append((values, future))
                if random_.random() < 0.1:
                    future.cancel()
            if turn % 3 == 0:
                await asyncio.sleep(0)
        answers = await asyncio.gather(*[future for _, future in asked], return_exceptions=True)
        return [values for values, _ in asked], answers

    asked, answers = run(main())
    told = [row for origin in observer.origins for row in rows_of(origin)]
    assert len(set(told)) == len(told) == len(observer.rows)
    assert [asked[number][row] for number, row in told] == [row[0] for row in observer.rows]
    for values, answer in zip(asked, answers, strict=True):
        if isinstance(answer, asyncio.CancelledError):
            continue
        if engine.poisoned.intersection(values):
            assert isinstance(answer, Internal)
        else:
            assert [row[1] for row in answer] == values


def rows_of(origin):
    """Number of the request, and of each of its rows."""
    request_id, first, count = (origin, 0, 1) if isinstance(origin, str) else origin
    return [(int(request_id[1:]), row) for row in range(first, first + count)]


def test_a_deadline_that_is_over_or_cannot_be_met_is_refused_before_anything_is_spent(executor, options):
    """504 and 503, counted apart; what can be met is scored."""
    engine, observer, clock = FakeEngine(run_us=80_000.0), Remembering(), Clock(100.0)

    async def main():
        under_test = batcher(engine, executor, {**options, "inline_limit_us": 1e9}, observer, clock=clock)
        with pytest.raises(Expired):
            under_test.submit_one([0.5, 0.0], "$", 100.0)
        with pytest.raises(Overloaded, match="the deadline leaves 10 ms"):
            under_test.submit_many([[0.5, 0.0]] * 8, "$", 100.01)
        return await under_test.submit_many([[0.5, 0.0]] * 8, "$", 100.09)

    assert run(main()) == [[0.5, 0.5]] * 8
    assert observer.refusals == ["expired", "deadline"]
    assert [len(batch) for batch in engine.batches] == [8]


def test_a_deadline_that_passes_in_the_queue_is_no_run(executor):
    """Only that request is told so; what waited behind it without one is scored."""
    engine, observer, clock = FakeEngine(), Remembering(), Clock(100.0)
    engine.may_go_on.clear()

    async def main():
        under_test = batcher(engine, executor, ON_THREAD, observer, clock=clock)
        first = under_test.submit_one([0.25, 0.0], "$")
        await asyncio.to_thread(engine.started.wait, 10)
        late = under_test.submit_one([0.5, 0.0], "$", clock.now + 1)
        patient = under_test.submit_one([0.75, 0.0], "$", clock.now + 10)
        clock.now += 2
        engine.may_go_on.set()
        assert await first == [[0.75, 0.25]]
        with pytest.raises(Expired, match="while the request waited"):
            await late
        return await patient

    assert run(main()) == [[0.25, 0.75]]
    assert engine.batches == [[0.25], [0.75]]
    assert observer.refusals == ["expired"]


def test_more_work_than_may_wait_is_refused_by_its_predicted_time(executor):
    """Eight rows take 80 ms and 100 ms may wait, so ten rows do; one large request is taken where nothing waits."""
    engine, observer = FakeEngine(run_us=80_000.0), Remembering()
    engine.may_go_on.clear()

    async def main():
        under_test = batcher(engine, executor, {**ON_THREAD, "queue_limit_ms": 100.0}, observer)
        running = under_test.submit_one([0.5, 0.0], "$")
        await asyncio.to_thread(engine.started.wait, 10)
        waiting = [under_test.submit_one([0.5, 0.0], "$") for _ in range(10)]
        with pytest.raises(Overloaded, match=r"10 rows wait, about .* ms of work: 1 more were refused"):
            under_test.submit_one([0.5, 0.0], "$")
        engine.may_go_on.set()
        await asyncio.gather(running, *waiting)
        assert len(await under_test.submit_many([[0.5, 0.0]] * 40, "$")) == 40

    run(main())
    assert observer.refusals == ["wait"]


def test_more_rows_than_may_wait_are_taken_while_they_can_be_run(executor):
    """A full block runs at once, inside the turn that fills it, so that a burst is not refused by an idle model."""
    engine, observer = FakeEngine(), Remembering()

    async def main():
        under_test = batcher(engine, executor, INLINE, observer)
        waiting = [under_test.submit_many([[0.5, 0.0]] * 20, "$") for _ in range(20)]
        return await asyncio.gather(*waiting)

    assert run(main()) == [[[0.5, 0.5]] * 20] * 20
    assert observer.refusals == []
    assert {len(batch) for batch in engine.batches} == {8}


def test_what_closed_a_batch_is_told(executor):
    """Everything was in, it was full, or the run before it ended."""
    engine, observer = FakeEngine(), Remembering()
    engine.may_go_on.clear()

    async def main():
        under_test = batcher(engine, executor, ON_THREAD, observer)
        first = under_test.submit_one([0.5, 0.0], "$")
        await asyncio.to_thread(engine.started.wait, 10)
        later = [under_test.submit_one([0.5, 0.0], "$") for _ in range(9)]
        engine.may_go_on.set()
        await asyncio.gather(first, *later)

    run(main())
    assert observer.closed_by == ["turn", "full", "landing"]


def test_an_observer_that_raises_leaves_nobody_waiting(executor, options, caplog):
    """Callers are told, and the next request is scored."""

    class Broken(Remembering):
        def ran(self, *_, **__):
            if not self.rows:
                self.rows.append(1)
                raise RuntimeError("broken")

    async def main():
        under_test = batcher(FakeEngine(), executor, options, Broken())
        waiting = [under_test.submit_one([0.5, 0.0], "$") for _ in range(3)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Internal] * 3
        return await under_test.submit_one([0.25, 0.0], "$")

    assert run(main()) == [[0.75, 0.25]]
    assert "answering 3 rows failed" in caplog.text
