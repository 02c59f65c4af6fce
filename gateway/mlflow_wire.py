"""MLflow's scoring protocol on a lane: `/invocations`, its answers and its errors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import BadRequest, UnsupportedMediaType
from gateway.frames import SchemaMismatch
from gateway.invocations import CSV, JSON, read_table
from gateway.outcomes import place_of
from gateway.plain_rows import plain_rows
from gateway.reply import JSON_HEADER

if TYPE_CHECKING:
    from converters.modelfile import Signature, Target
    from gateway.admission import Admission
    from gateway.errors import GatewayError
    from gateway.generation import Generation
    from gateway.models import Models
    from gateway.reply import Answer
    from gateway.tickets import Scores
    from gateway.wires import Arriving, Headers

__all__ = ["PROTOCOL_VERSION", "MlflowError", "MlflowPredictions", "MlflowWire"]

PROTOCOL_VERSION = "3.17.2"
"""Of the MLflow whose scoring server is the measure; `GET /version` answers it, as that server does."""

_encode = msgspec.json.Encoder().encode
_TEXT = ("content-type", "text/plain; charset=utf-8")
_CODES = {
    404: "RESOURCE_DOES_NOT_EXIST",
    413: "REQUEST_LIMIT_EXCEEDED",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class MlflowPredictions(msgspec.Struct, frozen=True):
    """The answer: one prediction a row, in their order."""

    predictions: list[Any]
    """What scikit-learn's `predict` returns: a class or a number, or a list of those."""


class MlflowError(msgspec.Struct, frozen=True):
    """What went wrong, as MLflow words it."""

    error_code: str
    message: str


class MlflowWire:
    """Begins and refuses scoring requests of this protocol, on any lane."""

    media_types = frozenset({JSON, f"{JSON}; charset=utf-8", CSV, f"{CSV}; charset=utf-8"})
    under = ("/invocations",)

    def __init__(self, models: Models, admission: Admission) -> None:
        self._find = models.find
        self._admission = admission

    def begin(self, member: Arriving, parameters: tuple[str, ...], headers: Headers, body: bytes) -> None:
        """Queue the rows of a request for one generation of a model: the path's, else the default one.

        Raises:
            GatewayError: the rows do not fit the model, or are refused as the batcher or the admission says.
        """
        member.origin = given = self._admission.request_id(headers.get("x-request-id"))
        generation = self._find(parameters[0] if parameters else None)
        member.deadline = self._admission.deadline(headers.get("x-deadline-ms"), member.arrived)
        signature = generation.engine.metadata.signature
        member.finish = partial(_answer, generation, signature.targets, given)
        content_type = headers.get("content-type")
        if content_type == JSON and _submit_plain(generation, signature, body, member):
            return
        table = read_table(body, content_type, signature)
        generation.batcher.submit_array(table.numbers, table.texts, member)

    def refuse(self, error: GatewayError, headers: Headers) -> Answer:
        """The answer for an error, counted as any other."""
        status, fields, _ = self._admission.refuse(error, headers.get("x-request-id"))
        others = [field for field in fields if field[0] != "content-type"]
        if status == UnsupportedMediaType.status:
            return status, [_TEXT, *others], str(error).encode()
        code = "INVALID_PARAMETER_VALUE" if isinstance(error, SchemaMismatch) else _CODES.get(status, "BAD_REQUEST")
        return status, [JSON_HEADER, *others], _encode(MlflowError(code, str(error)))


def _submit_plain(generation: Generation, signature: Signature, body: bytes, member: Arriving) -> bool:
    """Queue rows that need no conversion, which takes a tenth of the time; False: nothing was queued."""
    rows = plain_rows(body, signature.form, generation.names)
    if rows is None:
        return False
    try:
        if len(rows) == 1:
            generation.batcher.submit_one(rows[0], "", member)
        else:
            generation.batcher.submit_many(rows, "", member)
    except BadRequest:
        return False  # to be read again: converted, or refused in MLflow's words
    return True


def _answer(generation: Generation, targets: tuple[Target, ...], request_id: str, scores: Scores) -> Answer:
    if len(targets) == 1:
        (target,) = targets
        predictions = [_predicted(target, row) for row in scores]
    else:
        predictions = [_all_predicted(targets, row) for row in scores]
    fields = [*generation.stamp, ("x-request-id", request_id)]
    return 200, fields, _encode(MlflowPredictions(predictions))


def _predicted(target: Target, part: list[float]) -> Any:
    """What scikit-learn's `predict` returns for a target's part of a row."""
    if target.classes:
        return target.classes[place_of(target, part)]
    return part[0] if target.width == 1 else part


def _all_predicted(targets: tuple[Target, ...], row: list[float]) -> list[Any]:
    found, start = [], 0
    for target in targets:
        found.append(_predicted(target, row[start : start + target.columns]))
        start += target.columns
    return found
