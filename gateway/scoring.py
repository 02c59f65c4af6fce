"""From a decoded request to its encoded answer: the one core under all lanes of the native protocol."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET

from gateway.errors import BadRequest
from gateway.floats import read_floats, write_floats
from gateway.schemas import OutcomePrediction, OutcomePredictions, Prediction, Predictions, RowPrediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.admission import Admission
    from gateway.generation import Generation
    from gateway.models import Models
    from gateway.reply import Answer
    from gateway.schemas import Outcome, PredictRequest, TableRequest
    from gateway.tickets import Scores
    from gateway.wires import Arriving

    Encode = Callable[[Any], bytes]

__all__ = ["FLOATS", "JSON", "MSGPACK", "MSGPACK_TYPE", "OCTETS_TYPE", "Answers", "Scoring"]

MSGPACK_TYPE = "application/msgpack"
OCTETS_TYPE = "application/octet-stream"
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


class Answers(NamedTuple):
    """How a form of the protocol answers: each makes the answer of a generation, a request's id and its scores."""

    one: Callable[[Generation, str, Scores], Answer]
    many: Callable[[Generation, str, Scores], Answer]


class Scoring:
    """Begins a scoring request, on any lane."""

    def __init__(self, models: Models, admission: Admission, answers: Answers) -> None:
        self._find = models.find
        self._one, self._many = answers
        self._request_id = admission.request_id
        self._deadline = admission.deadline

    def begin(
        self,
        member: Arriving,
        data: PredictRequest | TableRequest,
        model: str | None,
        request_id: str | None,
        deadline: str | None,
    ) -> None:
        """Queue the rows of a request for one generation of a model.

        Args:
            member: is given its `origin`, `finish`, which makes the answer of probabilities, and then these, on
                whatever thread.
            data: one row or many.
            model: its name; None is the default model.
            request_id: the caller's.
            deadline: the caller's, in milliseconds from the head.

        Raises:
            BadRequest: neither or both of `features` and `instances` are there, or a value cannot be scored.
            GatewayError: refused, as the batcher or the admission says.
        """
        member.origin = given = self._request_id(request_id)
        generation = self._find(model)
        member.deadline = self._deadline(deadline, member.arrived)
        if data.features is not UNSET:
            if data.instances is not UNSET:
                raise BadRequest("send either `features` (one row) or `instances` (many), not both")
            member.finish = partial(self._one, generation, given)
            generation.batcher.submit_one(data.features, "$.features", member)
        elif data.instances is not UNSET:
            member.finish = partial(self._many, generation, given)
            generation.batcher.submit_many(data.instances, "$.instances", member)
        else:
            raise BadRequest("send `features` (one row) or `instances` (many)")

    def begin_floats(
        self, member: Arriving, body: bytes, model: str | None, shape: str | None, given: tuple[str | None, str | None]
    ) -> None:
        """The same for rows that come as their float32 values, little-endian, one row after the other.

        Args:
            member: as there.
            body: the values.
            model: its name; None is the default model.
            shape: `rows,columns`, if the caller says it.
            given: the caller's id and deadline.

        Raises:
            BadRequest: the body is no whole number of rows, is of another shape, or holds a value that JSON could not.
            GatewayError: refused, as the batcher or the admission says.
        """
        member.origin = request_id = self._request_id(given[0])
        generation = self._find(model)
        member.deadline = self._deadline(given[1], member.arrived)
        member.finish = partial(self._many, generation, request_id)
        generation.batcher.submit_array(read_floats(body, shape, generation.engine.metadata.signature), None, member)


def _answer_one(generation: Generation, request_id: str, scores: Scores, encode: Encode = _encode) -> Answer:
    if generation.outcome is not None:
        return _answer_outcomes(generation, request_id, scores, encode, one=True)
    (probabilities,) = scores
    best = probabilities.index(max(probabilities))
    found = Prediction(
        generation.name,
        generation.version,
        request_id,
        generation.classes[best],
        generation.labels[best],
        generation.by_label(*probabilities),
    )
    return 200, [*generation.stamp, ("x-request-id", request_id)], encode(found)


def _answer_many(generation: Generation, request_id: str, scores: Scores, encode: Encode = _encode) -> Answer:
    if generation.outcome is not None:
        return _answer_outcomes(generation, request_id, scores, encode, one=False)
    rows = [_row(generation, probabilities) for probabilities in scores]
    found = Predictions(generation.name, generation.version, request_id, rows)
    return 200, [*generation.stamp, ("x-request-id", request_id)], encode(found)


def _row(generation: Generation, probabilities: list[float]) -> RowPrediction:
    best = probabilities.index(max(probabilities))
    return RowPrediction(generation.classes[best], generation.labels[best], generation.by_label(*probabilities))


def _answer_outcomes(generation: Generation, request_id: str, scores: Scores, encode: Encode, *, one: bool) -> Answer:
    read = generation.outcome
    outcomes = [read(row) for row in scores] if read is not None else []
    stamp: dict[str, Any] = {"model": generation.name, "version": generation.version, "request_id": request_id}
    found: OutcomePrediction | OutcomePredictions
    if one:
        found = OutcomePrediction(**stamp, **_fields(outcomes[0]))
    else:
        found = OutcomePredictions(**stamp, predictions=outcomes)
    return 200, [*generation.stamp, ("x-request-id", request_id)], encode(found)


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in outcome.__struct_fields__}


def _packed(
    answer: Callable[[Generation, str, Scores, Encode], Answer], generation: Generation, request_id: str, scores: Scores
) -> Answer:
    status, fields, payload = answer(generation, request_id, scores, _pack)
    fields[0] = ("content-type", MSGPACK_TYPE)  # in the place of JSON's: a stamp begins with it
    return status, fields, payload


def _answer_floats(generation: Generation, request_id: str, scores: Scores) -> Answer:
    payload, shape = write_floats(scores, generation.engine.metadata.signature.width)
    fields = [("content-type", OCTETS_TYPE), *generation.stamp[1:], ("x-request-id", request_id), ("x-shape", shape)]
    return 200, fields, payload


JSON = Answers(_answer_one, _answer_many)
MSGPACK = Answers(partial(_packed, _answer_one), partial(_packed, _answer_many))
FLOATS = Answers(_answer_floats, _answer_floats)
