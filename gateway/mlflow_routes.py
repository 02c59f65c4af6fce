"""The routes of MLflow's scoring server: `/invocations`, `/ping`, `/version`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from litestar import Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, RequestBody, Schema
from litestar.params import FromPath, JSONBody  # noqa: TC002 - Litestar reads annotations at run time

from gateway.bodies import answer_by, marked
from gateway.express import ExpressRoute
from gateway.invocations import CSV
from gateway.mlflow_wire import PROTOCOL_VERSION, MlflowError, MlflowPredictions, MlflowWire
from gateway.plain_rows import MlflowRequest
from gateway.reply import JSON_HEADER, Reply
from gateway.routes import STAMPS, Deadline, RequestId

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from gateway.worker import Worker

__all__ = ["mlflow_probes", "mlflow_routes"]

_ERRORS = {
    400: ResponseSpec(MlflowError, description="The body is none of MLflow's shapes, or does not fit the model."),
    404: ResponseSpec(MlflowError, description="No such model."),
    413: ResponseSpec(MlflowError, description="The body is too large, or has too many rows."),
    415: ResponseSpec(str, description="Neither JSON nor CSV, or not in UTF-8.", media_type="text/plain"),
    422: ResponseSpec(MlflowError, description="The model has no finite answer for these values."),
    503: ResponseSpec(
        MlflowError, description="Overloaded, not to be had by the deadline, or not loaded yet; Retry-After says more."
    ),
    504: ResponseSpec(MlflowError, description="The deadline passed before the model could run."),
}


def mlflow_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """Those that score, and are on the express lane."""
    wire = MlflowWire(worker.models, worker.admission)
    one = ExpressRoute("/invocations", wire, worker.admission)
    named = ExpressRoute("/invocations/{model:str}", wire, worker.admission)
    common: dict[str, Any] = {"responses": _ERRORS, "response_headers": STAMPS, "tags": ["mlflow"]}

    @post(**_marked(one), **common)
    async def invocations(
        request: Request[Any, Any, Any],
        data: JSONBody[MlflowRequest | None] = None,
        request_id: RequestId = None,
        deadline: Deadline = None,
    ) -> Reply[MlflowPredictions]:
        """Score rows by the default model, as MLflow's scoring server does."""
        del data, request_id, deadline
        return await answer_by(one, request)

    @post(**_marked(named), **common)
    async def invocations_by(
        request: Request[Any, Any, Any],
        model: FromPath[str],
        data: JSONBody[MlflowRequest | None] = None,
        request_id: RequestId = None,
        deadline: Deadline = None,
    ) -> Reply[MlflowPredictions]:
        """Score rows by the named model."""
        del model, data, request_id, deadline
        return await answer_by(named, request)

    return [invocations, invocations_by]


def mlflow_probes(worker: Worker) -> list[HTTPRouteHandler]:
    """What MLflow's clients ask before they score."""

    @get("/ping", tags=["mlflow"], sync_to_thread=False)
    def ping() -> Reply[None]:
        """200 if every wanted model is loaded and warm in this worker, else 503."""
        return Reply(200 if worker.ready else 503, [JSON_HEADER], b"\n")

    @get("/version", tags=["mlflow"], sync_to_thread=False)
    def version() -> Reply[str]:
        """The version of MLflow whose scoring protocol is spoken."""
        return Reply(200, [JSON_HEADER], PROTOCOL_VERSION.encode())

    return [ping, version]


def _marked(route: ExpressRoute) -> dict[str, Any]:
    """A body of JSON, or CSV, which OpenAPI can call no more than a string."""
    made = marked(route, MlflowRequest)
    operation: Any = made["operation_class"]

    @dataclasses.dataclass
    class Documenting(operation):  # type: ignore[misc] # made for each route, so no type is known
        def __post_init__(self) -> None:
            super().__post_init__()
            if isinstance(self.request_body, RequestBody):
                text = Schema(type=OpenAPIType.STRING, description="A header of the columns' names, and a line a row.")
                self.request_body.content[CSV] = OpenAPIMediaType(schema=text)

    return {**made, "operation_class": Documenting}
