"""A lifespan is entered and left by one task, on a loop that stands still in between."""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import pytest

from gateway.lifespan import LifespanTask


def test_a_lifespan_with_a_cancel_scope_can_be_held_over_the_servers_run():
    """Entering and leaving in two `run_until_complete` calls of their own would fail."""
    seen = []

    @contextlib.asynccontextmanager
    async def lifespan():
        async with anyio.create_task_group():
            seen.append("in")
            yield
            seen.append("out")

    loop = asyncio.new_event_loop()
    task = LifespanTask(lifespan())
    task.start(loop)
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == ["in"]
    with pytest.raises(RuntimeError, match="started already"):
        task.start(loop)
    task.stop(loop)
    task.stop(loop)
    loop.close()
    assert seen == ["in", "out"]


def test_a_start_that_fails_raises_what_happened():
    """So that the worker ends instead of serving half-started."""

    @contextlib.asynccontextmanager
    async def lifespan():
        raise OSError("no store")
        yield

    loop = asyncio.new_event_loop()
    task = LifespanTask(lifespan())
    with pytest.raises(OSError, match="no store"):
        task.start(loop)
    task.stop(loop)
    loop.close()
