"""The routes of the protocol, as ordinary typed Litestar handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, post
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody

from gateway.bodies import answer_by, marked
from gateway.express import ExpressRoute
from gateway.reply import Reply  # noqa: TC001 - Litestar reads the handlers' annotations
from gateway.routes import STAMPS, Deadline, RequestId
from gateway.v2.messages import InferAnswer, InferRequest
from gateway.v2.views import Views
from gateway.v2.wire import V2Error, V2Wire

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from gateway.worker import Worker

__all__ = ["v2_scoring_routes"]

HeaderLength = Annotated[
    str | None,
    HeaderParameter(
        name="Inference-Header-Content-Length",
        description="Bytes of JSON at the body's start, before the binary data of inputs; without it all is JSON.",
    ),
]
AcceptEncoding = Annotated[
    str | None,
    HeaderParameter(name="Accept-Encoding", description="`gzip` or `deflate` alone: the answer is so compressed."),
]

ERRORS = {
    400: ResponseSpec(V2Error, description="The body or a header is wrong; the error names field, input or value."),
    404: ResponseSpec(V2Error, description="No such model, or another version of it serves."),
    413: ResponseSpec(V2Error, description="The body is too large, or has too many rows."),
    415: ResponseSpec(V2Error, description="The body is compressed in a way that is not known."),
    422: ResponseSpec(V2Error, description="The model has no finite answer for these values."),
    503: ResponseSpec(
        V2Error, description="Overloaded, not to be had by the deadline, or not loaded yet; Retry-After says more."
    ),
    504: ResponseSpec(V2Error, description="The deadline passed before the model could run."),
}
_LENGTH = ResponseHeader(
    name="Inference-Header-Content-Length",
    description="Bytes of JSON before the binary data, if there are such.",
    documentation_only=True,
)


def v2_scoring_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """The routes that are on the express lane."""
    wire = V2Wire(Views(worker.models), worker.admission)
    plain = ExpressRoute("/v2/models/{model:str}/infer", wire, worker.admission)
    versioned = ExpressRoute("/v2/models/{model:str}/versions/{version:str}/infer", wire, worker.admission)
    common: dict[str, Any] = {"responses": ERRORS, "response_headers": [*STAMPS, _LENGTH], "tags": ["v2"]}
    binary = ("application/octet-stream",)

    @post(**marked(plain, InferRequest, binary=binary), **common)
    async def infer(
        request: Request[Any, Any, Any],
        model: FromPath[str],
        data: JSONBody[InferRequest | None] = None,
        request_id: RequestId = None,
        deadline: Deadline = None,
        header_length: HeaderLength = None,
        accept_encoding: AcceptEncoding = None,
    ) -> Reply[InferAnswer]:
        """Score the rows of one tensor, or of one tensor a column, as JSON or as bytes behind it."""
        del model, data, request_id, deadline, header_length, accept_encoding
        return await answer_by(plain, request)

    @post(**marked(versioned, InferRequest, binary=binary), **common)
    async def infer_version(
        request: Request[Any, Any, Any],
        model: FromPath[str],
        version: FromPath[str],
        data: JSONBody[InferRequest | None] = None,
        request_id: RequestId = None,
        deadline: Deadline = None,
        header_length: HeaderLength = None,
        accept_encoding: AcceptEncoding = None,
    ) -> Reply[InferAnswer]:
        """The same, refused if the version that serves is another."""
        del model, version, data, request_id, deadline, header_length, accept_encoding
        return await answer_by(versioned, request)

    return [infer, infer_version]
