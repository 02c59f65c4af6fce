"""A ticket tells its waiter once, whoever comes first, on whatever thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.errors import Internal
from gateway.tickets import Part, Share, Ticket


def run(main):
    return asyncio.run(asyncio.wait_for(main, 20))


async def wait(ticket):
    return await ticket


def test_an_answer_that_is_there_before_it_is_awaited_is_given_at_once():
    """And again to whoever asks again."""

    async def main():
        ticket = Ticket(0.0)
        ticket.answer([[1.0]])
        return await ticket, await ticket

    assert run(main()) == ([[1.0]], [[1.0]])


@pytest.mark.parametrize("thread", [False, True])
def test_a_task_that_waits_is_woken_by_the_answer(thread):
    """From its own thread or from another one."""

    async def main():
        ticket = Ticket(0.0)
        task = asyncio.create_task(wait(ticket))
        await asyncio.sleep(0)
        if thread:
            await asyncio.to_thread(ticket.answer, [[2.0]])
        else:
            ticket.answer([[2.0]])
        return await task

    assert run(main()) == [[2.0]]


def test_only_the_first_of_several_ends_counts():
    """A late answer changes nothing, and a failure is raised where it is awaited."""

    async def main():
        ticket = Ticket(0.0)
        ticket.fail(Internal("first"))
        ticket.answer([[1.0]])
        ticket.fail(Internal("second"))
        with pytest.raises(Internal, match="first"):
            await ticket
        assert isinstance(ticket.exception(), Internal)
        assert ticket.done()
        assert not ticket.cancelled()

    run(main())


def test_a_cancelled_task_leaves_its_ticket():
    """The batcher sees that nobody waits any more; an answer is then dropped."""

    async def main():
        ticket = Ticket(0.0)
        task = asyncio.create_task(wait(ticket))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ticket.finished
        assert ticket.cancelled()
        assert not ticket.cancel()
        ticket.answer([[1.0]])
        with pytest.raises(asyncio.CancelledError):
            ticket.exception()

    run(main())


def test_no_waiter_is_lost_or_told_twice_between_two_threads():
    """One thread answers while the other one begins to wait, ten thousand times."""
    tickets = [Ticket(0.0) for _ in range(10_000)]
    told = []

    class Loop:
        def call_soon_threadsafe(self, notify, ticket, *, context):
            notify(ticket)

        call_soon = call_soon_threadsafe

    def answer():
        for ticket in tickets:
            ticket.answer([[1.0]])

    thread = threading.Thread(target=answer)
    thread.start()
    for ticket in tickets:
        ticket._waiters.append((told.append, Loop(), None))
        if ticket.finished:
            ticket._tell()
    thread.join()
    assert len(told) == len(tickets)
    assert set(map(id, told)) == set(map(id, tickets))


def test_parts_answer_in_any_order_and_one_failure_is_enough():
    """The whole is put together in the request's order."""
    whole, gathered = Ticket(0.0), [None, None, None]
    parts = [Part(whole, number, Share("r", number, 1), gathered) for number in range(3)]
    for number in (2, 0, 1):
        assert not whole.finished
        parts[number].answer([[float(number)]])
    assert whole.result() == [[0.0], [1.0], [2.0]]
    failing = Ticket(0.0)
    one, other = (Part(failing, number, Share("r", number, 1), [None, None]) for number in range(2))
    one.fail(Internal("no"))
    assert other.finished
    other.answer([[1.0]])
    with pytest.raises(Internal):
        failing.result()
