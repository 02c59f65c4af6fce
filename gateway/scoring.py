"""From a decoded request to its encoded answer: the one core under all lanes of the native protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from gateway.errors import BadRequest
from gateway.reply import Reply
from gateway.schemas import Prediction, Predictions, RowPrediction

if TYPE_CHECKING:
    from gateway.generation import Generation
    from gateway.schemas import PredictRequest

__all__ = ["predict"]

_encode = msgspec.json.Encoder().encode


async def predict(generation: Generation, request: PredictRequest, request_id: str) -> Reply[Prediction | Predictions]:
    """Score one row or many by one generation.

    Raises:
        BadRequest: neither or both of `features` and `instances` are there, or a value cannot be scored.
        GatewayError: refused, or failed, as the batcher says.
    """
    answer: Prediction | Predictions
    if request.features is not UNSET:
        if request.instances is not UNSET:
            raise BadRequest("send either `features` (one row) or `instances` (many), not both")
        scores = await generation.batcher.submit_one(request.features, "$.features")
        answer = _one(generation, scores[0], request_id)
    elif request.instances is not UNSET:
        scores = await generation.batcher.submit_many(request.instances, "$.instances")
        rows = [_row(generation, probabilities) for probabilities in scores]
        answer = Predictions(generation.name, generation.version, request_id, rows)
    else:
        raise BadRequest("send `features` (one row) or `instances` (many)")
    return Reply(200, [*generation.stamp, ("x-request-id", request_id)], _encode(answer))


def _one(generation: Generation, probabilities: list[float], request_id: str) -> Prediction:
    best = probabilities.index(max(probabilities))
    return Prediction(
        generation.name,
        generation.version,
        request_id,
        generation.classes[best],
        generation.labels[best],
        dict(zip(generation.labels, probabilities, strict=True)),
    )


def _row(generation: Generation, probabilities: list[float]) -> RowPrediction:
    best = probabilities.index(max(probabilities))
    labels = generation.labels
    return RowPrediction(generation.classes[best], labels[best], dict(zip(labels, probabilities, strict=True)))
