"""The wire of `/v2/models/{model}/infer`, with a version in the path or without."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.admission import REQUEST_ID
from gateway.reply import JSON_HEADER
from gateway.v2.coding import compressed
from gateway.v2.request import parse

if TYPE_CHECKING:
    from gateway.admission import Admission
    from gateway.errors import GatewayError
    from gateway.generation import Generation
    from gateway.reply import Answer
    from gateway.tickets import Scores
    from gateway.v2.messages import InferRequest
    from gateway.v2.outputs import Outputs, Wanted
    from gateway.v2.views import Views
    from gateway.wires import Arriving, Headers

__all__ = ["HEADER_LENGTH", "V2Error", "V2Wire"]

HEADER_LENGTH = "inference-header-content-length"
_BINARY_HEADER = ("content-type", "application/octet-stream")


class V2Error(msgspec.Struct, frozen=True):
    """What went wrong, in Triton's words where clients match on them."""

    error: str


_encode = msgspec.json.Encoder().encode


class V2Wire:
    """Takes any content type: a body says by `Inference-Header-Content-Length` what it is, and clients send none."""

    media_types = None
    under = ("/v2",)

    def __init__(self, views: Views, admission: Admission) -> None:
        self._views = views
        self._admission = admission

    def begin(self, member: Arriving, parameters: tuple[str, ...], headers: Headers, body: bytes) -> None:
        """Read the tensors of a request and queue its rows.

        The request's id is that of `X-Request-Id`, else of the body if it is one that the header could give.

        Raises:
            BadRequest: the body is no request, or does not fit the model.
            GatewayError: refused, as the batcher or the admission says.
        """
        generation = self._views.find(*parameters)
        request, behind = parse(body, headers.get(HEADER_LENGTH))
        given, deadline = headers.get("x-request-id"), headers.get("x-deadline-ms")
        member.origin = request_id = self._admission.request_id(_usable(request.id) if given is None else given)
        member.deadline = self._admission.deadline(
            _timeout_ms(request) if deadline is None else deadline, member.arrived
        )
        inputs, outputs = self._views.of(generation)
        wanted = outputs.wanted(request)
        rows, texts = inputs.read(request.inputs, behind)
        answer = partial(_answer, generation, outputs, wanted, request.id, request_id)
        accepted = headers.get("accept-encoding")
        member.finish = answer if accepted is None else lambda scores: compressed(answer(scores), accepted)
        generation.batcher.submit_array(rows, texts, member)

    def refuse(self, error: GatewayError, headers: Headers) -> Answer:
        """`{"error": …}`, under the caller's id where that is usable."""
        self._admission.count(error)
        fields = [JSON_HEADER, ("x-request-id", self._admission.request_id(_usable(headers.get("x-request-id"))))]
        if error.retry_after_s is not None:
            fields.append(("retry-after", str(error.retry_after_s)))
        return error.status, fields, _encode(V2Error(str(error)))


def _answer(
    generation: Generation, outputs: Outputs, wanted: list[Wanted], body_id: str | None, request_id: str, scores: Scores
) -> Answer:
    body, length = outputs.answer(scores, wanted, generation.version, body_id)
    fields: list[Any] = [*generation.stamp, ("x-request-id", request_id)]
    if length is not None:
        fields[0] = _BINARY_HEADER
        fields.append((HEADER_LENGTH, str(length)))
    return 200, fields, body


def _usable(given: str | None) -> str | None:
    return given if given is not None and REQUEST_ID.fullmatch(given) else None


def _timeout_ms(request: InferRequest) -> str | None:
    timeout_us = request.parameters.timeout if request.parameters is not None else 0
    return f"{timeout_us / 1e3:.3f}" if timeout_us else None
