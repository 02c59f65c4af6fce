"""The application: one set of typed handlers, an express lane over them, and a bridge for everything else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from litestar import Litestar
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from gateway.bridge import bridge
from gateway.errors import GatewayError, Internal
from gateway.express import EMPTY_BODY, EXPRESS, ExpressTable, takes
from gateway.lifespan import LifespanTask
from gateway.process import calm_garbage_collection, end_with_parent, listen_for_signals, stop_accepting
from gateway.routes import plain_routes, scoring_routes
from gateway.worker import Worker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from litestar.connection import Request

    from gateway.reply import Reply
    from gateway.settings import WorkerConfig

__all__ = ["Gateway"]

_log = logging.getLogger("hotgate.gateway")


class Gateway(Litestar):
    """A Litestar application that answers marked routes itself, over RSGI and over ASGI."""

    def __init__(self, config: WorkerConfig) -> None:
        self.worker = Worker(config)
        marked = scoring_routes(self.worker)
        self._max_body = config.settings.max_body_bytes
        super().__init__(
            [handler for _, handler in marked] + plain_routes(self.worker),
            lifespan=[lambda _app: self.worker.running()],
            exception_handlers={
                GatewayError: self._on_error,
                HTTPException: self._on_litestar_error,
                Exception: self._on_defect,
            },
            request_max_body_size=self._max_body,
            openapi_config=OpenAPIConfig(
                title="hotgate", version="1", path="/schema", render_plugins=[JsonRenderPlugin(path="/")]
            ),
            logging_config=None,
        )
        compiled = self._registered(marked)
        self._express = ExpressTable(compiled if config.settings.express else [], self.worker.admission)
        self._life = LifespanTask(self.lifespan())

    def _registered(self, marked: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """The marked handlers as Litestar holds them: with every layer resolved that stands around them."""
        found = {
            route.path: handler
            for route in self.routes
            for handler in getattr(route, "route_handlers", [])
            if handler.opt.get(EXPRESS)
        }
        return [(path, found[path]) for path, _ in marked]

    # RSGI

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start, while the server does not take connections yet."""
        end_with_parent(loop)
        listen_for_signals(loop, lambda: self._drain(loop))
        self._life.start(loop)
        calm_garbage_collection()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop, after the server has answered its last request."""
        self._life.stop(loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        self.worker.drain()
        loop.call_later(self.worker.settings.drain_s, stop_accepting)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request: on the lane if it is plain, else through Litestar."""
        if scope.proto != "http":
            protocol.close(403)
            return
        found = self._express.find(scope.path) if scope.method == "POST" else None
        if found is not None:
            header = scope.headers.get
            if takes(header, self._max_body):
                route, parameter = found
                reply = await route.answer(parameter, header, await protocol())
                fields = reply.fields
                if self.worker.draining:
                    fields = [*fields, ("connection", "close")]
                protocol.response_bytes(reply.status_code, fields, reply.payload)
                return
        await bridge(self._litestar, scope, protocol)

    # ASGI

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The same for any ASGI server."""
        if scope["type"] == "http" and scope["method"] == "POST":
            found = self._express.find(scope["path"])
            if found is not None:
                header = _header_lookup(scope["headers"])
                if takes(header, self._max_body):
                    body = await _whole_body(receive)
                    if body is None:
                        return  # the client left before its body was complete
                    await self._send(await found[0].answer(found[1], header, body), send)
                    return
        await self._litestar(scope, receive, send)

    async def _litestar(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.worker.draining:
            await super().__call__(scope, receive, send)
            return

        async def closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await super().__call__(scope, receive, closing)

    async def _send(self, reply: Reply[Any], send: Any) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.fields]
        headers.append((b"content-length", str(len(reply.payload)).encode()))
        if self.worker.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": reply.payload})

    # errors that come through Litestar

    def _on_error(self, request: Request[Any, Any, Any], error: GatewayError) -> Reply[Any]:
        return self.worker.admission.refuse(error, request.headers.get("x-request-id"))

    def _on_litestar_error(self, request: Request[Any, Any, Any], error: HTTPException) -> Reply[Any]:
        handler = request.scope.get("route_handler")
        if isinstance(error, ValidationException) and handler is not None and handler.opt.get(EXPRESS):
            # A marked handler's only required parameter is its body, and a body that is there was decoded before.
            detail = EMPTY_BODY
        else:
            detail = error.detail or "no detail"
        return self.worker.admission.refuse_as(error.status_code, detail, request.headers.get("x-request-id"))

    def _on_defect(self, request: Request[Any, Any, Any], error: Exception) -> Reply[Any]:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return self._on_error(request, Internal("internal error"))


def _header_lookup(headers: list[tuple[bytes, bytes]]) -> Callable[[str], str | None]:
    found: dict[str, str] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found.get


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
