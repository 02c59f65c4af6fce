"""Where a batcher's work is done: which thread forms the batches, and which one gives the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["LoopTurns", "Turns"]


class Turns(Protocol):
    """How a batcher gets its turns; one implementation a lane."""

    def soon(self, flush: Callable[[], None]) -> None:
        """Call `flush` once everything that is coming in right now is in; from any thread, never at once."""

    def land(self, finish: Callable[[], None]) -> None:
        """Call `finish`, which answers, where answers are given; from the scoring thread."""


class LoopTurns:
    """Everything on the event loop: a batch is what one turn of it brings in."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call = loop.call_soon_threadsafe

    def soon(self, flush: Callable[[], None]) -> None:
        """In the next turn."""
        self._call(flush)

    def land(self, finish: Callable[[], None]) -> None:
        """In a turn of its own."""
        self._call(finish)
