"""Rows that wait for one run, and the requests they belong to."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from gateway.engine import Engine
    from gateway.tickets import Member

__all__ = ["Block"]

_finished = attrgetter("finished")


class Block:
    """A preallocated float32 matrix that fills up with rows of several requests, then is run and used again."""

    __slots__ = ("bytes", "closed_by", "deadline", "first_at", "members", "room", "rows", "run", "used")

    def __init__(self, engine: Engine, max_rows: int) -> None:
        width = len(engine.metadata.signature.columns)
        self.rows: npt.NDArray[np.float32] = np.zeros((max_rows, width), dtype=np.float32)
        self.bytes = self.rows.data.cast("B")
        self.run: Callable[[int], npt.NDArray[np.float32]] = engine.bind(self.rows)
        self.room = max_rows
        self.clear()

    def clear(self) -> None:
        """Make it ready for new rows; the old values stay until they are written over and are never read."""
        self.members: list[Member] = []
        self.used = 0
        self.first_at = 0.0
        self.deadline = math.inf
        self.closed_by = "turn"

    def drop_finished(self) -> None:
        """Close the gaps that callers who no longer wait would make in the run."""
        if not any(map(_finished, self.members)):
            return
        used, kept = 0, []
        for member in self.members:
            if member.finished:
                continue
            if member.start != used:
                self.rows[used : used + member.count] = self.rows[member.start : member.start + member.count]
                member.start = used
            used += member.count
            kept.append(member)
        self.members, self.used = kept, used
