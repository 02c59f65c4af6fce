"""An answer as bytes: a tuple on the lanes, a response to Litestar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from litestar.response import Response
from litestar.response.base import ASGIResponse

if TYPE_CHECKING:
    from litestar import Litestar, Request

__all__ = ["CLOSE", "JSON_HEADER", "Answer", "Reply"]

T = TypeVar("T")

Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and encoded body: what a lane hands to its server, which may add to the headers."""

CLOSE = ("connection", "close")
JSON_HEADER = ("content-type", "application/json")


class Reply(Response[T]):
    """Status, headers and encoded body; `T` is what the body decodes to, for OpenAPI.

    Of Litestar's own machinery nothing is used but the sending.
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
