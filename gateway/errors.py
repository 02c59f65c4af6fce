"""What a client can be told went wrong: one class a status, one shape (RFC 9457) for all lanes."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.reply import Answer


__all__ = [
    "BadRequest",
    "Expired",
    "GatewayError",
    "Internal",
    "NotFound",
    "NotReady",
    "Overloaded",
    "Problem",
    "Refused",
    "TooLarge",
    "Unanswerable",
    "UnsupportedMediaType",
    "problem",
]


class GatewayError(Exception):
    """Root of what is answered to a client; the text says what, which value and what to do."""

    status = 500
    retry_after_s: int | None = None


class Refused(GatewayError):  # noqa: N818 - as those below
    """What Litestar refuses by itself, known by its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class BadRequest(GatewayError):  # noqa: N818 - named as in RFC 9110, like those below
    """The request's content cannot be scored."""

    status = 400


class NotFound(GatewayError):  # noqa: N818
    """No such route or model."""

    status = 404


class TooLarge(GatewayError):  # noqa: N818
    """The body, or the number of rows, is over the limit."""

    status = 413


class UnsupportedMediaType(GatewayError):  # noqa: N818
    """The body is not JSON."""

    status = 415


class Unanswerable(GatewayError):  # noqa: N818
    """The model has no finite answer for these values."""

    status = 422


class Internal(GatewayError):  # noqa: N818
    """A defect here; nothing of it is shown."""


class Overloaded(GatewayError):  # noqa: N818
    """More waits than may."""

    status = 503
    retry_after_s = 1

    def __init__(self, text: str, full_s: float = 0.0) -> None:
        """Refuse; for `full_s` seconds there is no room for more of the same, so that it need not be looked at."""
        super().__init__(text)
        self.full_s = full_s


class Expired(GatewayError):  # noqa: N818
    """The caller's deadline passed before the model could run."""

    status = 504


class NotReady(GatewayError):  # noqa: N818
    """The model is known but not loaded yet."""

    status = 503
    retry_after_s = 1


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 problem details, as `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str


_encode = msgspec.json.Encoder().encode


def problem(status: int, detail: str, request_id: str, retry_after_s: int | None) -> Answer:
    """The answer for an error: the same bytes whatever lane it happened on."""
    headers = [("content-type", "application/problem+json"), ("x-request-id", request_id)]
    if retry_after_s is not None:
        headers.append(("retry-after", str(retry_after_s)))
    title = HTTPStatus(status).phrase
    return status, headers, _encode(Problem(title=title, status=status, detail=detail, request_id=request_id))
