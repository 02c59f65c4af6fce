"""The native protocol's wire: one row as `features`, many as `instances`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.bodies import JSON, decode_json, media_type
from gateway.errors import UnsupportedMediaType
from gateway.schemas import PredictRequest, TableRequest
from gateway.scoring import Scoring

if TYPE_CHECKING:
    from gateway.admission import Admission
    from gateway.errors import GatewayError
    from gateway.models import Models
    from gateway.reply import Answer
    from gateway.wires import Arriving, Headers

__all__ = ["NativeWire"]


class NativeWire:
    """`/predict` and `/predict/{model}`; its errors are RFC 9457, as are those of every path that is nobody else's."""

    media_types = frozenset({JSON})
    under = ()

    def __init__(self, models: Models, admission: Admission) -> None:
        self._begin = Scoring(models, admission).begin
        self._admission = admission
        self._models = models
        self._decoder = msgspec.json.Decoder(PredictRequest)
        self._decode = self._decoder.decode
        self._table_decoder = msgspec.json.Decoder(TableRequest)

    def begin(self, member: Arriving, parameters: tuple[str, ...], headers: Headers, body: bytes) -> None:
        """Decode rows and queue them.

        Raises:
            UnsupportedMediaType: the content type is another.
            GatewayError: as `Scoring.begin`.
        """
        if headers.get("content-type") != JSON and media_type(headers) != JSON:
            given = headers.get("content-type") or ""
            raise UnsupportedMediaType(f"Content-Type must be {JSON}, not {given!r}")
        model = parameters[0] if parameters else None
        data: PredictRequest | TableRequest
        if model in self._models.tables:
            data = decode_json(self._table_decoder, body)
        else:
            try:
                data = self._decode(body)
            except Exception:  # noqa: BLE001 - decoded again for the client's words
                data = decode_json(self._decoder, body)
        self._begin(member, data, model, headers.get("x-request-id"), headers.get("x-deadline-ms"))

    def refuse(self, error: GatewayError, headers: Headers) -> Answer:
        """RFC 9457, under the caller's id where that is usable."""
        return self._admission.refuse(error, headers.get("x-request-id"))
