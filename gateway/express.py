"""The express lane: a marked Litestar handler, compiled so that a request reaches it without Litestar in between.

The handler stays an ordinary typed handler; what the lane needs is read off its signature once, at start: the body's
msgspec type, the path parameter, the headers it asks for. A lane takes a request only if method, path and content type
match and nothing unusual is asked; all else goes over the bridge to the same handler through Litestar, so that rare
HTTP has one implementation.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from litestar.dto import MsgspecDTO
from litestar.exceptions import ImproperlyConfiguredException
from litestar.params import HeaderParameter
from litestar.utils.empty import value_or_default

from gateway.errors import BadRequest, GatewayError, Internal, UnsupportedMediaType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.handlers import HTTPRouteHandler
    from litestar.openapi.spec import Reference, Schema
    from litestar.typing import FieldDefinition

    from gateway.admission import Admission
    from gateway.reply import Reply

__all__ = ["EXPRESS", "ExpressBody", "ExpressRoute", "ExpressTable", "decode_body"]

_log = logging.getLogger("hotgate.express")

EXPRESS = "hotgate_express"
"""Key in a handler's `opt` that marks it for the lane."""

T = TypeVar("T", bound=msgspec.Struct)
_JSON = "application/json"
# A request that carries one of these asks for something rare: Litestar answers it.
UNUSUAL = ("content-encoding", "expect", "origin", "transfer-encoding")
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


class ExpressRoute:
    """One marked handler: decodes, calls, and turns what goes wrong into the answer that Litestar would give."""

    def __init__(self, path: str, handler: HTTPRouteHandler, admission: Admission) -> None:
        function = handler.fn
        hints = get_type_hints(function, include_extras=True)
        self.path = path
        self._function: Callable[..., Awaitable[Reply[Any]]] = function
        self._admission = admission
        self._decoder = msgspec.json.Decoder(hints["data"])
        self._headers = _header_parameters(hints)
        self._parameter = _path_parameter(path)
        expected = {"data", "return", *self._headers, *([self._parameter] if self._parameter else [])}
        if unknown := set(inspect.signature(function).parameters) - expected:
            raise ImproperlyConfiguredException(f"{path}: the express lane cannot give parameter {sorted(unknown)}")

    async def answer(self, parameter: str | None, header: Callable[[str], str | None], body: bytes) -> Reply[Any]:
        """Answer one request; never raises.

        Args:
            parameter: the path parameter's value, if the route has one.
            header: looks a header up by lower-case name.
            body: the whole body.
        """
        arguments = {name: header(key) for name, key in self._headers.items()}
        if self._parameter is not None:
            arguments[self._parameter] = parameter
        try:
            return await self._function(data=decode_body(self._decoder, body), **arguments)
        except GatewayError as error:
            return self._admission.refuse(error, header("x-request-id"))
        except Exception:  # noqa: BLE001 - the root of a request: logged here, and nothing of it is shown
            _log.exception("%s failed", self.path)
            return self._admission.refuse(Internal("internal error"), header("x-request-id"))


class ExpressTable:
    """The compiled routes, looked up by path."""

    def __init__(self, handlers: list[tuple[str, HTTPRouteHandler]], admission: Admission) -> None:
        self._exact: dict[str, ExpressRoute] = {}
        self._prefixes: list[tuple[str, ExpressRoute]] = []
        for path, handler in handlers:
            _refuse_layers(path, handler)
            route = ExpressRoute(path, handler, admission)
            if "{" in path:
                self._prefixes.append((path[: path.index("{")], route))
            else:
                self._exact[path] = route

    def find(self, path: str) -> tuple[ExpressRoute, str | None] | None:
        """The route for a path and its parameter; `None` for what is not on the lane."""
        route = self._exact.get(path)
        if route is not None:
            return route, None
        for prefix, candidate in self._prefixes:
            if path.startswith(prefix):
                parameter = path[len(prefix) :]
                if parameter and "/" not in parameter:
                    return candidate, parameter
        return None


def takes(header: Callable[[str], str | None], max_body_bytes: int) -> bool:
    """Whether the lane takes a POST with these headers: plain JSON of a stated, allowed length."""
    if header("content-type") != _JSON:
        return False
    length = header("content-length")
    if length is None or not (length.isascii() and length.isdigit()) or int(length) > max_body_bytes:
        return False
    return all(header(name) is None for name in UNUSUAL)


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
