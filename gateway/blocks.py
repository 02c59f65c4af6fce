"""Rows that wait for one run, and the requests they belong to."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from converters.modelfile import Signature
    from gateway.engine import Engine
    from gateway.tickets import Member

__all__ = ["Block", "empty_rows"]

_finished = attrgetter("finished")


def empty_rows(signature: Signature, count: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.object_] | None]:
    """Zeros [count, columns] of the signature's dtype, and empty strings [count, text columns] where there are such."""
    texts = np.full((count, len(signature.texts)), "", dtype=object) if signature.text_input else None
    return np.zeros((count, len(signature.columns)), dtype=signature.dtype), texts


class Block:
    """A preallocated matrix that fills up with rows of several requests, then is run and used again.

    Where the model reads text, a second matrix holds it, row by row.
    """

    __slots__ = ("bytes", "closed_by", "deadline", "first_at", "members", "room", "rows", "run", "texts", "used")

    def __init__(self, engine: Engine, max_rows: int) -> None:
        signature = engine.metadata.signature
        self.rows, self.texts = empty_rows(signature, max_rows)
        self.bytes = self.rows.reshape(-1).data.cast("B")
        self.run: Callable[[int], npt.NDArray[np.float32]] = engine.bind(self.rows, self.texts)
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
                if self.texts is not None:
                    self.texts[used : used + member.count] = self.texts[member.start : member.start + member.count]
                member.start = used
            used += member.count
            kept.append(member)
        self.members, self.used = kept, used
