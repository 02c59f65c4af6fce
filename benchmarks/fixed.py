"""The ceiling: granian on RSGI with one answer that never changes, run as `python -m benchmarks.fixed FILE PORT`.

It reads no body, decides nothing, and is as long as the gateway's own answer; what lies between the two is the
gateway's work.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops

from gateway.process import schedule_as_batch
from gateway.server import BACKLOG, CONNECTIONS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from benchmarks.servers import Reply

__all__ = ["FixedAnswer", "serve"]

_FROM_THE_SERVER = {"connection", "content-length", "date", "server"}


class FixedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered to everything."""

    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def like(cls, reply: Reply) -> FixedAnswer:
        """The answer that a server gave, without what granian adds itself."""
        kept = tuple((name, value) for name, value in reply.headers if name.lower() not in _FROM_THE_SERVER)
        return cls(headers=kept, body=reply.body)


def load(file: Path) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """The RSGI application; called in the worker, which is scheduled as the gateway's workers are."""
    schedule_as_batch()
    answer = msgspec.json.decode(file.read_bytes(), type=FixedAnswer)
    headers, body = list(answer.headers), answer.body

    async def app(_scope: Any, protocol: Any) -> None:
        protocol.response_bytes(200, headers, body)

    return app


def serve(file: Path, port: int) -> None:
    """Serve until SIGTERM, with the same settings of granian as `hotgate serve --workers 1`."""
    Granian(
        "benchmarks.fixed",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.RSGI,
        workers=1,
        runtime_threads=1,
        blocking_threads=1,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
    ).serve(target_loader=partial(load, file), wrap_loader=False)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
