"""What `hotgate bench load` is pointed at: an address of this machine, and what is sent there."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Target", "TargetError", "parse_headers", "parse_url", "split_lines"]

_MADE_HERE = {"host", "content-length", "transfer-encoding"}


class TargetError(ValueError):
    """The load cannot be sent like this; the text says what to give instead."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where on this machine."""

    host: str
    """Numeric."""
    port: int
    path: str
    """With its query."""


def parse_url(url: str) -> Target:
    """Take a URL apart; without a port it means 80.

    Raises:
        TargetError: it is no http URL, or does not point to this machine.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError as error:
        raise TargetError(f"{url}: {error}") from error
    if parts.scheme != "http" or not parts.hostname:
        raise TargetError(f"{url} is no http:// URL; TLS is not supported: its cost would be the generator's too")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise TargetError(f"{path!r} cannot stand in a request line: escape it with %")
    return Target(host=_loopback(parts.hostname), port=port, path=path)


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not (address in _LOOPBACK_4 or address == _LOOPBACK_6):
        raise TargetError(
            f"{host} is not this machine (127.0.0.0/8, ::1 or localhost): load on another machine is an attack unless"
            " its owner agreed, and would measure the network between; run this on the server's machine"
        )
    return str(address)


_LOOPBACK_4 = ipaddress.ip_network("127.0.0.0/8")
_LOOPBACK_6 = ipaddress.ip_address("::1")


def parse_headers(lines: Iterable[str], *, json: bool) -> tuple[tuple[str, str], ...]:
    """Headers from lines of `Name: value`, and the JSON content type if there is a body and none is given.

    Raises:
        TargetError: a line is no header, or one that the generator makes itself.
    """
    found = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isprintable() or not line.isascii():
            raise TargetError(f"{line!r} is no header: write 'Name: value'")
        if name.strip().lower() in _MADE_HERE:
            raise TargetError(f"{name.strip()} is made by the generator")
        found.append((name.strip(), value.strip()))
    if json and not any(name.lower() == "content-type" for name, _ in found):
        found.append(("Content-Type", "application/json"))
    return tuple(found)


def split_lines(body: bytes) -> tuple[bytes, ...]:
    """One body a line (JSON Lines); empty lines are none.

    Raises:
        TargetError: there is no line.
    """
    bodies = tuple(line for line in body.splitlines() if line.strip())
    if not bodies:
        raise TargetError("there is no line in the body's file: nothing to send in turn")
    return bodies
