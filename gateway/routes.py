"""The routes of the native protocol, as ordinary typed Litestar handlers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from gateway.admission import DEADLINE, REQUEST_ID
from gateway.bodies import answer_by, marked
from gateway.course import Course, Courses
from gateway.errors import BadRequest, Problem
from gateway.express import ExpressRoute
from gateway.feedback import feedback_route
from gateway.histogram import Histogram, histogram_past, histogram_serving
from gateway.native import NativeWire
from gateway.performance import Performances, read_performances, select
from gateway.reply import JSON_HEADER, Reply
from gateway.schemas import (
    Health,
    OutcomePrediction,
    OutcomePredictions,
    Readiness,
    TableRequest,
)
from gateway.scoring import MSGPACK_TYPE, OCTETS_TYPE
from gateway.verdicts import (
    HORIZON_MAX_S,
    HORIZON_MIN_S,
    UNTIL_MAX,
    DriftReport,
    checked_horizon,
    checked_until,
    judge_past,
    judge_serving,
)

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from gateway.worker import Worker

__all__ = ["STAMPS", "Deadline", "RequestId", "plain_routes", "scoring_routes"]

RequestId = Annotated[
    str | None,
    HeaderParameter(
        name="X-Request-Id",
        description="1 to 128 of [A-Za-z0-9._:-]; made if absent, echoed in any case.",
        schema_extra={"pattern": f"^{REQUEST_ID.pattern}$"},
    ),
]

Deadline = Annotated[
    str | None,
    HeaderParameter(
        name="X-Deadline-Ms",
        description="Milliseconds from the head within which an answer is wanted, above 0.",
        schema_extra={"pattern": f"^(?![0.]+$){DEADLINE.pattern}$"},
    ),
]

Horizon = Annotated[
    float | None,
    QueryParameter(
        description="Seconds that are looked at.", schema_extra={"minimum": HORIZON_MIN_S, "maximum": HORIZON_MAX_S}
    ),
]

Until = Annotated[
    float | None,
    QueryParameter(
        description="Unix time at which they end; now if absent.", schema_extra={"minimum": 0, "maximum": UNTIL_MAX}
    ),
]

Shape = Annotated[
    str | None,
    HeaderParameter(name="X-Shape", description="Of a body of float32 values: `rows,columns`; checked if it is there."),
]

Scored = OutcomePrediction | OutcomePredictions
"""What is documented: that of classifiers with probabilities, `Prediction` and `Predictions`, is a part of it."""

_PROBLEMS = {
    400: ResponseSpec(Problem, description="The body or a header is wrong; the detail names the path of the value."),
    404: ResponseSpec(Problem, description="No such model."),
    413: ResponseSpec(Problem, description="The body is too large, or has too many rows."),
    415: ResponseSpec(Problem, description="The body is of another type, or compressed by another coding."),
    422: ResponseSpec(Problem, description="The model has no finite answer for these values."),
    503: ResponseSpec(
        Problem, description="Overloaded, not to be had by the deadline, or not loaded yet; Retry-After says more."
    ),
    504: ResponseSpec(Problem, description="The deadline passed before the model could run."),
}
_ASKED: dict[str, Any] = {
    "responses": {
        400: ResponseSpec(Problem, description="A parameter is missing, or out of its range."),
        404: ResponseSpec(Problem, description="No such model, version or feature was here."),
        503: ResponseSpec(Problem, description="The model is not loaded yet; Retry-After says more."),
    },
    "raises": [],
    "tags": ["monitoring"],
}
STAMPS = [
    ResponseHeader(name=name, description=text, documentation_only=True)
    for name, text in (
        ("X-Request-Id", "The caller's id, or the one made for it."),
        ("X-Model-Name", "The model that answered."),
        ("X-Model-Version", "Its version in the registry."),
        ("X-Model-Sha256", "SHA-256 of its file."),
        ("X-Shape", "Of an answer in float32 values: `rows,columns`."),
    )
]


def scoring_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """The routes that are on the express lane."""
    wire = NativeWire(worker.models, worker.admission)
    one = ExpressRoute("/predict", wire, worker.admission)
    named = ExpressRoute("/predict/{model:str}", wire, worker.admission)
    common: dict[str, Any] = {"responses": _PROBLEMS, "response_headers": STAMPS, "tags": ["scoring"]}

    forms: dict[str, Any] = {"alike": (MSGPACK_TYPE,), "binary": (OCTETS_TYPE,)}

    @post(**marked(one, TableRequest, **forms), **common)
    async def predict(
        request: Request[Any, Any, Any],
        data: JSONBody[TableRequest | None] = None,
        request_id: RequestId = None,
        deadline: Deadline = None,
        shape: Shape = None,
    ) -> Reply[Scored]:
        """Score one row (`features`) or many (`instances`) by the default model."""
        del data, request_id, deadline, shape
        return await answer_by(one, request)

    @post(**marked(named, TableRequest, **forms), **common)
    async def predict_by(
        request: Request[Any, Any, Any],
        model: FromPath[str],
        data: JSONBody[TableRequest | None] = None,
        request_id: RequestId = None,
        deadline: Deadline = None,
        shape: Shape = None,
    ) -> Reply[Scored]:
        """Score one row or many by the named model."""
        del model, data, request_id, deadline, shape
        return await answer_by(named, request)

    return [predict, predict_by]


def plain_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """Health, readiness, metrics, drift, performance and feedback."""
    encode = msgspec.json.Encoder().encode
    courses = Courses(worker.monitor.folder)

    @get("/health", tags=["operations"], sync_to_thread=False)
    def health() -> Reply[Health]:
        """This worker's models, and what the sidecar said of the registry."""
        return Reply(200, [JSON_HEADER], encode(worker.health()))

    @get("/livez", tags=["operations"], sync_to_thread=False)
    def livez() -> Reply[dict[str, str]]:
        """200 while the process can answer at all."""
        return Reply(200, [JSON_HEADER], b'{"status":"ok"}')

    waiting = {503: ResponseSpec(Readiness, description="One is missing, or the worker is draining.")}

    @get("/readyz", tags=["operations"], responses=waiting, sync_to_thread=False)
    def readyz() -> Reply[Readiness]:
        """200 if every wanted model is loaded and warm in this worker, else 503."""
        found = Readiness(status=worker.status, missing=worker.models.missing)
        return Reply(200 if worker.ready else 503, [JSON_HEADER], encode(found))

    @get("/metrics", tags=["operations"], media_type="text/plain")
    async def metrics() -> Reply[str]:
        """Prometheus metrics, summed over all workers."""
        content_type = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
        return Reply(200, [content_type], await worker.render_metrics())

    @get("/monitor/drift", **_ASKED)
    async def drift(
        model: FromQuery[str | None] = None,
        version: FromQuery[str | None] = None,
        horizon_s: Horizon = None,
    ) -> Reply[list[DriftReport]]:
        """PSI and KS of every feature and of the score against the training data, over all workers.

        For each model that serves, or for one of them; for a `version` of it that served before; over the newest rows,
        or over all of the last `horizon_s` seconds.
        """
        return Reply(200, [JSON_HEADER], encode(await _reports(worker, model, version, horizon_s)))

    @get("/monitor/histogram", **_ASKED)
    async def histogram(
        model: FromQuery[str],
        feature: FromQuery[str],
        version: FromQuery[str | None] = None,
        horizon_s: Horizon = None,
        until: Until = None,
    ) -> Reply[Histogram]:
        """One feature, or `score`: shares of the training data beside those of the window, and the verdict.

        Over the window of `/monitor/drift`, or over the `horizon_s` seconds before `until` (Unix time; now).
        """
        found = await _histogram(worker, model, version, feature, horizon_s=horizon_s, until=until)
        return Reply(200, [JSON_HEADER], encode(found))

    @get("/monitor/course", **_ASKED)
    async def course(
        model: FromQuery[str], version: FromQuery[str | None] = None, horizon_s: Horizon = 3600.0
    ) -> Reply[Course]:
        """PSI and severity of every feature, step by step over the last `horizon_s` seconds; and the model's versions.

        Of one `version`, or of all that have the same columns as the newest one: each step of the one with most rows.
        """
        horizon_s = checked_horizon(3600.0 if horizon_s is None else horizon_s)
        found = await asyncio.to_thread(courses.course_of, model, version, horizon_s, time.time())
        return Reply(200, [JSON_HEADER], encode(found))

    @get("/monitor/performance", **_ASKED)
    async def performance(
        model: FromQuery[str | None] = None, version: FromQuery[str | None] = None
    ) -> Reply[Performances]:
        """Accuracy, ROC AUC, losses and calibration by the labels that have come, and estimates before they come.

        For all versions with labels or predictions in the last seven days, or for those of one model.
        """
        found = await asyncio.to_thread(read_performances, worker.monitor.folder.parent)
        return Reply(200, [JSON_HEADER], encode(select(found, model, version, worker.models.slots)))

    return [health, livez, readyz, metrics, drift, histogram, course, performance, feedback_route(worker.feedback)]


async def _histogram(
    worker: Worker, model: str, version: str | None, feature: str, *, horizon_s: float | None, until: float | None
) -> Histogram:
    if horizon_s is not None:
        horizon_s = checked_horizon(horizon_s)
    slot = worker.models.slots.get(model)
    serving = slot.current if slot is not None else None
    if serving is not None and version in {None, serving.version} and until is None:
        return await asyncio.to_thread(histogram_serving, serving, feature, horizon_s)
    horizon_s, until = horizon_s or HORIZON_MAX_S, time.time() if until is None else checked_until(until)
    root = worker.monitor.folder
    return await asyncio.to_thread(histogram_past, root, model, version, feature, horizon_s=horizon_s, until=until)


async def _reports(
    worker: Worker, model: str | None, version: str | None, horizon_s: float | None
) -> list[DriftReport]:
    """The verdicts that a caller asks for."""
    if horizon_s is not None:
        horizon_s = checked_horizon(horizon_s)
    serving = [slot.current for slot in worker.models.slots.values() if slot.current is not None]
    if model is not None and version is not None:
        serving = [found for found in serving if (found.name, found.version) == (model, version)]
        if not serving:
            root, horizon_s = worker.monitor.folder, horizon_s or HORIZON_MAX_S
            return [await asyncio.to_thread(judge_past, root, model, version, horizon_s, time.time())]
    elif model is not None:
        serving = [worker.models.find(model)]
    elif version is not None:
        raise BadRequest("version needs a model: /monitor/drift?model=NAME&version=2")
    # Judging takes milliseconds, which the loop has not.
    return [await asyncio.to_thread(judge_serving, found, horizon_s) for found in serving]
