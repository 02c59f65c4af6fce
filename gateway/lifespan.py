"""An async context manager driven from outside a running loop, entered and left by one task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["LifespanTask"]


class LifespanTask:
    """Holds a lifespan open between `start` and `stop`, both called while the loop stands still.

    The server runs its own loop in between; the context manager may hold cancel scopes, which must be left by the task
    that entered them, so one task does both.
    """

    def __init__(self, lifespan: AbstractAsyncContextManager[Any]) -> None:
        self._lifespan = lifespan
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Enter the lifespan.

        Raises:
            Exception: whatever entering raised; the lifespan is not open then.
            RuntimeError: it was started before.
        """
        if self._task is not None:
            raise RuntimeError("the lifespan was started already")
        entered = loop.create_future()
        self._task = loop.create_task(self._hold(entered), name="hotgate-lifespan")
        loop.run_until_complete(entered)

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the lifespan; doing it twice, or without a start, is no error."""
        self._leave.set()
        if self._task is not None:
            loop.run_until_complete(self._task)

    async def _hold(self, entered: asyncio.Future[None]) -> None:
        try:
            async with self._lifespan:
                entered.set_result(None)
                await self._leave.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)
