"""Which core a child process runs on."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["cores", "pinned"]


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def pinned(core: int | Collection[int] | None) -> Iterator[None]:
    """Pin the calling thread, so that a child started in the block is pinned from its first instruction."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
