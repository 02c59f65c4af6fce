"""The protocol's routes beside inference: health, metadata, configuration and counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath  # noqa: TC002 - Litestar reads the annotations

from gateway.reply import JSON_HEADER, Reply
from gateway.v2.describe import (
    ModelConfig,
    ModelMetadata,
    ServerMetadata,
    Stats,
    config_of,
    metadata_of,
    server_metadata,
    stats_of,
)
from gateway.v2.views import Views
from gateway.v2.wire import V2Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.handlers import HTTPRouteHandler

    from gateway.generation import Generation
    from gateway.v2.views import View
    from gateway.worker import Worker

__all__ = ["v2_plain_routes"]


class Live(msgspec.Struct, frozen=True):
    """Whether the process answers at all."""

    live: bool


class Ready(msgspec.Struct, frozen=True):
    """Whether a worker, or a model in it, can score."""

    ready: bool


_encode = msgspec.json.Encoder().encode
_NOT_READY = {400: ResponseSpec(Ready, description="Not ready.")}
_UNKNOWN = {
    404: ResponseSpec(V2Error, description="No such model, or another version of it serves."),
    503: ResponseSpec(V2Error, description="Not loaded yet; Retry-After says more."),
}
_MODEL = ("/v2/models/{model:str}", "/v2/models/{model:str}/versions/{version:str}")


def v2_plain_routes(worker: Worker) -> list[HTTPRouteHandler]:
    """All of them; each of a model with a version in its path or without."""
    views = Views(worker.models)
    told: dict[str, Any] = {"tags": ["v2"], "sync_to_thread": False}

    @get("/v2", **told)
    def server() -> Reply[ServerMetadata]:
        """The server's name, version and extensions of the protocol."""
        return _ok(server_metadata())

    @get("/v2/health/live", **told)
    def live() -> Reply[Live]:
        """200 while the process can answer at all."""
        return _ok(Live(live=True))

    @get("/v2/health/ready", responses=_NOT_READY, **told)
    def ready() -> Reply[Ready]:
        """200 if every wanted model is loaded and warm in this worker, else 400."""
        return Reply(200 if worker.ready else 400, [JSON_HEADER], _encode(Ready(ready=worker.ready)))

    return [server, live, ready, *_model_routes(views, told), *_stats_routes(worker, views)]


def _model_routes(views: Views, told: dict[str, Any]) -> list[HTTPRouteHandler]:
    def described(describe: Callable[[Generation, View], Any], model: str, version: str | None) -> Reply[Any]:
        generation = views.find(model, version)
        return _ok(describe(generation, views.of(generation)))

    @get(list(_MODEL), responses=_UNKNOWN, raises=[], **told)
    def metadata(model: FromPath[str], version: FromPath[str | None] = None) -> Reply[ModelMetadata]:
        """Inputs and outputs of the version that serves."""
        return described(metadata_of, model, version)

    @get([f"{path}/ready" for path in _MODEL], responses=_UNKNOWN, raises=[], **told)
    def model_ready(model: FromPath[str], version: FromPath[str | None] = None) -> Reply[Ready]:
        """200 if the model, in that version if one is named, serves in this worker."""
        views.find(model, version)
        return _ok(Ready(ready=True))

    @get([f"{path}/config" for path in _MODEL], responses=_UNKNOWN, raises=[], **told)
    def config(model: FromPath[str], version: FromPath[str | None] = None) -> Reply[ModelConfig]:
        """The part of Triton's model configuration that has a meaning here."""
        return described(config_of, model, version)

    return [metadata, model_ready, config]


def _stats_routes(worker: Worker, views: Views) -> list[HTTPRouteHandler]:
    async def counted(generations: list[Generation]) -> Reply[Stats]:
        worker.carry()
        # All workers' files are read.
        return _ok(await asyncio.to_thread(lambda: stats_of(generations, worker.metrics.versions.collect())))

    @get("/v2/models/stats", tags=["v2"])
    async def all_stats() -> Reply[Stats]:
        """Rows, runs and times of every version that serves, over all workers."""
        serving = [slot.current for slot in worker.models.slots.values() if slot.current is not None]
        return await counted(serving)

    @get([f"{path}/stats" for path in _MODEL], responses=_UNKNOWN, raises=[], tags=["v2"])
    async def stats(model: FromPath[str], version: FromPath[str | None] = None) -> Reply[Stats]:
        """The same of one model."""
        return await counted([views.find(model, version)])

    return [all_stats, stats]


def _ok(found: msgspec.Struct) -> Reply[Any]:
    return Reply(200, [JSON_HEADER], _encode(found))
