"""Bodies of Litestar's handlers: decoded in msgspec's words, or documented only and left to a wire."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from litestar.dto import MsgspecDTO
from litestar.exceptions import InternalServerException
from litestar.openapi.spec import OpenAPIMediaType, Operation, Schema
from litestar.typing import FieldDefinition

from gateway.errors import BadRequest, GatewayError, UnsupportedMediaType
from gateway.express import EXPRESS
from gateway.inflate import inflate
from gateway.reply import Reply

if TYPE_CHECKING:
    from litestar import Request
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.openapi.spec import Reference

    from gateway.express import ExpressRoute
    from gateway.wires import Headers
__all__ = ["EMPTY", "JSON", "JsonBody", "answer_by", "decode_body", "marked", "media_type"]

T = TypeVar("T", bound=msgspec.Struct)
JSON = "application/json"
EMPTY = "hotgate_empty"
"""Key in a handler's `opt` for what is wrong with an empty body, where nothing but the body can be."""
_LONG_BODY = 16_384
"""Bytes of a compressed body from which on it is inflated on a thread."""
EMPTY_BODY = 'the body is empty: send JSON such as {"features": [...]}'


def media_type(headers: Headers) -> str:
    """The content type in lower case, without its parameters."""
    return (headers.get("content-type") or "").partition(";")[0].strip().lower()


def decode_body(decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T], body: bytes) -> T:
    """Decode a body; msgspec's own words, with the path of the bad value, are the client's error.

    Raises:
        BadRequest: the body is empty, malformed, or not of the type.
    """
    if not body:
        raise BadRequest(EMPTY_BODY)
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(str(error)) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


class JsonBody(MsgspecDTO[T], Generic[T]):
    """Has Litestar decode a handler's body as the lane would."""

    decoder: msgspec.json.Decoder[Any]

    def decode_bytes(self, value: bytes) -> Any:
        """Decode a body that came over the bridge, which is where its headers may be anything."""
        headers = self.asgi_connection.headers
        coding = headers.get("content-encoding", "identity")
        if coding != "identity":
            raise UnsupportedMediaType(f"Content-Encoding {coding!r} is not supported: send the body as it is")
        if media_type(headers) != JSON:
            raise UnsupportedMediaType(f"Content-Type must be {JSON}, not {headers.get('content-type', '')!r}")
        return decode_body(self.decoder, value)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """The body's own type, as Litestar documents it without a DTO."""
        del handler_id
        return schema_creator.for_field_definition(field_definition)


class _Documented(MsgspecDTO[T], Generic[T]):
    """Says what a body is of which Litestar decodes nothing."""

    kind: Any

    def decode_bytes(self, value: bytes) -> None:
        """Leave the body to the wire."""

    @classmethod
    def create_for_field_definition(cls, *_: Any, **__: Any) -> None:
        """Make nothing to decode with."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """The type that was named."""
        del field_definition, handler_id
        return schema_creator.for_field_definition(FieldDefinition.from_annotation(cls.kind))


def documented(kind: Any) -> type[_Documented[Any]]:
    """A DTO for OpenAPI: the handler reads the body itself, and has `data` with None for a default."""
    return type(f"Documented{getattr(kind, '__name__', 'Body')}", (_Documented,), {"kind": kind})


def marked(
    route: ExpressRoute, kind: Any, *, alike: tuple[str, ...] = (), binary: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a handler on the express lane is decorated with, besides its own words.

    The handler takes `request` and returns `await answer_by(route, request)`; `data`, with None for a default, and
    headers among its parameters are for OpenAPI only.

    Args:
        route: what answers.
        kind: the type of a JSON body, for OpenAPI.
        alike: media types of which a body, and an answer, is as in JSON.
        binary: media types of which they are bytes.
    """

    @dataclasses.dataclass
    class Documenting(Operation):
        def __post_init__(self) -> None:
            for one in (self.request_body, (self.responses or {}).get("200")):
                content = getattr(one, "content", None) or {}
                if JSON in content:
                    content.update(dict.fromkeys(alike, content[JSON]))
                    schema = Schema(content_media_type="application/octet-stream")
                    content.update({name: OpenAPIMediaType(schema=schema) for name in binary})

    return {
        "path": route.path,
        "status_code": 200,
        "dto": documented(kind),
        "return_dto": None,
        "opt": {EXPRESS: route},
        "operation_class": Documenting,
        "raises": [],
    }


async def answer_by(route: ExpressRoute, request: Request[Any, Any, Any]) -> Reply[Any]:
    """Answer what came over the bridge, where headers may be anything, as the lane answers what is plain."""
    headers = request.headers
    try:
        body = await _inflated(headers.get("content-encoding"), await request.body(), request.route_handler)
    except GatewayError as error:
        return Reply(*route.failed(error, headers))
    except InternalServerException:  # so Litestar says that the client has gone, which is no defect
        return Reply(*route.failed(BadRequest("the body is cut off"), headers))
    parameters = tuple(map(str, request.path_params.values()))
    return Reply(*await route.answer(parameters, headers, body))


async def _inflated(coding: str | None, body: bytes, handler: Any) -> bytes:
    limit = handler.resolve_request_max_body_size()
    if coding is None or len(body) < _LONG_BODY:
        return inflate(coding, body, limit)
    # It takes milliseconds, which the loop has not; zlib runs without the interpreter's lock.
    return await asyncio.to_thread(inflate, coding, body, limit)
