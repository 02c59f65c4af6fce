"""The express lane: a scoring route's wire, reached without Litestar in between.

A marked Litestar handler carries the route; Litestar documents it, and answers whatever is unusual by it. A lane takes
a request only if method, path and content type match and nothing unusual is asked; all else goes over the bridge and
through Litestar to the same wire, so that rare HTTP has one implementation.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from litestar.exceptions import ImproperlyConfiguredException
from litestar.utils.empty import value_or_default

from gateway.errors import GatewayError, Internal
from gateway.tickets import Ticket
from gateway.wires import Arriving, Headers

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from gateway.admission import Admission
    from gateway.reply import Answer
    from gateway.wires import Wire

    Found = tuple["ExpressRoute", tuple[str, ...]]

__all__ = ["EXPRESS", "Arriving", "ExpressRoute", "ExpressTable", "Headers", "takes"]

_log = logging.getLogger("hotgate.express")

EXPRESS = "hotgate_express"
"""Key in a handler's `opt` that marks it for the lane, with its `ExpressRoute`."""

_KNOWN_MAX = 1024
"""Paths with parameters that are remembered, so that looking them up again takes one dict."""
_KNOWN_LENGTH = 256


class ExpressRoute:
    """One scoring route: a path and the wire that it speaks."""

    def __init__(self, path: str, wire: Wire, admission: Admission) -> None:
        """Take the path as Litestar writes it, such as `/predict/{model:str}`."""
        self.path = path
        self.wire = wire
        self.media_types = wire.media_types
        self.begin = wire.begin
        self._admission = admission

    def failed(self, error: BaseException, headers: Headers) -> Answer:
        """The answer for what went wrong; a defect is logged and nothing of it is shown."""
        if not isinstance(error, GatewayError):
            _log.error("%s failed", self.path, exc_info=error)
            error = Internal("internal error")
        return self.wire.refuse(error, headers)

    async def answer(self, parameters: tuple[str, ...], headers: Headers, body: bytes) -> Answer:
        """Answer one request on the event loop; never raises but for a caller who leaves."""
        ticket = Ticket(self._admission.arrival())
        try:
            self.begin(ticket, parameters, headers, body)
            return ticket.finish(await ticket)
        except Exception as error:  # noqa: BLE001 - the root of a request
            return self.failed(error, headers)


class ExpressTable:
    """The routes of marked handlers, looked up by path."""

    def __init__(self, handlers: list[HTTPRouteHandler]) -> None:
        """Take the handlers as Litestar holds them."""
        self._exact: dict[str, Found] = {}
        self._patterns: list[tuple[str, re.Pattern[str], ExpressRoute]] = []
        for handler in handlers:
            route: ExpressRoute = handler.opt[EXPRESS]
            _refuse_layers(route.path, handler)
            start, brace, _ = route.path.partition("{")
            if brace:
                self._patterns.append((start, _pattern(route.path), route))
            else:
                self._exact[route.path] = route, ()
        self._room = len(self._exact) + _KNOWN_MAX

    def find(self, path: str) -> Found | None:
        """The route for a path, and the values of its parameters; `None` for what is not on the lane."""
        found = self._exact.get(path)
        if found is not None:
            return found
        for start, pattern, route in self._patterns:
            if path.startswith(start) and (match := pattern.fullmatch(path)):
                found = route, match.groups()
                if len(self._exact) < self._room and len(path) <= _KNOWN_LENGTH:
                    self._exact[path] = found
                return found
        return None


def takes(headers: Headers, media_types: frozenset[str] | None, max_body_bytes: int) -> int | None:
    """The body's length if a lane takes a POST with these headers: a plain body of a stated, allowed length."""
    if media_types is not None and headers.get("content-type") not in media_types:
        return None
    stated = headers.get("content-length")
    if (
        stated is None
        or not stated.isdecimal()
        or "content-encoding" in headers
        or "expect" in headers
        or "origin" in headers
        or "transfer-encoding" in headers
    ):
        return None
    length = int(stated)
    return length if length <= max_body_bytes else None


def _pattern(path: str) -> re.Pattern[str]:
    """A path template, with each parameter one whole segment."""
    parts = re.split(r"\{[^}]*\}", path)
    return re.compile("([^/]+)".join(map(re.escape, parts)))


def _refuse_layers(path: str, handler: HTTPRouteHandler) -> None:
    """What Litestar would run around the handler would be skipped by the lane, so it may not be there."""
    layers = {
        "guards": handler.resolve_guards(),
        "middleware": handler.resolve_middleware(),
        "dependencies": handler.resolve_dependencies(),
        "before_request": handler.resolve_before_request(),
        "after_request": [layer.after_request for layer in handler.ownership_layers if layer.after_request],
        "after_response": handler.resolve_after_response(),
    }
    for kind, found in layers.items():
        if value_or_default(found, None):
            raise ImproperlyConfiguredException(f"{path} is on the express lane and cannot have {kind}")
