"""Tensors of the protocol as numpy arrays: from JSON and from bytes, and back."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from converters.modelfile import MISSING_TEXT
from gateway.errors import BadRequest
from gateway.v2 import words

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["DATATYPES", "Tensor", "as_bytes", "as_list", "from_bytes", "from_json"]

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "BYTES": np.dtype(object),
}
"""The protocol's datatypes but for BF16, which numpy does not have; BYTES are strings of UTF-8 here."""

_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "b": msgspec.json.Decoder(list[bool | list[bool | None] | None]),
    "i": msgspec.json.Decoder(list[int | list[int | None] | None]),
    "f": msgspec.json.Decoder(list[float | list[float | None] | None]),
    "O": msgspec.json.Decoder(list[str | list[str | None] | None]),
}
_DECODERS["u"] = _DECODERS["i"]
_LENGTH = struct.Struct("<I")
_EXACT_MAX = 2**53
"""A whole number beyond it, either side of 0, may have no double of its own."""


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One input as it came; the place is for errors."""

    name: str
    datatype: str
    shape: list[int]
    model: str
    place: int = 0

    @property
    def count(self) -> int:
        """How many values the shape says."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def from_json(tensor: Tensor, raw: msgspec.Raw) -> npt.NDArray[Any]:
    """Values [count] of `data`, flat or nested; with `null` among numbers they are doubles, and it is NaN.

    Raises:
        BadRequest: not an array of the datatype, or not as many values as the shape says.
    """
    dtype = DATATYPES[tensor.datatype]
    try:
        values = _DECODERS[dtype.kind].decode(raw)
    except msgspec.ValidationError as error:
        raise BadRequest(words.unparsed("data", _placed(str(error), tensor.place))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # who looked for the end of it looked into no text
        raise BadRequest(words.not_json(str(error))) from None
    except RecursionError:
        raise BadRequest(words.unparsed("data", "it is nested too deeply")) from None
    kinds = set(map(type, values))
    if list in kinds:
        if len(kinds) > 1:
            raise BadRequest(words.unparsed("data", "arrays stand beside values"))
        values = list(itertools.chain.from_iterable(values))
    if len(values) != tensor.count:
        raise BadRequest(words.true_shape(tensor.name, tensor.shape, len(values)))
    if dtype.kind == "O":
        return _objects([MISSING_TEXT if value is None else value for value in values])
    return _floats(tensor, values, dtype) if dtype.kind == "f" else _whole(tensor, values, dtype)


def _floats(tensor: Tensor, values: list[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        fitted = np.array(values, dtype=dtype)
    lost = np.isinf(fitted)
    if lost.any():
        raise BadRequest(words.unparsed("data", _unfit(tensor, values[int(lost.argmax())])))
    return fitted


def _whole(tensor: Tensor, values: list[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    present = [value for value in values if value is not None]
    if dtype.kind != "b":
        limits = np.iinfo(dtype)
        # With a missing value among them, numbers are doubles.
        bound = _EXACT_MAX if len(present) < len(values) else 2**64
        least, most = max(int(limits.min), -bound), min(int(limits.max), bound)
        for value in present:
            if not least <= value <= most:
                raise BadRequest(words.unparsed("data", _unfit(tensor, value)))
    return np.array(values, dtype=dtype if len(present) == len(values) else np.float64)


def _unfit(tensor: Tensor, value: object) -> str:
    return f"{value!r} does not fit {tensor.datatype} - in input '{tensor.name}'"


def _objects(values: list[str]) -> npt.NDArray[np.object_]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _placed(error: str, place: int) -> str:
    """What msgspec said, with the path from the body's root."""
    path = f"`$.inputs[{place}].data"
    return error.replace("`$", path, 1) if "`$" in error else f"{error} - at {path}`"


def from_bytes(tensor: Tensor, data: memoryview) -> npt.NDArray[Any]:
    """Values [count] of binary data: a view, but for BYTES and BOOL.

    Raises:
        BadRequest: more or fewer bytes than shape and datatype say, or a string that is no UTF-8.
    """
    dtype = DATATYPES[tensor.datatype]
    if dtype.kind == "O":
        return _objects(_strings(tensor, data))
    expected = tensor.count * dtype.itemsize
    if len(data) != expected:
        raise BadRequest(words.byte_size(tensor.name, tensor.model, expected, len(data)))
    if dtype.kind == "b":
        return np.frombuffer(data, dtype=np.uint8).astype(np.bool_)
    return np.frombuffer(data, dtype=dtype)


def _strings(tensor: Tensor, data: memoryview) -> list[str]:
    name, model = tensor.name, tensor.model
    found, at, end = [], 0, len(data)
    while at < end:
        if end - at < _LENGTH.size:
            raise BadRequest(words.string_length_cut(name, model, end - at))
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if end - at < length:
            raise BadRequest(words.string_cut(name, model, length, end - at))
        try:
            found.append(str(data[at : at + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise BadRequest(f"value {len(found)} of input '{name}' is no UTF-8: {error.reason}") from None
        at += length
    if len(found) != tensor.count:
        raise BadRequest(words.string_count(name, model, len(found), tensor.count))
    return found


def as_list(values: npt.NDArray[Any]) -> list[Any]:
    """For JSON, flat; an FP32 is written as the double that equals it."""
    flat: list[Any] = values.reshape(-1).tolist()
    return flat


def as_bytes(values: npt.NDArray[Any]) -> bytes:
    """Little-endian, row by row; strings with their lengths before them."""
    if values.dtype.kind != "O":
        return values.tobytes()
    encoded = [text.encode() for text in values.reshape(-1)]
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))
