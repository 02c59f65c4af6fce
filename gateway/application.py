"""The application: one set of typed handlers, an express lane over them, and a bridge for everything else."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian._granian import RSGIProtocolClosed
from litestar import Litestar
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.plugins.core import MsgspecDIPlugin

from gateway.bodies import EMPTY
from gateway.bridge import bridge
from gateway.direct import DirectLane
from gateway.errors import GatewayError, Internal, Refused
from gateway.express import EXPRESS, ExpressTable, takes
from gateway.garbage import calm_garbage_collection
from gateway.granian_hooks import HookError
from gateway.lifespan import LifespanTask
from gateway.mlflow_routes import mlflow_probes, mlflow_routes
from gateway.openapi import ClosedStructs, TrueJson
from gateway.page.routes import page_routes
from gateway.page.sampler import Sampler
from gateway.page.streams import Streams
from gateway.process import end_with_parent, listen_for_signals, schedule_as_batch, stop_accepting
from gateway.reply import CLOSE, Reply
from gateway.routes import plain_routes, scoring_routes
from gateway.started import tell_started
from gateway.turns import LoopTurns
from gateway.v2.plain import v2_plain_routes
from gateway.v2.repository import v2_repository_routes
from gateway.v2.routes import v2_scoring_routes
from gateway.worker import Worker

if TYPE_CHECKING:
    import asyncio

    from litestar.connection import Request
    from litestar.handlers import HTTPRouteHandler
    from litestar.plugins import PluginProtocol

    from gateway.reply import Answer
    from gateway.settings import WorkerConfig
    from gateway.turns import Turns
    from gateway.wires import Wire

__all__ = ["Gateway"]

_log = logging.getLogger("hotgate.gateway")


class Gateway(Litestar):
    """A Litestar application that answers marked routes itself, over RSGI and over ASGI."""

    def __init__(self, config: WorkerConfig) -> None:
        self.worker = Worker(config)
        marked = scoring_routes(self.worker) + v2_scoring_routes(self.worker) + mlflow_routes(self.worker)
        self._max_body = config.settings.max_body_bytes
        self._started_fd = config.started_fd
        self._streams = Streams(lambda: Sampler(self.worker, Path(config.store), Path(config.monitor)))
        super().__init__(
            marked
            + plain_routes(self.worker)
            + v2_plain_routes(self.worker)
            + v2_repository_routes(self.worker)
            + mlflow_probes(self.worker)
            + (page_routes(self._streams) if config.settings.page else []),
            lifespan=[lambda _app: self.worker.running(), lambda _app: self._streams.running()],
            exception_handlers={
                GatewayError: self._on_error,
                HTTPException: self._on_litestar_error,
                Exception: self._on_defect,
            },
            request_max_body_size=self._max_body,
            openapi_config=OpenAPIConfig(
                title="hotgate", version="1", path="/schema", render_plugins=[TrueJson(path=["/", "/openapi.json"])]
            ),
            logging_config=None,
        )
        self._lane = config.settings.lane
        self._express = ExpressTable(self._registered(marked) if self._lane != "off" else [])
        wires: list[Wire] = [handler.opt[EXPRESS].wire for handler in marked]
        self._native = wires[0]
        self._wires = _by_path(wires)
        self._life = LifespanTask(self.lifespan())

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Leave out those for pydantic and attrs, which Litestar else imports wherever they are installed."""
        return [*plugins, ClosedStructs(), MsgspecDIPlugin()]

    def _registered(self, marked: list[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
        """The marked handlers as Litestar holds them: with every layer resolved that stands around them."""
        found = {
            route.path: handler
            for route in self.routes
            for handler in getattr(route, "route_handlers", [])
            if handler.opt.get(EXPRESS)
        }
        return [found[handler.opt[EXPRESS].path] for handler in marked]

    # RSGI

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start, while the server does not take connections yet."""
        if self.worker.settings.batch_scheduling:
            schedule_as_batch()
        end_with_parent(loop, self._streams.close)
        listen_for_signals(loop, lambda: self._drain(loop))
        self.worker.turns = self._turns(loop)
        self._life.start(loop)
        if self.worker.settings.calm_gc:
            calm_garbage_collection()
        else:
            gc.enable()
        self.worker.garbage.start()
        if self._started_fd is not None:
            loop.call_soon(tell_started, self._started_fd)  # the loop runs again when the server listens

    def _turns(self, loop: asyncio.AbstractEventLoop) -> Turns:
        """Take the fastest lane that the settings allow and this granian can have."""
        if self._lane == "direct":
            direct = DirectLane(
                self._express,
                self.worker.admission,
                self.worker.metrics.refused_heads,
                max_body_bytes=self._max_body,
                queue_limit_ms=self.worker.settings.queue_limit_ms,
            )
            try:
                direct.install(loop)
            except HookError as error:
                _log.warning("no direct lane: %s; requests take the event loop, which is slower", error)
            else:
                self.worker.metrics.tell_lane("direct")
                return direct
        self.worker.metrics.tell_lane("off" if self._lane == "off" else "loop")
        return LoopTurns(loop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop, after the server has answered its last request."""
        self._life.stop(loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        self.worker.drain()
        self._streams.close()
        loop.call_later(self.worker.settings.drain_s, stop_accepting)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request: on the lane if it is plain, else through Litestar."""
        if scope.proto != "http":
            protocol.close(403)
            return
        self.worker.admission.note_arrival()
        found = self._express.find(scope.path) if scope.method == "POST" else None
        if found is not None:
            headers = scope.headers
            route, parameters = found
            if takes(headers, route.media_types, self._max_body) is not None:
                try:
                    body = await protocol()
                except RSGIProtocolClosed:  # the client broke off: there is nobody to tell, and nothing to log
                    protocol.response_empty(400, [])
                    return
                answer = await route.answer(parameters, headers, body)
                if self.worker.admission.draining:
                    answer[1].append(CLOSE)
                protocol.response_bytes(*answer)
                return
        await bridge(self._litestar, scope, protocol)

    # ASGI

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The same for any ASGI server."""
        self.worker.admission.note_arrival()
        if scope["type"] == "http" and scope["method"] == "POST":
            found = self._express.find(scope["path"])
            if found is not None:
                headers = _by_name(scope["headers"])
                route, parameters = found
                if takes(headers, route.media_types, self._max_body) is not None:
                    body = await _whole_body(receive)
                    if body is None:
                        return  # the client left before its body was complete
                    await self._send(await route.answer(parameters, headers, body), send)
                    return
        await self._litestar(scope, receive, send)

    async def _litestar(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.worker.admission.draining:
            await super().__call__(scope, receive, send)
            return

        async def closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await super().__call__(scope, receive, closing)

    async def _send(self, answer: Answer, send: Any) -> None:
        status, fields, payload = answer
        if self.worker.admission.draining:
            fields.append(CLOSE)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        headers.append((b"content-length", str(len(payload)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    # errors that come through Litestar

    def _on_error(self, request: Request[Any, Any, Any], error: GatewayError) -> Reply[Any]:
        return Reply(*self._wire(request.scope["path"]).refuse(error, request.headers))

    def _on_litestar_error(self, request: Request[Any, Any, Any], error: HTTPException) -> Reply[Any]:
        handler = request.scope.get("route_handler")
        detail = error.detail or "no detail"
        if isinstance(error, ValidationException) and handler is not None and EMPTY in handler.opt:
            detail = handler.opt[EMPTY]
        reply = self._on_error(request, Refused(error.status_code, detail))
        if error.headers and "allow" in error.headers:  # a 405 must say which methods there are
            reply.fields.append(("allow", error.headers["allow"]))
        return reply

    def _wire(self, path: str) -> Wire:
        """The protocol that a path is of; of more than one that the longest prefix names."""
        for under, wire in self._wires:
            if path.startswith(under) and path[len(under) :][:1] in {"", "/"}:
                return wire
        return self._native

    def _on_defect(self, request: Request[Any, Any, Any], error: Exception) -> Reply[Any]:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return self._on_error(request, Internal("internal error"))


def _by_path(wires: list[Wire]) -> list[tuple[str, Wire]]:
    """Each wire with each of its paths, the longest one first."""
    found = {under: wire for wire in wires for under in wire.under}
    return sorted(found.items(), key=lambda one: -len(one[0]))


def _by_name(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found


async def _whole_body(receive: Any) -> bytes | None:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        return body
    chunks = []
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()
    return None
