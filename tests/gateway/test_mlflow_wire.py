"""Answers and errors of MLflow's protocol, without a server."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from fakes import FakeEngine, Remembering
from prometheus_client import CollectorRegistry, Counter

from converters.modelfile import Target
from gateway.admission import Admission
from gateway.batcher import Batcher
from gateway.errors import Expired, Internal, NotFound, Overloaded, TooLarge, Unanswerable, UnsupportedMediaType
from gateway.frames import InvalidInput, SchemaMismatch
from gateway.generation import Generation
from gateway.mlflow_wire import MlflowWire
from gateway.settings import GatewaySettings
from gateway.tickets import Ticket


class Inline:
    """Turns that run what is asked for when the test says so."""

    def __init__(self):
        self.due = []

    def soon(self, flush):
        """Remember."""
        self.due.append(flush)

    def run(self):
        """Make the flushes."""
        while self.due:
            self.due.pop()()


class World:
    """One model behind a wire; `targets` and `scores` say what it answers."""

    def __init__(self, targets=None, scores=None):
        engine = FakeEngine()
        if targets is not None:
            engine.metadata.signature = msgspec.structs.replace(engine.metadata.signature, targets=targets)
            engine.run = lambda rows, _=None: np.array(scores, dtype=np.float32)[: len(rows)]
        self.turns = Inline()
        batcher = Batcher(engine, Remembering(), None, self.turns, GatewaySettings(max_batch_rows=8))
        generation = Generation("cancer", "7", "ab" * 32, engine, batcher, SimpleNamespace(feed=None))
        self.errors = Counter("errors", "Errors.", ("status",), registry=CollectorRegistry())
        self.asked = []

        def find(name):
            self.asked.append(name)
            return generation

        self.wire = MlflowWire(SimpleNamespace(find=find), Admission(self.errors))

    def post(self, body, headers=None, parameters=()):
        """Status, headers and decoded body."""
        ticket = Ticket(0.0)
        given = {"content-type": "application/json", "x-request-id": "id-1", **(headers or {})}
        self.wire.begin(ticket, parameters, given, json.dumps(body).encode())
        self.turns.run()
        status, fields, payload = ticket.finish(ticket.result())
        return status, dict(fields), json.loads(payload)


ROWS = {"inputs": [[0.25, 1.0], [0.75, 1.0]]}


def test_a_classifier_answers_classes():
    """One a row, stamped with the model and the caller's id."""
    status, headers, body = World().post(ROWS)
    assert (status, body) == (200, {"predictions": [0, 1]})
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == "id-1"
    assert (headers["x-model-name"], headers["x-model-version"]) == ("cancer", "7")
    assert headers["x-model-sha256"] == "ab" * 32


NUMBER = Target(name="value", scores="value", width=1)
SIGN = Target(classes=("no", "yes"), labels=("no", "yes"), scores="decision", decides="sign", width=1)
GIVEN = Target(classes=(1, -1), labels=("in", "out"), scores="decision", decides="given", width=1)


@pytest.mark.parametrize(
    ("targets", "scores", "predictions"),
    [
        ((NUMBER,), [[1.5], [-2.0]], [1.5, -2.0]),
        ((msgspec.structs.replace(NUMBER, width=2),), [[1.5, 2.0], [3.0, 4.0]], [[1.5, 2.0], [3.0, 4.0]]),
        ((SIGN,), [[0.5], [-0.5]], ["yes", "no"]),
        ((GIVEN,), [[1.0, -0.2], [0.0, 0.3]], [-1, 1]),
        ((SIGN, GIVEN, NUMBER), [[0.5, 0.0, 0.1, 2.0], [-0.5, 1.0, -0.1, 3.0]], [["yes", 1, 2.0], ["no", -1, 3.0]]),
    ],
)
def test_every_kind_of_model_answers_as_its_predict(targets, scores, predictions):
    """Numbers, classes by their rule, and a list for several targets."""
    assert World(targets, scores).post(ROWS)[2] == {"predictions": predictions}


def test_the_model_is_the_paths_or_the_default():
    """`/invocations/{model}` names one."""
    world = World()
    world.post(ROWS)
    world.post(ROWS, parameters=("iris",))
    assert world.asked == [None, "iris"]


def test_a_deadline_is_counted_from_the_head():
    """The batcher refuses what is over."""
    with pytest.raises(Expired):
        World().post(ROWS, {"x-deadline-ms": "0.001"})


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput("w"), 400, "BAD_REQUEST"),
        (SchemaMismatch("w"), 400, "INVALID_PARAMETER_VALUE"),
        (NotFound("w"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (TooLarge("w"), 413, "REQUEST_LIMIT_EXCEEDED"),
        (Unanswerable("w"), 422, "BAD_REQUEST"),
        (Internal("w"), 500, "INTERNAL_ERROR"),
        (Overloaded("w"), 503, "TEMPORARILY_UNAVAILABLE"),
        (Expired("w"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_an_error_has_mlflows_shape(error, status, code):
    """With the code that MLflow maps to the status; counted, and under the caller's id."""
    world = World()
    found, fields, payload = world.wire.refuse(error, {"x-request-id": "id-1"})
    headers = dict(fields)
    assert (found, json.loads(payload)) == (status, {"error_code": code, "message": "w"})
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == "id-1"
    assert ("retry-after" in headers) is (status == 503)
    assert world.errors.labels(str(status))._value.get() == 1


def test_a_wrong_media_type_is_told_as_text():
    """As MLflow does it."""
    status, fields, payload = World().wire.refuse(UnsupportedMediaType("The scoring server only supports UTF-8"), {})
    assert (status, payload) == (415, b"The scoring server only supports UTF-8")
    assert dict(fields)["content-type"] == "text/plain; charset=utf-8"
    assert len(fields) == 2
