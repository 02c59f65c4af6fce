"""An answer as bytes: what a scoring handler returns, on the express lane and to Litestar alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from litestar.response import Response
from litestar.response.base import ASGIResponse

if TYPE_CHECKING:
    from litestar import Litestar, Request

__all__ = ["JSON_HEADER", "Reply"]

T = TypeVar("T")

JSON_HEADER = ("content-type", "application/json")


class Reply(Response[T]):
    """Status, headers and encoded body; `T` is what the body decodes to, for OpenAPI.

    Making one costs three assignments, because the express lane makes one for every request and hands its parts to
    the server itself; Litestar's own machinery is only used when Litestar answers.
    """

    def __init__(self, status: int, headers: list[tuple[str, str]], payload: bytes) -> None:
        """Take the parts as they will be sent; the header list is the reply's own from now on."""
        self.status_code = status
        self.fields = headers
        self.payload = payload

    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **defaults: Any) -> ASGIResponse:
        """The same status, headers and body as an ASGI response; a finished reply needs none of Litestar's defaults."""
        del app, request, defaults
        return ASGIResponse(status_code=self.status_code or 200, headers=self.fields, body=self.payload)
