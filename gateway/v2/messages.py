"""The JSON of an inference request, and of its answer."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway.errors import BadRequest
from gateway.v2 import words

__all__ = [
    "InferAnswer",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InputParameters",
    "OutputParameters",
    "RequestParameters",
    "RequestedOutput",
    "decode",
]

Natural = Annotated[int, msgspec.Meta(ge=0)]


class InputParameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of one input; others than these are taken and do nothing."""

    binary_data_size: Natural | UnsetType = UNSET
    """The input's data are so many bytes behind the JSON, after those of the inputs before it."""
    shared_memory_region: str | UnsetType = UNSET
    """Refused: there is no shared memory with clients."""


class InferInput(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One input."""

    name: str
    shape: list[Natural]
    datatype: str
    parameters: InputParameters | None = None
    data: Annotated[
        msgspec.Raw | UnsetType, msgspec.Meta(description="Flat, or an array a row; null is a missing value.")
    ] = UNSET


class OutputParameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of one output; others than these are taken and do nothing."""

    binary_data: bool | UnsetType = UNSET
    """Whether it is wanted as bytes behind the JSON."""
    classification: Natural = 0
    """Refused unless 0: ask for `label` or `probabilities`."""
    shared_memory_region: str | UnsetType = UNSET
    """Refused: there is no shared memory with clients."""


class RequestedOutput(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One output that is wanted."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of the whole request; others than these are taken and do nothing."""

    binary_data_output: bool = False
    """Whether outputs are wanted as bytes unless one of them says otherwise."""
    timeout: Annotated[int, msgspec.Meta(ge=0, le=10**12)] = 0
    """Microseconds within which an answer is wanted, if `X-Deadline-Ms` does not say it; 0: the server's default."""


class InferRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What to score, and which outputs are wanted: all of them, if none is named."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: list[InferInput]
    outputs: list[RequestedOutput] | None = None


class InferOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One output, with its data or the number of its bytes behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET


class InferAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The answer; the request's `id` is echoed."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


_decode = msgspec.json.Decoder(InferRequest).decode
_MISSING = re.compile(r"missing required field `(\w+)`")
_LAST = re.compile(r"\.(\w+)(?:\[\d+\])*`$")


def decode(data: bytes | memoryview) -> InferRequest:
    """The request of a body's JSON.

    Raises:
        BadRequest: it is no JSON, or a field is missing or of another type.
    """
    try:
        return _decode(data)
    except msgspec.ValidationError as error:
        found = _MISSING.search(str(error)) or _LAST.search(str(error))
        text = words.unparsed(found[1], str(error)) if found else words.not_json(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = words.not_json(str(error))
    except RecursionError:
        text = words.not_json("it is nested too deeply")
    raise BadRequest(text)
