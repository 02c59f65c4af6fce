"""Numbers that survive JSON exactly: missing is `null`, an infinity is a string, every finite double is itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from converters.errors import MetadataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["Number", "decode_rows", "encode_rows", "refuse_non_finite"]

Number = float | Literal["inf", "-inf"] | None


def encode_rows(rows: npt.NDArray[np.float64]) -> list[list[Number]]:
    """Turn a matrix of doubles into JSON numbers; `decode_rows` gives it back bit for bit (one kind of NaN)."""
    return [[_encode(value) for value in row] for row in rows.tolist()]


def decode_rows(rows: Sequence[Sequence[Number | str]]) -> npt.NDArray[np.float64]:
    """Turn encoded rows into a float64 matrix [rows, columns]."""
    return np.array([[math.nan if value is None else float(value) for value in row] for row in rows], dtype=np.float64)


def refuse_non_finite(value: Any, path: str = "$") -> None:
    """Raise for any NaN or infinity in a tree of builtins: msgspec would silently write `null` for it.

    Raises:
        MetadataError: names the path of the first such number.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise MetadataError(f"{path} is {value}, which metadata cannot hold")
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_non_finite(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            refuse_non_finite(item, f"{path}[{index}]")


def _encode(value: float) -> Number:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value
