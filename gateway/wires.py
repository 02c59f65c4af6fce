"""What the express lane asks of a protocol, and what a protocol is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.tickets import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import GatewayError
    from gateway.reply import Answer
    from gateway.tickets import Scores

__all__ = ["Arriving", "Headers", "Wire"]


class Headers(Protocol):
    """A request's headers by lower-case name: granian's own, Litestar's, or a dict."""

    def get(self, name: str, /) -> str | None:
        """The first value."""

    def __contains__(self, name: str, /) -> bool:
        """Whether there is one."""


class Arriving(Request, Protocol):
    """A request before its rows are queued: whoever queues them says first how they are answered, and by when."""

    @property
    def arrived(self) -> float:
        """When the request's head came, by the batcher's clock."""

    deadline: float
    finish: Callable[[Scores], Answer]
    """Makes the answer of the scores."""


class Wire(Protocol):
    """One protocol of scoring routes: how its requests are read, and how its errors are worded."""

    @property
    def media_types(self) -> frozenset[str] | None:
        """Content types, exactly as written, that a lane takes; None: any, and none at all. The rest takes the bridge.

        Over the bridge `begin` is given whatever was sent, so it is the one that refuses a content type.
        """

    @property
    def under(self) -> tuple[str, ...]:
        """Paths that, with all below them, are this protocol's: errors there that are no route's are worded by it."""

    def begin(self, member: Arriving, parameters: tuple[str, ...], headers: Headers, body: bytes) -> None:
        """Decode a request and queue its rows.

        Args:
            member: is told how to answer, and then what.
            parameters: the values of the path's parameters, in their order.
            headers: by lower-case name.
            body: the whole body, inflated.

        Raises:
            GatewayError: refused; any other exception is a defect.
        """

    def refuse(self, error: GatewayError, headers: Headers) -> Answer:
        """Count an error (`Admission.count`), and answer it in the protocol's words."""
