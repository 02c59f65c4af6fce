"""The native protocol's wire: one row as `features`, many as `instances`, in JSON or msgpack; or nothing but floats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from gateway.bodies import JSON, decode_body, media_type
from gateway.errors import BadRequest, UnsupportedMediaType
from gateway.schemas import PredictRequest, TableRequest
from gateway.scoring import FLOATS, MSGPACK, MSGPACK_TYPE, OCTETS_TYPE, Scoring
from gateway.scoring import JSON as JSON_ANSWERS

if TYPE_CHECKING:
    from gateway.admission import Admission
    from gateway.errors import GatewayError
    from gateway.models import Models
    from gateway.reply import Answer
    from gateway.wires import Arriving, Headers

    Request = PredictRequest | TableRequest

__all__ = ["NativeWire"]

_MSGPACK = frozenset({MSGPACK_TYPE, "application/x-msgpack"})
_FORMS: dict[str, str] = {JSON: JSON, **dict.fromkeys(_MSGPACK, MSGPACK_TYPE), OCTETS_TYPE: OCTETS_TYPE}
"""Media types by what they are to us."""


class NativeWire:
    """`/predict` and `/predict/{model}`; its errors are RFC 9457, as are those of every path that is nobody else's."""

    media_types = frozenset(_FORMS)
    under = ()

    def __init__(self, models: Models, admission: Admission) -> None:
        self._models = models
        self._admission = admission
        self._scoring = {
            form: Scoring(models, admission, answers)
            for form, answers in ((JSON, JSON_ANSWERS), (MSGPACK_TYPE, MSGPACK), (OCTETS_TYPE, FLOATS))
        }
        self._begin_json = self._scoring[JSON].begin
        self._decoders: dict[str, tuple[Any, Any]] = {
            JSON: (msgspec.json.Decoder(PredictRequest), msgspec.json.Decoder(TableRequest)),
            MSGPACK_TYPE: (msgspec.msgpack.Decoder(PredictRequest), msgspec.msgpack.Decoder(TableRequest)),
        }
        self._decode_json = self._decoders[JSON][0].decode

    def begin(self, member: Arriving, parameters: tuple[str, ...], headers: Headers, body: bytes) -> None:
        """Decode rows and queue them.

        Raises:
            UnsupportedMediaType: the content type is another.
            GatewayError: as `Scoring.begin`.
        """
        model = parameters[0] if parameters else None
        if headers.get("content-type") != JSON:
            form = _FORMS.get(media_type(headers))
            if form != JSON:
                self._begin_other(member, model, form, headers, body)
                return
        try:
            data = self._decode_json(body) if model not in self._models.tables else self._decode(JSON, model, body)
        except Exception:  # noqa: BLE001 - decoded again for the client's words
            data = self._decode(JSON, model, body)
        self._begin_json(member, data, model, headers.get("x-request-id"), headers.get("x-deadline-ms"))

    def _begin_other(
        self, member: Arriving, model: str | None, form: str | None, headers: Headers, body: bytes
    ) -> None:
        given = headers.get("x-request-id"), headers.get("x-deadline-ms")
        if form is None:
            sent = headers.get("content-type") or ""
            raise UnsupportedMediaType(f"Content-Type must be {JSON}, {MSGPACK_TYPE} or {OCTETS_TYPE}, not {sent!r}")
        scoring = self._scoring[_answered_in(form, headers.get("accept"))]
        if form == OCTETS_TYPE:
            scoring.begin_floats(member, body, model, headers.get("x-shape"), given)
            return
        data = self._decode(form, model, body)
        _refuse_infinite(data)
        scoring.begin(member, data, model, *given)

    def _decode(self, form: str, model: str | None, body: bytes) -> Any:
        """A request of the kind that the model takes: values other than numbers only if its columns may have them."""
        numbers, table = self._decoders[form]
        return decode_body(table if model in self._models.tables else numbers, body)

    def refuse(self, error: GatewayError, headers: Headers) -> Answer:
        """RFC 9457, under the caller's id where that is usable."""
        return self._admission.refuse(error, headers.get("x-request-id"))


def _answered_in(form: str, accept: str | None) -> str:
    """The form of an answer: the first one that `Accept` names, else the request's own."""
    for part in (accept or "").split(","):
        named = _FORMS.get(part.partition(";")[0].strip().lower())
        if named is not None:
            return named
    return form


def _refuse_infinite(data: Request) -> None:
    """Hold rows of msgpack to what JSON could say: NaN becomes a missing value, an infinity is refused.

    Raises:
        BadRequest: names the value.
    """
    if data.features is not UNSET:
        _refuse_infinite_of(data.features, "$.features")
    if data.instances is not UNSET:
        for index, row in enumerate(data.instances):
            _refuse_infinite_of(row, f"$.instances[{index}]")


def _refuse_infinite_of(row: Any, path: str) -> None:
    named = isinstance(row, dict)
    for key, value in row.items() if named else enumerate(row):
        if not isinstance(value, float) or math.isfinite(value):
            continue
        if not math.isnan(value):
            where = f"{path}.{key}" if named else f"{path}[{key}]"
            raise BadRequest(f"{value} is no number to score - at `{where}`")
        row[key] = None
