"""Rows and scores as nothing but their float32 values, little-endian, one row after the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.errors import BadRequest

if TYPE_CHECKING:
    import numpy.typing as npt

    from converters.modelfile import Signature
    from gateway.tickets import Scores

__all__ = ["read_floats", "write_floats"]

_FLOAT32 = np.dtype("<f4")
_SHAPE = re.compile(r"(\d{1,9}) ?, ?(\d{1,9})", re.ASCII)


def read_floats(body: bytes, shape: str | None, signature: Signature) -> npt.NDArray[Any]:
    """The rows [n, columns] of a body, in the signature's dtype; not to be written to.

    Args:
        body: the values.
        shape: what the caller says that it sends, as `rows,columns`.
        signature: of the model.

    Raises:
        BadRequest: the model has text columns, the body is no whole number of rows, or of another shape.
    """
    width = len(signature.columns)
    if signature.texts:
        name = signature.columns[signature.texts[0]].name
        raise BadRequest(f"column {name!r} is text, which float32 values cannot say: send JSON or msgpack")
    row_bytes = _FLOAT32.itemsize * width
    count, rest = divmod(len(body), row_bytes)
    if rest or not body:
        raise BadRequest(
            f"{len(body)} bytes are no rows of this model: {width} float32 values are one, {row_bytes} bytes"
        )
    if shape is not None:
        said = _SHAPE.fullmatch(shape)
        if said is None or (int(said[1]), int(said[2])) != (count, width):
            raise BadRequest(f"X-Shape is {shape[:40]!r}, the body has {count},{width} (rows,columns)")
    return np.frombuffer(body, _FLOAT32).reshape(count, width).astype(signature.dtype, copy=False)


def write_floats(scores: Scores, width: int) -> tuple[bytes, str]:
    """The values of scores [n, width], and their shape in words."""
    values = np.asarray(scores, _FLOAT32).reshape(-1, width)
    return values.tobytes(), f"{len(values)},{width}"
