"""Compressed bodies: `gzip` and `deflate`, inflated no further than a body may be."""

from __future__ import annotations

import zlib

from gateway.errors import BadRequest, TooLarge, UnsupportedMediaType

__all__ = ["inflate"]

_GZIP = zlib.MAX_WBITS | 16
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


def inflate(coding: str | None, body: bytes, limit_bytes: int) -> bytes:
    """A body as it was before it was compressed; at no time is more than the limit held of it.

    Args:
        coding: the `Content-Encoding`.
        body: as it came.
        limit_bytes: most bytes of the result.

    Raises:
        UnsupportedMediaType: the coding is another, or there are several.
        TooLarge: the result would be larger.
        BadRequest: the body is cut off, damaged, or followed by something else.
    """
    name = (coding or "identity").strip().lower()
    if name == "identity":
        return body
    if name in {"gzip", "x-gzip"}:
        return _inflated(_GZIP, "gzip", body, limit_bytes)
    if name == "deflate":
        # RFC 9110 says zlib's format; some clients send what is inside it.
        wrapped = body[:1] != b"" and body[0] & 0x0F == zlib.DEFLATED and not int.from_bytes(body[:2]) % 31
        return _inflated(_ZLIB if wrapped else _RAW, name, body, limit_bytes)
    raise UnsupportedMediaType(f"Content-Encoding {coding!r} is not supported: send gzip, deflate or the body as it is")


def _inflated(format_bits: int, name: str, body: bytes, limit_bytes: int) -> bytes:
    stream = zlib.decompressobj(format_bits)
    try:
        found = stream.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is no {name}: {error}") from None
    if len(found) > limit_bytes:
        raise TooLarge(f"the inflated body has more than {limit_bytes} bytes (max_body_bytes): send the rows in parts")
    if not stream.eof:
        raise BadRequest(f"the {name} body is cut off after {len(body)} bytes")
    if stream.unused_data:
        raise BadRequest(f"{len(stream.unused_data)} bytes follow the end of the {name} body")
    return found
