"""granian as the gateway sees it, without sockets: what is asked for comes when it is delivered, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FakeGranian", "FakeRequest"]


class FakeGranian:
    """Stands for the event loop, on whose behalf granian calls back, and for granian's queue."""

    def __init__(self) -> None:
        self.pending: list[_Body] = []
        self.call_soon_threadsafe: Callable[..., Any] = self._wake

    def deliver(self) -> None:
        """Let everything come that was asked for, and what is asked for meanwhile."""
        call, pending = self.call_soon_threadsafe, self.pending
        for body in pending:  # grows while it is gone through
            call(body.callback, body, context=None)
        pending.clear()

    def _wake(self, *_: object, **__: object) -> None:
        raise AssertionError("the direct lane left a request to the event loop")


class FakeRequest:
    """A watcher with its scope and protocol in one; the head is granian's, the headers are a dict."""

    method = "POST"
    path = "/predict"

    def __init__(self, server: FakeGranian, headers: dict[str, str], body: bytes) -> None:
        self.headers = headers
        self.scope = self.proto = self
        self.status = 0
        self.payload = b""
        self._server = server
        self._pieces = [b"", body]

    def __aiter__(self) -> FakeRequest:
        return self

    def __anext__(self) -> _Body:
        if not self._pieces:
            raise StopAsyncIteration
        return _Body(self._server, self._pieces.pop())

    def response_bytes(self, status: int, _fields: list[tuple[str, str]], payload: bytes) -> None:
        """Take the answer."""
        self.status, self.payload = status, payload


class _Body:
    __slots__ = ("_piece", "_server", "callback")

    def __init__(self, server: FakeGranian, piece: bytes) -> None:
        self._server = server
        self._piece = piece

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        self.callback = callback
        self._server.pending.append(self)

    def result(self) -> bytes:
        return self._piece
