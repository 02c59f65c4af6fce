"""Several connections at once: who sends slowly, who sends many requests at once, who breaks off."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from benchmarks.fuzz.forms import Case

__all__ = ["Answer", "Script", "exchange", "request_bytes", "script_of"]

_TIMEOUT_S = 20.0


class Answer(NamedTuple):
    """One answer, read to its end."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


class Script(NamedTuple):
    """What one connection sends."""

    cases: tuple[Case, ...]
    pieces: tuple[bytes, ...]
    """Each is sent when all other connections have sent theirs before it."""
    cut: bool = False
    """Whether it breaks off then, and hears nothing."""


def request_bytes(case: Case) -> bytes:
    """A request as it is sent."""
    lines = [
        f"{case.method} {case.path} HTTP/1.1",
        "Host: localhost",
        *(f"{name}: {text}" for name, text in case.headers),
    ]
    lines.append("Transfer-Encoding: chunked" if case.chunked else f"Content-Length: {len(case.body)}")
    body = case.body
    if case.chunked:
        half = len(body) // 2
        parts = [part for part in (body[:half], body[half:]) if part]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def script_of(rng: Random, cases: tuple[Case, ...]) -> Script:
    """All of them on one connection: at once, or in pieces; seldom broken off in the last one."""
    data = b"".join(map(request_bytes, cases))
    if rng.random() < 0.05:
        return Script(cases, (data[: rng.randrange(1, len(data))],), cut=True)
    if rng.random() < 0.7:
        return Script(cases, (data,))
    cuts = sorted(rng.randrange(1, len(data)) for _ in range(rng.randrange(1, 4)))
    return Script(cases, tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)))


def exchange(port: int, scripts: Sequence[Script]) -> list[list[Answer]]:
    """Play all scripts beside each other; the answers of each, fewer than its cases if the server closed.

    Raises:
        TimeoutError: an answer did not come.
    """
    with ExitStack() as stack:
        connections = []
        for _ in scripts:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections.append(connection)
        for step in range(max(len(script.pieces) for script in scripts)):
            for connection, script in zip(connections, scripts, strict=True):
                if step < len(script.pieces):
                    with suppress(BrokenPipeError, ConnectionResetError):  # refused meanwhile: the answer says why
                        connection.sendall(script.pieces[step])
                if step == len(script.pieces) - 1 and script.cut:
                    connection.close()
        return [
            [] if script.cut else _answers(connection, script.cases)
            for connection, script in zip(connections, scripts, strict=True)
        ]


def _answers(connection: socket.socket, cases: Sequence[Case]) -> list[Answer]:
    found = []
    with connection.makefile("rb") as stream:
        for case in cases:
            try:
                line = stream.readline()
                if not line:
                    break
                headers: dict[str, str] = {}
                for raw in iter(stream.readline, b"\r\n"):
                    name, _, text = raw.decode("latin-1").partition(":")
                    headers[name.strip().lower()] = text.strip()
                bare = case.method == "HEAD" or int(line.split()[1]) in {204, 304}
                body = b"" if bare else stream.read(int(headers.get("content-length", 0)))
            except ConnectionResetError:
                break
            found.append(Answer(int(line.split()[1]), headers, body))
    return found
