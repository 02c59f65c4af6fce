"""A row from a request becomes float32 in a block, or a 400 that names the value."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from converters.modelfile import Signature

    Values = Sequence[float | None]
    Row = list[float | None] | dict[str, float | None]

__all__ = ["RowPacker"]

_FLOAT32_MAX = 3.4028234663852886e38
_SHOWN_NAMES = 5


class RowPacker:
    """Writes rows of one signature into a float32 buffer; a refused row leaves nothing that is ever read."""

    def __init__(self, signature: Signature) -> None:
        self._names = tuple(column.name for column in signature.columns)
        self._known = frozenset(self._names)
        self._width = len(self._names)
        self._missing = signature.missing == "accepted"
        self._pack: Callable[..., None] = struct.Struct(f"={self._width}f").pack_into
        self.row_bytes = 4 * self._width

    def pack(self, buffer: memoryview, offset: int, row: Row, path: str) -> None:
        """Write one row at a byte offset.

        Args:
            buffer: bytes of a float32 block.
            offset: where the row begins, in bytes.
            row: values in the model's order, or by name.
            path: where the row stands in the body, for the error.

        Raises:
            BadRequest: a wrong number of values, a wrong name, a missing value the model does not take, or one that
                float32 cannot hold. What was written at `offset` until then must be overwritten or ignored.
        """
        values: Values = self._by_name(row, path) if isinstance(row, dict) else row
        try:
            self._pack(buffer, offset, *values)
        except (struct.error, OverflowError):
            self._pack(buffer, offset, *self._repaired(values, path, named=isinstance(row, dict)))

    def _by_name(self, row: dict[str, float | None], path: str) -> Values:
        if len(row) == self._width and self._known.issuperset(row):
            return [row[name] for name in self._names]
        unknown = [name for name in row if name not in self._known]
        if unknown:
            raise BadRequest(f"unknown feature {_shown(unknown)} - at `{path}`; the model takes {_shown(self._names)}")
        absent = [name for name in self._names if name not in row]
        raise BadRequest(f"missing feature {_shown(absent)} - at `{path}`")

    def _repaired(self, values: Values, path: str, *, named: bool) -> list[float]:
        """The row with NaN for missing values, if that was all that kept it from being packed."""
        if len(values) != self._width:
            raise BadRequest(f"{len(values)} values, the model takes {self._width} - at `{path}`")
        repaired = []
        for index, value in enumerate(values):
            where = f"{path}.{self._names[index]}" if named else f"{path}[{index}]"
            if value is None:
                if not self._missing:
                    raise BadRequest(f"the model takes no missing value (null) - at `{where}`")
                repaired.append(float("nan"))
                continue
            try:
                struct.pack("=f", value)
            except OverflowError:
                raise BadRequest(
                    f"{value!r} does not fit float32 (largest {_FLOAT32_MAX:.7g}) - at `{where}`"
                ) from None
            repaired.append(value)
        return repaired


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"
