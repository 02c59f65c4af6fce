"""Rows as a graph takes them: a matrix of numbers, and beside it one of texts if the model reads any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.modelfile import MISSING_TEXT
from converters.numbers import encode_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from converters.modelfile import Signature
    from converters.numbers import Number

__all__ = ["Rows", "join"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The same rows, numbers and texts; as many of the one as of the other."""

    numbers: npt.NDArray[np.float64]
    """[n, columns]; NaN for a missing value, and wherever a column is text: no graph may look there."""
    texts: npt.NDArray[np.object_] | None = None
    """[n, text columns], `MISSING_TEXT` for a missing one; None if no column is text."""

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> Rows:
        """Those rows, by a slice, indices or a mask."""
        return Rows(numbers=self.numbers[rows], texts=None if self.texts is None else self.texts[rows])

    def feed(self, signature: Signature) -> tuple[npt.NDArray[Any], npt.NDArray[np.object_] | None]:
        """What the gateway hands to the graph: numbers in the signature's dtype; what it cannot hold is infinite."""
        with np.errstate(over="ignore"):
            return self.numbers.astype(signature.dtype), self.texts

    def encoded(self, signature: Signature) -> list[list[Number | str]]:
        """A JSON value a column."""
        rows: list[list[Number | str]] = [list(row) for row in encode_rows(self.numbers)]
        for place, texts in zip(signature.texts, self.texts.T if self.texts is not None else (), strict=True):
            for row, text in zip(rows, texts, strict=True):
                row[place] = None if text == MISSING_TEXT else str(text)
        return rows


def join(blocks: Sequence[Rows]) -> Rows:
    """Blocks of one model's rows, one behind the other."""
    texts = [block.texts for block in blocks if block.texts is not None]
    return Rows(
        numbers=np.concatenate([block.numbers for block in blocks]), texts=np.concatenate(texts) if texts else None
    )
