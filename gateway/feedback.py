"""`POST /feedback`: what came true, kept on disk before the answer; the observer joins it with what was predicted.

A worker does not know which model answered a request, nor whether there ever was one: whether a label is a class of
that model shows at the join.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody  # noqa: TC002 - Litestar reads the handler's annotations
from litestar.typing import FieldDefinition
from msgspec import UNSET, UnsetType

from gateway.admission import REQUEST_ID
from gateway.bodies import EMPTY, JsonBody
from gateway.errors import GatewayError, Problem, TooLarge
from gateway.reply import JSON_HEADER, Reply
from gateway.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from litestar.handlers import HTTPRouteHandler

__all__ = [
    "LABELS_MAX",
    "Accepted",
    "Feedback",
    "FeedbackLog",
    "Given",
    "Label",
    "Rejected",
    "decode_frame",
    "feedback_route",
]

LABELS_MAX: Final = 10_000
"""Most labels in one request."""
ROWS_MAX: Final = 1_000_000
"""Rows of a request are numbered up to here."""
_TEXT_MAX: Final = 256
_LIMIT_BYTES: Final = 64 * 2**20
_ROTATE_BYTES: Final = 4 * 2**20
_ROTATE_S: Final = 2.0

Label = bool | int | float | str


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The truth on one row (`label`), or on all rows of a request in their order (`labels`)."""

    request_id: str
    """As in the answer to the prediction."""
    label: Label | UnsetType = UNSET
    """A class of the model, as `prediction` or as `label` of the answer tells it; or the true number."""
    labels: list[Label] | UnsetType = UNSET
    row: int | UnsetType = UNSET
    """Which row of the request `label` is of, from 0; absent: 0."""


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """What cannot be the truth on any row."""

    index: int
    """Place in the list; 0 if one was sent alone."""
    reason: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept."""

    accepted: int
    """Labels."""
    rejected: list[Rejected]


class Given(msgspec.Struct, frozen=True, array_like=True):
    """One label on its way to the observer."""

    request_id: str
    row: int
    label: Label


class _Frame(msgspec.Struct, frozen=True, array_like=True):
    time: float
    given: list[Given]


class NoRoom(GatewayError):  # noqa: N818 - named like its siblings
    """The labels cannot be kept now."""

    status = 503
    retry_after_s = 10


def decode_frame(data: bytes) -> tuple[float, list[Given]]:
    """When labels came, in Unix time, and which.

    Raises:
        msgspec.MsgspecError: it is no frame of `FeedbackLog`.
    """
    frame = _decode(data)
    return frame.time, frame.given


_decode = msgspec.msgpack.Decoder(_Frame).decode
_encode = msgspec.msgpack.Encoder().encode


class FeedbackLog:
    """This worker's part of `monitor/spool/feedback`; up to 64 MiB wait there for the observer."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._spool = Spool(
            folder, limit_bytes=_LIMIT_BYTES, rotate_s=_ROTATE_S, rotate_bytes=_ROTATE_BYTES, clock=clock
        )
        self._clock = clock

    def keep(self, given: list[Given]) -> None:
        """Keep all of them: from here on they outlive this process.

        Raises:
            NoRoom: none is kept.
        """
        if given and not self._spool.append(_encode(_Frame(self._clock(), given))):
            raise NoRoom(
                "labels cannot be kept now, and none of these was (no room, or no observer): send them again later"
            )

    def rotate(self) -> None:
        """Hand over what is old enough; called now and then."""
        self._spool.rotate()

    def close(self) -> None:
        """Hand over what is left."""
        self._spool.close()


def sort_out(found: list[Feedback]) -> tuple[list[Given], list[Rejected]]:
    """Part what can be joined from what cannot, which says why.

    Raises:
        TooLarge: there are more labels than one request may bring.
    """
    given: list[Given] = []
    rejected: list[Rejected] = []
    for index, one in enumerate(found):
        reason = _fault(one)
        if reason is not None:
            rejected.append(Rejected(index=index, reason=reason))
        elif isinstance(one.labels, list):
            given += [Given(one.request_id, row, label) for row, label in enumerate(one.labels)]
        elif not isinstance(one.label, UnsetType):
            given.append(Given(one.request_id, 0 if isinstance(one.row, UnsetType) else one.row, one.label))
        if len(given) > LABELS_MAX:
            raise TooLarge(f"more than {LABELS_MAX} labels in one request: send them in several")
    return given, rejected


def _fault(one: Feedback) -> str | None:
    if not REQUEST_ID.fullmatch(one.request_id):
        return f"request_id must be 1 to 128 of [A-Za-z0-9._:-], not {one.request_id[:140]!r}"
    if isinstance(one.label, UnsetType) == isinstance(one.labels, UnsetType):
        return "send either label or labels"
    if isinstance(one.labels, list):
        if not isinstance(one.row, UnsetType):
            return "row goes with label; labels are those of rows 0, 1, …"
        return next(filter(None, map(_label_fault, one.labels)), None)
    if not isinstance(one.row, UnsetType) and not 0 <= one.row < ROWS_MAX:
        return f"row must be 0 to {ROWS_MAX - 1}, not {one.row}"
    return _label_fault(one.label)


def _label_fault(label: Any) -> str | None:
    if isinstance(label, str) and len(label) > _TEXT_MAX:
        return f"a label has at most {_TEXT_MAX} characters, not {len(label)}"
    if isinstance(label, float) and not math.isfinite(label):
        return f"a label must be finite, not {label}"
    if isinstance(label, int) and not -(2**63) <= label < 2**63:
        return "a label must fit into 64 bits"
    return None


class _Body(JsonBody[Feedback]):
    decoder = msgspec.json.Decoder(Feedback | list[Feedback])

    @classmethod
    def create_for_field_definition(cls, field_definition: FieldDefinition, handler_id: str, *rest: Any) -> None:
        """Be the DTO of one; Litestar knows none of a union, and the decoder is ours."""
        del field_definition
        super().create_for_field_definition(FieldDefinition.from_annotation(Feedback), handler_id, *rest)


def feedback_route(log: FeedbackLog) -> HTTPRouteHandler:
    """The handler, which keeps labels in `log`."""
    encode = msgspec.json.Encoder().encode

    @post(
        "/feedback",
        status_code=202,
        dto=_Body,
        opt={EMPTY: 'the body is empty: send JSON such as {"request_id": "…", "label": …}'},
        responses={
            400: ResponseSpec(Problem, description="The body is malformed; the detail names the path of the value."),
            413: ResponseSpec(Problem, description=f"More than {LABELS_MAX} labels, or too many bytes."),
            503: ResponseSpec(Problem, description="No room; nothing was kept. Retry-After says when to try again."),
        },
        raises=[],
        tags=["monitoring"],
    )
    async def feedback(data: JSONBody[Feedback | list[Feedback]]) -> Reply[Accepted]:
        """Tell what came true of rows that were predicted: one label, a request's labels, or a list of either.

        Kept on disk before the answer. May come late, and again; joined on request id and row. A different label for
        the same row takes the place of the one before.
        """
        given, rejected = sort_out(data if isinstance(data, list) else [data])
        await asyncio.to_thread(log.keep, given)  # a disk may be slow
        return Reply(202, [JSON_HEADER], encode(Accepted(accepted=len(given), rejected=rejected)))

    return feedback
