"""RSGI to ASGI, for everything that is not on the express lane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["bridge"]


async def bridge(app: Callable[..., Awaitable[None]], scope: Any, protocol: Any) -> None:
    """Answer one RSGI request by an ASGI application.

    The request body is handed over in the chunks in which it comes; an answer that is whole in its first part goes out
    in one piece, any other is streamed.
    """
    exchange = _Exchange(protocol, scope.headers.get("content-length"))
    await app(_asgi_scope(scope), exchange.receive, exchange.send)
    exchange.close()


def _asgi_scope(scope: Any) -> dict[str, Any]:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in scope.headers.items()]
    if scope.authority and not any(name == b"host" for name, _ in headers):
        headers.insert(0, (b"host", scope.authority.encode("latin-1")))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": scope.path.encode("utf-8"),
        "query_string": scope.query_string.encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "server": _address(scope.server),
        "client": _address(scope.client),
        "state": {},
        "extensions": {},
    }


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None


class _Exchange:
    """The two ASGI callables of one request, and what has been sent so far."""

    def __init__(self, protocol: Any, stated: str | None) -> None:
        self._protocol = protocol
        self._missing = int(stated) if stated is not None and stated.isdecimal() else 0
        self._chunks: Any = None
        self._body_read = False
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._stream: Any = None
        self._answered = False

    async def receive(self) -> dict[str, Any]:
        if self._body_read:
            # The body is all there was: the next event of an HTTP/1 request is that its client has gone.
            await self._protocol.client_disconnect()
            return {"type": "http.disconnect"}
        if self._chunks is None:
            self._chunks = aiter(self._protocol)
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._body_read = True
            if self._missing > 0:  # granian ends a body alike whether it is whole or its client has gone
                return {"type": "http.disconnect"}
            chunk = b""
        self._missing -= len(chunk)
        return {"type": "http.request", "body": bytes(chunk), "more_body": not self._body_read}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._stream is not None:
            await self._stream.send_bytes(body)
        elif more:
            self._stream = self._protocol.response_stream(self._status, self._headers)
            self._answered = True
            await self._stream.send_bytes(body)
        else:
            self._protocol.response_bytes(self._status, self._headers, body)
            self._answered = True

    def close(self) -> None:
        """An application that answered nothing is a defect; the client hears of it all the same."""
        if not self._answered:
            self._protocol.response_empty(500, [])
