"""What may not stand around a marked handler, and what becomes of its defects."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import msgspec
import pytest
from litestar import Litestar, post
from litestar.di import Provide
from litestar.exceptions import ImproperlyConfiguredException
from litestar.middleware import DefineMiddleware
from litestar.params import FromPath, HeaderParameter, JSONBody
from prometheus_client import CollectorRegistry, Counter

from gateway.admission import Admission
from gateway.errors import NotFound
from gateway.express import ExpressTable
from gateway.reply import Reply

RequestId = Annotated[str | None, HeaderParameter(name="X-Request-Id")]


class Body(msgspec.Struct):
    """One number."""

    value: int


@pytest.fixture
def admission():
    """With a counter of its own."""
    return Admission(Counter("errors", "Errors.", ("status",), registry=CollectorRegistry()))


def handler(path="/score", function=None, **layers):
    async def score(data: JSONBody[Body], request_id: RequestId = None) -> Reply[Any]:
        return Reply(200, [("x-request-id", request_id or "-")], b"%d" % data.value)

    return post(path, **layers)(function or score)


def registered(one, **layers):
    app = Litestar([one], openapi_config=None, logging_config=None, **layers)
    return next(found for route in app.routes for found in route.route_handlers if "POST" in found.http_methods)


async def forbid(*_):
    """Stand for any guard or hook."""


async def thing() -> int:
    """Stand for any dependency."""
    return 1


def passing(app):
    """Stand for any middleware."""
    return app


LAYERS = {
    "guards": {"guards": [forbid]},
    "middleware": {"middleware": [DefineMiddleware(passing)]},
    "dependencies": {"dependencies": {"thing": Provide(thing)}},
    "before_request": {"before_request": forbid},
    "after_request": {"after_request": forbid},
    "after_response": {"after_response": forbid},
}


@pytest.mark.parametrize("where", ["handler", "application"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_marked_handler_with_a_layer_around_it_is_refused_at_start(admission, kind, where):
    """The lane would skip it, on the handler itself or anywhere above."""
    layers = LAYERS[kind]
    found = registered(handler(**layers)) if where == "handler" else registered(handler(), **layers)
    with pytest.raises(ImproperlyConfiguredException, match=f"/score is on the express lane and cannot have {kind}"):
        ExpressTable([("/score", found)], admission)


def test_a_handler_that_asks_for_more_than_the_lane_can_give_is_refused(admission):
    """Body, path parameter and headers are all there is."""

    async def score(data: JSONBody[Body], scope: dict) -> Reply[Any]:
        return Reply(200, [], b"")

    with pytest.raises(ImproperlyConfiguredException, match=r"cannot give parameter \['scope'\]"):
        ExpressTable([("/score", handler(function=score))], admission)


def test_a_path_finds_its_route_and_parameter(admission):
    """Exact paths first; a parameter is one whole segment."""

    async def by_name(data: JSONBody[Body], model: FromPath[str]) -> Reply[Any]:
        return Reply(200, [], model.encode())

    plain, named = registered(handler()), registered(handler("/score/{model:str}", by_name))
    table = ExpressTable([("/score", plain), ("/score/{model:str}", named)], admission)
    assert table.find("/score")[1] is None
    assert table.find("/score/a b")[1] == "a b"
    assert [table.find(path) for path in ("/score/", "/score/a/b", "/scores", "/", "")] == [None] * 5


def answer(admission, function, body=b'{"value":1}', headers=None):
    table = ExpressTable([("/score", registered(handler(function=function)))], admission)
    route, parameter = table.find("/score")
    return asyncio.run(route.answer(parameter, (headers or {}).get, body))


def test_a_defect_is_a_500_that_shows_nothing(admission, caplog):
    """The log has the whole story, the client none of it."""

    async def broken(data: JSONBody[Body], request_id: RequestId = None) -> Reply[Any]:
        raise RuntimeError("the password is swordfish")

    reply = answer(admission, broken, headers={"x-request-id": "mine"})
    assert reply.status_code == 500
    assert json.loads(reply.payload) == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "internal error",
        "request_id": "mine",
    }
    assert "swordfish" in caplog.text


def test_an_error_of_ours_keeps_its_status_and_words(admission):
    """Under the caller's id if that is usable, else under a new one."""

    async def absent(data: JSONBody[Body], request_id: RequestId = None) -> Reply[Any]:
        raise NotFound("no model 'x'")

    reply = answer(admission, absent, headers={"x-request-id": "not usable"})
    problem = json.loads(reply.payload)
    assert (problem["status"], problem["detail"]) == (404, "no model 'x'")
    assert problem["request_id"] != "not usable"
    assert ("x-request-id", problem["request_id"]) in reply.fields


def test_made_request_ids_never_repeat(admission):
    """Within a worker by counting, between workers by a random start."""
    other = Admission(Counter("errors", "Errors.", ("status",), registry=CollectorRegistry()))
    made = [maker.request_id(None) for maker in (admission, other) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert all(admission.request_id(one) == one for one in made)
