"""A whole request, from its head to the bytes of its answer, without HTTP, sockets and threads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks.micro.granian import FakeGranian, FakeRequest

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Lived
    from benchmarks.micro.measuring import Measure
    from gateway.direct import DirectLane

pytestmark = pytest.mark.benchmark(group="A whole request")

TOGETHER = [1, 16]


@pytest.mark.parametrize("together", TOGETHER)
def test_direct_lane(
    measure: Measure, direct: DirectLane, granian: FakeGranian, headers: dict[str, str], body: bytes, together: int
) -> None:
    """On granian's thread."""
    requests: list[FakeRequest] = []

    def prepare() -> None:
        requests[:] = [FakeRequest(granian, headers, body) for _ in range(together)]

    def exchange() -> None:
        for request in requests:
            direct.take(request)
        granian.deliver()

    measure(exchange, "heads taken, bodies come, one batch, all answered; a stand-in for granian", prepare=prepare)
    assert {request.status for request in requests} == {200}
    assert all("probabilities" in msgspec.json.decode(request.payload) for request in requests)


def test_empty_turn(measure: Measure, lived: Lived) -> None:
    """The floor of the next two."""

    async def nothing() -> None:
        pass

    measure(lambda: lived.loop.run_until_complete(nothing()), "what starting and stopping the event loop adds below")


@pytest.mark.parametrize("together", TOGETHER)
def test_loop_lane(measure: Measure, lived: Lived, headers: dict[str, str], body: bytes, together: int) -> None:
    """On the event loop."""
    route, run = lived.route, lived.loop.run_until_complete

    async def exchange() -> list[int]:
        tasks = [asyncio.ensure_future(route.answer((), headers, body)) for _ in range(together)]
        return [(await task)[0] for task in tasks]

    why = "the same in tasks of an event loop, which other ASGI and RSGI servers need"
    assert measure(lambda: run(exchange()), why) == [200] * together
