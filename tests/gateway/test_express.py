"""What may not stand around a marked handler, and what becomes of its defects."""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Litestar, Request, post
from litestar.di import Provide
from litestar.exceptions import ImproperlyConfiguredException
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient
from prometheus_client import CollectorRegistry, Counter

from gateway.admission import Admission
from gateway.application import Gateway, _by_path
from gateway.bodies import answer_by, marked
from gateway.errors import BadRequest, NotFound
from gateway.express import _KNOWN_MAX, ExpressRoute, ExpressTable, takes
from gateway.reply import Reply  # noqa: TC001 - Litestar reads the handler's annotations
from gateway.schemas import PredictRequest
from gateway.settings import GatewaySettings, WorkerConfig


@pytest.fixture
def admission():
    """With a counter of its own."""
    return Admission(Counter("errors", "Errors.", ("status",), registry=CollectorRegistry()))


class Echo:
    """A wire that answers at once with what it was given."""

    media_types = frozenset({"application/json"})
    under = ()

    def __init__(self, admission, error=None):
        self._admission = admission
        self._error = error

    def begin(self, member, parameters, headers, body):
        if self._error is not None:
            raise self._error
        member.finish = lambda _: (200, [("x-request-id", headers.get("x-request-id") or "-")], body)
        member.answer([])

    def refuse(self, error, headers):
        return self._admission.refuse(error, headers.get("x-request-id"))


def handler(admission, path="/score", error=None, wire=None, **layers):
    route = ExpressRoute(path, wire or Echo(admission, error), admission)

    @post(**marked(route, PredictRequest), **layers)
    async def score(request: Request) -> Reply[Any]:
        return await answer_by(route, request)

    return score


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
    one = handler(admission, **(layers if where == "handler" else {}))
    found = registered(one, **(layers if where == "application" else {}))
    with pytest.raises(ImproperlyConfiguredException, match=f"/score is on the express lane and cannot have {kind}"):
        ExpressTable([found])


def table(admission, *paths):
    return ExpressTable([registered(handler(admission, path)) for path in paths])


def test_a_path_finds_its_route_and_parameters(admission):
    """Exact paths first; a parameter is one whole segment, anywhere in the path; and the second time alike."""
    find = table(
        admission,
        "/score",
        "/score/{model:str}",
        "/v2/{model:str}/versions/{version:str}/infer",
        "/v2/{model:str}/infer",
    ).find
    for _ in range(2):
        assert find("/score")[1] == ()
        assert find("/score/a b")[1] == ("a b",)
        assert find("/score/a\nb")[1] == ("a\nb",)
        assert find("/v2/versions/infer")[1] == ("versions",)
        route, parameters = find("/v2/a.b/versions/7/infer")
        assert (route.path, parameters) == ("/v2/{model:str}/versions/{version:str}/infer", ("a.b", "7"))
        others = (
            "/score/",
            "/score/a/b",
            "/scores",
            "/",
            "",
            "/v2//infer",
            "/v2/a/b/infer",
            "/v2/a/infer/",
            "/v2/a/infer\n",
        )
        assert [find(path) for path in others] == [None] * len(others)


def test_paths_that_are_made_up_are_not_remembered_for_ever(admission):
    """They are found all the same; nor is a long one kept."""
    under_test = table(admission, "/score/{model:str}")
    under_test.find("/score/" + "a" * 1000)
    assert not under_test._exact
    for number in range(_KNOWN_MAX + 10):
        assert under_test.find(f"/score/{number}")[1] == (str(number),)
    assert len(under_test._exact) == _KNOWN_MAX


def answer(admission, error=None, body=b"1", headers=None):
    route, parameters = ExpressTable([registered(handler(admission, error=error))]).find("/score")
    return asyncio.run(route.answer(parameters, headers or {}, body))


def test_the_lane_answers_by_the_wire_of_the_route(admission):
    """It is given body and headers, and makes the answer."""
    assert answer(admission, headers={"x-request-id": "a"}) == (200, [("x-request-id", "a")], b"1")


class Telling(Echo):
    """Answers with all that it was given, and words errors in its own way."""

    def begin(self, member, parameters, headers, body):
        told = f"{parameters} {headers.get('x-one')} {'x-two' in headers} {body}"
        member.finish = lambda _: (200, [("content-type", "text/odd")], told.encode())
        member.answer([])

    def refuse(self, error, headers):
        return error.status, [("x-one", headers.get("x-one"))], f"odd: {error}".encode()


def test_over_the_bridge_a_wire_is_given_what_a_lane_gives_it(admission):
    """Parameters in their order, headers by lower-case name, an empty body, and one that was compressed."""
    path = "/v2/{model:str}/versions/{version:str}/infer"
    found = handler(admission, path, wire=Telling(admission))
    lane, parameters = ExpressTable([registered(found)]).find("/v2/b/versions/a/infer")
    with TestClient(Litestar([found], openapi_config=None, request_max_body_size=100)) as client:
        for body in (b"", b"some bytes"):
            headers = {"x-one": "1", "content-type": "text/odd"}
            status, fields, told = asyncio.run(lane.answer(parameters, headers, body))
            assert told == f"('b', 'a') 1 False {body}".encode()
            for coding, sent in (("identity", body), ("gzip", gzip.compress(body))):
                given = {"X-One": "1", "Content-Type": "text/odd", "Content-Encoding": coding}
                answered = client.post("/v2/b/versions/a/infer", content=sent, headers=given)
                assert (answered.status_code, answered.content) == (status, told)
                assert answered.headers["content-type"] == fields[0][1]
        given = {"X-One": "2", "Content-Encoding": "gzip"}
        refused = client.post("/v2/b/versions/a/infer", content=gzip.compress(bytes(101)), headers=given)
        assert (refused.status_code, refused.headers["x-one"]) == (413, "2")
        assert refused.text.startswith("odd: the inflated body has more than 100 bytes")


def test_a_defect_is_a_500_that_shows_nothing(admission, caplog):
    """The log has the whole story, the client none of it."""
    error = RuntimeError("the password is swordfish")
    status, _, payload = answer(admission, error, headers={"x-request-id": "mine"})
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
    _, fields, payload = answer(admission, NotFound("no model 'x'"), headers={"x-request-id": "not usable"})
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
    assert takes(headers, Echo.media_types, 100) == taken


def test_a_wire_of_any_media_type_has_its_lane_take_all_and_none():
    """What the type says is the wire's to judge."""
    for headers in ({"content-length": "10"}, {"content-length": "10", "content-type": "text/odd"}):
        assert takes(headers, None, 100) == 10
    assert takes({"content-length": "10", "content-encoding": "gzip"}, None, 100) is None


def test_errors_on_the_way_are_worded_by_the_protocol_that_the_path_is_of(admission):
    """By the longest prefix of whole segments; the native protocol has the rest."""
    gateway = Gateway(WorkerConfig(settings=GatewaySettings(), store="unused", monitor="unused"))
    deep, v2 = SimpleNamespace(under=("/v2/deep",)), SimpleNamespace(under=("/v2", "/ping"))
    gateway._wires = _by_path([v2, deep, v2])
    native = gateway._native
    of_v2, of_native = ("/v2", "/v2/x", "/v2/deeper", "/ping"), ("/v2x", "/", "/predict", "/pings")
    assert [gateway._wire(path) for path in of_v2] == [v2] * 4
    assert [gateway._wire(path) for path in of_native] == [native] * 4
    assert gateway._wire("/v2/deep/x") is gateway._wire("/v2/deep") is deep


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
