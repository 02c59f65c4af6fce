"""From a decoded request to its encoded answer: the one core under all lanes of the native protocol."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from gateway.errors import BadRequest
from gateway.schemas import OutcomePrediction, OutcomePredictions, Prediction, Predictions, RowPrediction

if TYPE_CHECKING:
    from gateway.admission import Admission
    from gateway.generation import Generation
    from gateway.models import Models
    from gateway.reply import Answer
    from gateway.schemas import Outcome, PredictRequest, TableRequest
    from gateway.tickets import Scores
    from gateway.wires import Arriving

__all__ = ["Scoring"]

_encode = msgspec.json.Encoder().encode


class Scoring:
    """Begins a scoring request, on any lane."""

    def __init__(self, models: Models, admission: Admission) -> None:
        self._find = models.find
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
            member.finish = partial(_answer_one, generation, given)
            generation.batcher.submit_one(data.features, "$.features", member)
        elif data.instances is not UNSET:
            member.finish = partial(_answer_many, generation, given)
            generation.batcher.submit_many(data.instances, "$.instances", member)
        else:
            raise BadRequest("send `features` (one row) or `instances` (many)")


def _answer_one(generation: Generation, request_id: str, scores: Scores) -> Answer:
    if generation.outcome is not None:
        return _answer_outcomes(generation, request_id, scores, one=True)
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
    return 200, [*generation.stamp, ("x-request-id", request_id)], _encode(found)


def _answer_many(generation: Generation, request_id: str, scores: Scores) -> Answer:
    if generation.outcome is not None:
        return _answer_outcomes(generation, request_id, scores, one=False)
    rows = [_row(generation, probabilities) for probabilities in scores]
    found = Predictions(generation.name, generation.version, request_id, rows)
    return 200, [*generation.stamp, ("x-request-id", request_id)], _encode(found)


def _row(generation: Generation, probabilities: list[float]) -> RowPrediction:
    best = probabilities.index(max(probabilities))
    return RowPrediction(generation.classes[best], generation.labels[best], generation.by_label(*probabilities))


def _answer_outcomes(generation: Generation, request_id: str, scores: Scores, *, one: bool) -> Answer:
    read = generation.outcome
    outcomes = [read(row) for row in scores] if read is not None else []
    stamp: dict[str, Any] = {"model": generation.name, "version": generation.version, "request_id": request_id}
    found: OutcomePrediction | OutcomePredictions
    if one:
        found = OutcomePrediction(**stamp, **_fields(outcomes[0]))
    else:
        found = OutcomePredictions(**stamp, predictions=outcomes)
    return 200, [*generation.stamp, ("x-request-id", request_id)], _encode(found)


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in outcome.__struct_fields__}
