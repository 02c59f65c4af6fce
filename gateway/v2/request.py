"""A request's body: JSON, and behind it the binary data of inputs."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.errors import BadRequest
from gateway.v2 import words
from gateway.v2.messages import InferRequest, decode

__all__ = ["Parsed", "parse"]

_NATURAL = re.compile(r"[0-9]{1,12}", re.ASCII)


class Parsed(NamedTuple):
    """The two parts of a body."""

    request: InferRequest
    behind: memoryview


def parse(body: bytes, header_length: str | None) -> Parsed:
    """Part a body; nothing of it is copied.

    Args:
        body: the whole body.
        header_length: of the header `Inference-Header-Content-Length`, the length of the JSON; all of the body without.

    Raises:
        BadRequest: the length is none within the body, or the JSON is no request.
    """
    if header_length is None:
        return Parsed(decode(body), memoryview(b""))
    if not _NATURAL.fullmatch(header_length) or not 0 < int(header_length) <= len(body):
        raise BadRequest(words.header_length(header_length, len(body)))
    view = memoryview(body)
    length = int(header_length)
    return Parsed(decode(view[:length]), view[length:])
