"""What may not stand around a marked handler, and what becomes of its defects."""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
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
from gateway.errors import BadRequest, NotFound
from gateway.express import EXPRESS, ExpressTable, takes
from gateway.reply import Reply

RequestId = Annotated[str | None, HeaderParameter(name="X-Request-Id")]


class Body(msgspec.Struct):
    """One number."""

    value: int


@pytest.fixture
def admission():
    """With a counter of its own."""
    return Admission(Counter("errors", "Errors.", ("status",), registry=CollectorRegistry()))


def begin(member, data, parameter, request_id):
    """Answer at once."""
    member.finish = lambda _: (200, [("x-request-id", request_id or "-")], b"%d" % data.value)
    member.answer([])


def handler(path="/score", function=None, begin=begin, **layers):
    async def score(data: JSONBody[Body], request_id: RequestId = None) -> Reply[Any]:
        raise AssertionError("the lane calls what marks the handler")

    return post(path, opt={EXPRESS: begin}, **layers)(function or score)


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

    def begin_by_name(member, data, parameter):
        raise NotFound(parameter)

    plain, named = registered(handler()), registered(handler("/score/{model:str}", by_name, begin_by_name))
    table = ExpressTable([("/score", plain), ("/score/{model:str}", named)], admission)
    assert table.find("/score")[1] is None
    assert table.find("/score/a b")[1] == "a b"
    assert [table.find(path) for path in ("/score/", "/score/a/b", "/scores", "/", "")] == [None] * 5


def test_a_handler_whose_function_takes_other_headers_is_refused(admission):
    """The lane gives headers by position, so the two must agree."""

    def other(member, data, parameter, deadline, request_id):
        raise AssertionError

    with pytest.raises(ImproperlyConfiguredException, match=r"takes \['deadline', 'request_id'\], the handler has"):
        ExpressTable([("/score", registered(handler(begin=other)))], admission)


def answer(admission, begin=begin, body=b'{"value":1}', headers=None):
    table = ExpressTable([("/score", registered(handler(begin=begin)))], admission)
    route, parameter = table.find("/score")
    return asyncio.run(route.answer(parameter, headers or {}, body))


def test_the_lane_answers_by_the_function_that_marks_the_handler(admission):
    """Body decoded, headers given, answer made."""
    assert answer(admission, headers={"x-request-id": "a"}) == (200, [("x-request-id", "a")], b"1")


def test_a_defect_is_a_500_that_shows_nothing(admission, caplog):
    """The log has the whole story, the client none of it."""

    def broken(member, data, parameter, request_id):
        raise RuntimeError("the password is swordfish")

    status, _, payload = answer(admission, broken, headers={"x-request-id": "mine"})
    assert status == 500
    assert json.loads(payload) == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "internal error",
        "request_id": "mine",
    }
    assert "swordfish" in caplog.text


def test_an_error_of_ours_keeps_its_status_and_words(admission):
    """Under the caller's id if that is usable, else under a new one."""

    def absent(member, data, parameter, request_id):
        raise NotFound("no model 'x'")

    _, fields, payload = answer(admission, absent, headers={"x-request-id": "not usable"})
    problem = json.loads(payload)
    assert (problem["status"], problem["detail"]) == (404, "no model 'x'")
    assert problem["request_id"] != "not usable"
    assert ("x-request-id", problem["request_id"]) in fields


def test_made_request_ids_never_repeat(admission):
    """Within a worker by counting, between workers by a random start."""
    other = Admission(Counter("errors", "Errors.", ("status",), registry=CollectorRegistry()))
    made = [maker.request_id(None) for maker in (admission, other) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert all(admission.request_id(one) == one for one in made)


PLAIN = {"content-type": "application/json", "content-length": "10"}


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, 10),
        ({"content-length": "100"}, 100),
        ({"content-length": "101"}, None),
        ({"content-length": "1_0"}, None),
        ({"content-length": "\xb2"}, None),
        ({"content-length": None}, None),
        ({"content-type": "text/plain"}, None),
        ({"content-type": None}, None),
        *(({name: "x"}, None) for name in ("content-encoding", "expect", "origin", "transfer-encoding")),
    ],
)
def test_a_lane_takes_plain_json_of_a_stated_length(changed, taken):
    """Everything else is Litestar's."""
    headers = {name: value for name, value in {**PLAIN, **changed}.items() if value is not None}
    assert takes(headers, 100) == taken


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "1e3", " 5", "", "0.0", "five"])
def test_a_deadline_that_is_no_positive_number_is_refused(admission, given):
    """The message shows what was given."""
    with pytest.raises(BadRequest, match="X-Deadline-Ms must be a positive number of milliseconds, not"):
        admission.deadline(given, 0.0)


def test_a_deadline_counts_from_the_head():
    """The caller's, else the setting's, else none."""
    errors = Counter("errors", "Errors.", ("status",), registry=CollectorRegistry())
    assert Admission(errors).deadline("2.5", 10.0) == pytest.approx(10.0025)
    assert Admission(errors).deadline(None, 10.0) == math.inf
    assert Admission(errors, 20.0).deadline(None, 10.0) == pytest.approx(10.02)
    assert Admission(errors, 20.0).deadline("5", 10.0) == pytest.approx(10.005)


def test_an_arrival_is_remembered_in_its_context():
    """Over the bridge, the handler runs later than the head came; elsewhere it is now."""
    ticks = iter((1.0, 2.0, 3.0))
    errors = Counter("errors", "Errors.", ("status",), registry=CollectorRegistry())
    under_test = Admission(errors, clock=lambda: next(ticks))
    assert contextvars.copy_context().run(lambda: (under_test.note_arrival(), under_test.arrival())) == (1.0, 1.0)
    assert contextvars.Context().run(under_test.arrival) == 2.0
