"""The protocol's model repository: an index, and `load` and `unload` for whoever has the administrator's token."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody

from gateway.bodies import documented
from gateway.errors import BadRequest, Refused
from gateway.openapi import OptionalBody
from gateway.reply import JSON_HEADER, Reply
from gateway.v2 import words
from gateway.v2.describe import Indexed, index_of
from gateway.v2.wire import V2Error

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from gateway.worker import Worker

__all__ = ["v2_repository_routes"]

Authorization = Annotated[
    str | None, HeaderParameter(name="Authorization", description="`Bearer`, and the `[gateway] admin_token`.")
]


class IndexRequest(msgspec.Struct, frozen=True):
    """What to list."""

    ready: bool = False
    """Only what serves."""


class LoadRequest(msgspec.Struct, frozen=True):
    """Parameters of Triton's, none of which there is here."""

    parameters: dict[str, Any] | None = None


_encode = msgspec.json.Encoder().encode
_index_request = msgspec.json.Decoder(IndexRequest)
_load_request = msgspec.json.Decoder(LoadRequest)
_MALFORMED = {400: ResponseSpec(V2Error, description="The body is malformed.")}
_ADMIN = {
    400: ResponseSpec(V2Error, description="It cannot be done; the error says why, and what can."),
    403: ResponseSpec(V2Error, description="Without the administrator's token."),
}


def v2_repository_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """Index, load and unload."""
    common: dict[str, Any] = {"status_code": 200, "raises": [], "tags": ["v2"]}
    token = worker.settings.admin_token

    indexing: dict[str, Any] = {
        "path": "/v2/repository/index",
        "dto": documented(IndexRequest),
        "return_dto": None,
        "operation_class": OptionalBody,
    }

    @post(**indexing, responses=_MALFORMED, **common)
    async def index(
        request: Request[Any, Any, Any], data: JSONBody[IndexRequest | None] = None
    ) -> Reply[list[Indexed]]:
        """Every model that the store names, in this worker; `{"ready": true}` lists only what serves."""
        del data
        asked = _read(_index_request, await request.body())
        return Reply(200, [JSON_HEADER], _encode(index_of(worker.models, ready=asked.ready)))

    loading: dict[str, Any] = {
        "path": "/v2/repository/models/{model:str}/load",
        "dto": documented(LoadRequest),
        "return_dto": None,
        "operation_class": OptionalBody,
    }

    @post(**loading, responses=_ADMIN, **common)
    async def load(
        request: Request[Any, Any, Any],
        model: FromPath[str],
        data: JSONBody[LoadRequest | None] = None,
        authorization: Authorization = None,
    ) -> Reply[None]:
        """Have this worker look at the store now, and try a version again that could not be loaded.

        The others do so by themselves, within `watch_interval_s`, or 2 s after a failure.
        """
        del data
        _admit(token, authorization)
        if _read(_load_request, await request.body()).parameters:
            raise BadRequest(words.load_parameters(model))
        await worker.look_now()
        slot = worker.models.slots.get(model)
        if slot is None:
            raise BadRequest(words.load_unknown(model))
        if slot.problem is not None:
            raise BadRequest(words.load_failed(model, slot.problem))
        return Reply(200, [], b"")

    @post("/v2/repository/models/{model:str}/unload", responses=_ADMIN, **common)
    async def unload(model: FromPath[str], authorization: Authorization = None) -> Reply[None]:
        """Refused: the store says what serves, in all workers; `hotgate unpublish` takes a model out of it."""
        _admit(token, authorization)
        raise BadRequest(words.unload(model))

    return [index, load, unload]


def _admit(token: str | None, authorization: str | None) -> None:
    """Let nobody pass without the token; none is set: nobody at all."""
    if token is None:
        raise Refused(403, words.no_token())
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Refused(403, words.wrong_token())


def _read(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(words.not_json(str(error))) from None
    except RecursionError:
        raise BadRequest(words.not_json("it is nested too deeply")) from None
