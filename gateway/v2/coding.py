"""Answers as compressed as a client asks."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.reply import Answer

__all__ = ["compressed"]

_LEVEL = 1
"""The fastest: scoring waits meanwhile, and floats hardly get smaller at a higher one."""
_CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, _LEVEL, mtime=0),
    "deflate": lambda data: zlib.compress(data, _LEVEL),
}


def compressed(answer: Answer, accepted: str | None) -> Answer:
    """The answer in the one coding that `Accept-Encoding` names: gzip, or deflate, which is zlib's format.

    A client that takes several, as most do without having been told to, gets it as it is: that costs nobody anything.
    """
    compress = _CODINGS.get(accepted.strip().lower()) if accepted else None
    if accepted is None or compress is None:
        return answer
    status, headers, body = answer
    return status, [*headers, ("content-encoding", accepted.strip().lower())], compress(body)
