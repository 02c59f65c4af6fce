"""The express lane: a marked Litestar handler, compiled so that a request reaches it without Litestar in between.

The handler stays an ordinary typed handler; what the lane needs is read off it once, at start: from its signature the
body's msgspec type, the path parameter and the headers, from its mark the function that it calls. A lane takes a
request only if method, path and content type match and nothing unusual is asked; all else goes over the bridge to the
same handler through Litestar, so that rare HTTP has one implementation.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from litestar.dto import MsgspecDTO
from litestar.exceptions import ImproperlyConfiguredException
from litestar.params import HeaderParameter
from litestar.utils.empty import value_or_default

from gateway.errors import BadRequest, GatewayError, Internal, UnsupportedMediaType
from gateway.tickets import Request, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.handlers import HTTPRouteHandler
    from litestar.openapi.spec import Reference, Schema
    from litestar.typing import FieldDefinition

    from gateway.admission import Admission
    from gateway.reply import Answer
    from gateway.tickets import Scores

__all__ = ["EMPTY", "EXPRESS", "Arriving", "ExpressBody", "ExpressRoute", "ExpressTable", "decode_body"]

_log = logging.getLogger("hotgate.express")

EXPRESS = "hotgate_express"
"""Key in a handler's `opt` that marks it for the lane, with the function that begins a request."""

T = TypeVar("T", bound=msgspec.Struct)
_JSON = "application/json"
EMPTY = "hotgate_empty"
"""Key in a handler's `opt` for what is wrong with an empty body, where nothing but the body can be."""
EMPTY_BODY = 'the body is empty: send JSON such as {"features": [...]}'


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body; msgspec's own words, with the path of the bad value, are the client's error.

    Raises:
        BadRequest: the body is empty, no JSON, or not of the type.
    """
    if not body:
        raise BadRequest(EMPTY_BODY)
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(str(error)) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


class ExpressBody(MsgspecDTO[T], Generic[T]):
    """Has Litestar decode a marked handler's body exactly as the lane does."""

    decoder: msgspec.json.Decoder[Any]

    @classmethod
    def of(cls, kind: type[T]) -> type[ExpressBody[T]]:
        """The DTO class for one body type."""
        return type(f"ExpressBody{kind.__name__}", (cls[kind],), {"decoder": msgspec.json.Decoder(kind)})  # type: ignore[index]  # mypy does not see that a DTO is subscripted at run time

    def decode_bytes(self, value: bytes) -> Any:
        """Decode a body that came over the bridge, which is where its headers may be anything."""
        headers = self.asgi_connection.headers
        coding = headers.get("content-encoding", "identity")
        if coding != "identity":
            raise UnsupportedMediaType(f"Content-Encoding {coding!r} is not supported: send the body as it is")
        media_type = headers.get("content-type", "")
        if media_type.partition(";")[0].strip().lower() != _JSON:
            raise UnsupportedMediaType(f"Content-Type must be {_JSON}, not {media_type!r}")
        return decode_body(self.decoder, value)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """The body's own type, as Litestar documents it without a DTO."""
        del handler_id
        return schema_creator.for_field_definition(field_definition)


class Headers(Protocol):
    """A request's headers by lower-case name: granian's own, or a dict."""

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
    """Makes the answer of the probabilities."""


class ExpressRoute:
    """One marked handler, without Litestar around it.

    What the handler does is in the function that marks it, which the handler calls as well: it queues the rows for a
    member. The handler's signature says what goes in: the type of the body, the path's parameter, the headers.
    """

    def __init__(self, path: str, handler: HTTPRouteHandler, admission: Admission) -> None:
        function: Any = handler.fn
        hints = get_type_hints(function, include_extras=True)
        self.path = path
        self._begin: Callable[..., None] = handler.opt[EXPRESS]
        self._admission = admission
        self._decoder = msgspec.json.Decoder(hints["data"])
        self._decode = self._decoder.decode
        headers = _header_parameters(hints)
        self._headers = tuple(headers.values())
        parameter = _path_parameter(path)
        known = {"data", *([parameter] if parameter else []), *headers}
        if unknown := set(inspect.signature(function).parameters) - known:
            raise ImproperlyConfiguredException(f"{path}: the express lane cannot give parameter {sorted(unknown)}")
        taken = list(inspect.signature(self._begin).parameters)[3:]
        if taken != list(headers):
            raise ImproperlyConfiguredException(f"{path}: its function takes {taken}, the handler has {list(headers)}")

    def begin(self, member: Arriving, parameter: str | None, headers: Headers, body: bytes) -> None:
        """Decode a request and queue its rows.

        Args:
            member: is told how to answer, and then what.
            parameter: the path parameter's value, if the route has one.
            headers: by lower-case name.
            body: the whole body.

        Raises:
            GatewayError: the body is not of the handler's type, or the function refuses.
        """
        try:
            data = self._decode(body)
        except Exception:  # noqa: BLE001 - decoded again for the client's words
            data = decode_body(self._decoder, body)
        self._begin(member, data, parameter, *map(headers.get, self._headers))

    def failed(self, error: BaseException, headers: Headers) -> Answer:
        """The answer for what went wrong; a defect is logged and nothing of it is shown."""
        if not isinstance(error, GatewayError):
            _log.error("%s failed", self.path, exc_info=error)
            error = Internal("internal error")
        return self._admission.refuse(error, headers.get("x-request-id"))

    async def answer(self, parameter: str | None, headers: Headers, body: bytes) -> Answer:
        """Answer one request on the event loop; never raises but for a caller who leaves."""
        ticket = Ticket(self._admission.arrival())
        try:
            self.begin(ticket, parameter, headers, body)
            return ticket.finish(await ticket)
        except Exception as error:  # noqa: BLE001 - the root of a request
            return self.failed(error, headers)


class ExpressTable:
    """The compiled routes, looked up by path."""

    def __init__(self, handlers: list[tuple[str, HTTPRouteHandler]], admission: Admission) -> None:
        self._exact: dict[str, tuple[ExpressRoute, None]] = {}
        self._prefixes: list[tuple[str, ExpressRoute]] = []
        for path, handler in handlers:
            _refuse_layers(path, handler)
            route = ExpressRoute(path, handler, admission)
            if "{" in path:
                self._prefixes.append((path[: path.index("{")], route))
            else:
                self._exact[path] = route, None

    def find(self, path: str) -> tuple[ExpressRoute, str | None] | None:
        """The route for a path and its parameter; `None` for what is not on the lane."""
        found = self._exact.get(path)
        if found is not None:
            return found
        for prefix, candidate in self._prefixes:
            if path.startswith(prefix):
                parameter = path[len(prefix) :]
                if parameter and "/" not in parameter:
                    return candidate, parameter
        return None


def takes(headers: Headers, max_body_bytes: int) -> int | None:
    """The body's length if a lane takes a POST with these headers: plain JSON of a stated, allowed length."""
    if headers.get("content-type") != _JSON:
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


def _header_parameters(hints: dict[str, Any]) -> dict[str, str]:
    """Parameter name → lower-case header, for every `Annotated[..., HeaderParameter(name=...)]`."""
    found = {}
    for name, hint in hints.items():
        if get_origin(hint) is Annotated:
            for note in get_args(hint)[1:]:
                if isinstance(note, HeaderParameter) and note.name:
                    found[name] = note.name.lower()
    return found


def _path_parameter(path: str) -> str | None:
    return path[path.index("{") + 1 : path.index(":")] if "{" in path else None


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
