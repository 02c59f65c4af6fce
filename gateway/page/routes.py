"""`GET /`, `GET /page/{file}` and `GET /events`: nothing from elsewhere, nothing inline, nothing kept unasked."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from litestar import Request, get, route
from litestar.params import FromPath  # noqa: TC002 - Litestar reads the annotations
from litestar.response.base import ASGIResponse

from gateway.errors import NotFound, Overloaded
from gateway.reply import Reply

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.handlers import HTTPRouteHandler

    from gateway.page.streams import Mailbox, Streams

__all__ = ["STREAM_BYTES", "page_routes"]

STREAM_BYTES: Final = 4 * 2**20
"""A stream ends after so many bytes, and the page opens the next one.

The server takes whatever it is given to send: a client that does not read would else cost memory without end.
"""
_RETRY: Final = b"retry: 1000\n\n"
_STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Final = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)


class _File(NamedTuple):
    kind: str
    etag: str
    content: bytes


@functools.cache
def _files() -> dict[str, _File]:
    """All files of the page by name, read when the first one is asked for."""
    return {
        path.name: _File(
            f"{_TYPES[path.suffix]}; charset=utf-8",
            f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}"',
            path.read_bytes(),
        )
        for path in _STATIC.iterdir()
        if path.suffix in _TYPES
    }


def page_routes(streams: Streams) -> list[HTTPRouteHandler]:
    """The page, its files, and what it is fed with."""

    @route("/", http_method=["GET", "HEAD"], include_in_schema=False, sync_to_thread=False)
    def index(request: Request[Any, Any, Any]) -> Reply[str]:
        """The page."""
        return _answer(request, "index.html")

    @route("/page/{name:str}", http_method=["GET", "HEAD"], include_in_schema=False, sync_to_thread=False)
    def file(request: Request[Any, Any, Any], name: FromPath[str]) -> Reply[str]:
        """A script or style of the page."""
        return _answer(request, name)

    @get("/events", include_in_schema=False, sync_to_thread=False)
    def events() -> Reply[str]:
        """What the page shows, as server-sent events; `docs/dashboard.md` lists them."""
        refusal = streams.refusal
        if refusal is not None:
            raise Overloaded(refusal)
        return _EventStream(streams)

    return [index, file, events]


def _answer(request: Request[Any, Any, Any], name: str) -> Reply[str]:
    found = _files().get(name)
    if found is None:
        raise NotFound(f"the page has no file {name!r}")
    headers = [*_SAFE, ("etag", found.etag), ("cache-control", "no-cache")]
    if found.etag in request.headers.get("if-none-match", ""):
        return Reply(304, headers, b"")
    return Reply(200, [*headers, ("content-type", found.kind)], found.content)


class _EventStream(Reply[str]):
    def __init__(self, streams: Streams) -> None:
        headers = [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
        super().__init__(200, [*_SAFE, *headers], b"")
        self._streams = streams

    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **defaults: Any) -> ASGIResponse:
        del app, request, defaults
        return _Stream(self._streams, self.fields)


class _Stream(ASGIResponse):
    def __init__(self, streams: Streams, headers: list[tuple[str, str]]) -> None:
        super().__init__(status_code=200, headers=headers)
        self._streams = streams
        self._start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(name.encode(), value.encode()) for name, value in headers],
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send events until the client leaves, the server stops, or the stream has had its bytes."""
        del scope
        await send(self._start)
        async with self._streams.join() as mailbox:
            gone = asyncio.ensure_future(_until_gone(receive))
            pump = asyncio.ensure_future(_pump(mailbox, send))
            tasks = [gone, pump, asyncio.ensure_future(mailbox.closed.wait())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                left = gone.done() or (pump.done() and pump.exception() is not None)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if not left:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pump(mailbox: Mailbox, send: Any) -> None:
    event: bytes | None = _RETRY
    sent = 0
    while event is not None and sent < STREAM_BYTES:
        await send({"type": "http.response.body", "body": event, "more_body": True})
        sent += len(event)
        event = await mailbox.take()


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
