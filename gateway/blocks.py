"""Rows that wait for one run, and the requests they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import asyncio

    Scores = list[list[float]]

__all__ = ["Block", "Member", "Ticket"]


class Ticket:
    """One request: answered when all its parts are, failed by the first that fails."""

    __slots__ = ("_missing", "_parts", "future")

    def __init__(self, future: asyncio.Future[Scores], parts: int) -> None:
        self.future = future
        self._parts: list[Scores] = [[]] * parts
        self._missing = parts

    def answer(self, part: int, scores: Scores) -> None:
        """Take the probabilities of one part; a caller who has left is no error."""
        if self.future.done():
            return
        self._parts[part] = scores
        self._missing -= 1
        if not self._missing:
            self.future.set_result(scores if len(self._parts) == 1 else [row for part in self._parts for row in part])

    def fail(self, error: Exception) -> None:
        """Tell the caller, if there still is one."""
        if not self.future.done():
            self.future.set_exception(error)


class Member:
    """One request's share of a block: rows `start` to `start + count`."""

    __slots__ = ("count", "part", "start", "ticket")

    def __init__(self, ticket: Ticket, part: int, start: int, count: int) -> None:
        self.ticket = ticket
        self.part = part
        self.start = start
        self.count = count


class Block:
    """A preallocated float32 matrix that fills up with rows of several requests, then is run and used again."""

    __slots__ = ("bytes", "first_at", "members", "rows", "used")

    def __init__(self, max_rows: int, width: int) -> None:
        self.rows = np.zeros((max_rows, width), dtype=np.float32)
        self.bytes = self.rows.data.cast("B")
        self.members: list[Member] = []
        self.used = 0
        self.first_at = 0.0

    def drop_cancelled(self) -> int:
        """Close the gaps that callers who have left would make in the run; returns how many rows went."""
        if not any(member.ticket.future.done() for member in self.members):
            return 0
        before, used, kept = self.used, 0, []
        for member in self.members:
            if member.ticket.future.done():
                continue
            if member.start != used:
                self.rows[used : used + member.count] = self.rows[member.start : member.start + member.count]
                member.start = used
            used += member.count
            kept.append(member)
        self.members, self.used = kept, used
        return before - used

    def clear(self) -> None:
        """Make it ready for new rows; the old values stay until they are written over and are never read."""
        self.members = []
        self.used = 0
