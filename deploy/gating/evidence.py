"""The rows that may judge two models: both versions' held-out rows, without any that either was fitted on."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from converters.modelfile import ARTIFACT_NAME, read_metadata
from converters.session import open_session, properties_of, score
from training.evidence import HELDOUT, TRAINED, hash_rows, read_trained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from converters.modelfile import Metadata, Signature

__all__ = ["EvidenceError", "Judge", "Side", "judging_rows", "open_side"]


class EvidenceError(Exception):
    """Two models cannot be compared by what is kept of them; the text says why and what would help."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """A version's model and its evidence."""

    name: str
    """As it is shown: `version 3`."""
    metadata: Metadata
    rows: npt.NDArray[np.float64]
    """Held out, [n, columns]."""
    codes: npt.NDArray[np.int64]
    """Their classes, as places in the signature's, [n]."""
    trained: npt.NDArray[np.uint64]
    """Hashes of the rows that it was fitted on."""
    session: object

    def probabilities(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What the model answers as the gateway would ask it, [n, classes]."""
        return score(self.session, self.metadata.signature, rows.astype(np.float32)).astype(np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Rows that neither side was fitted on; equal ones of one class are there once."""

    rows: npt.NDArray[np.float64]
    codes: npt.NDArray[np.int64]
    known: int
    """Held-out rows that were left out because one side was fitted on them."""


def open_side(name: str, folder: Path) -> Side:
    """Read a version's folder; its model file was let through by the verifier.

    Raises:
        EvidenceError: the evidence is missing, or is not of this model.
    """
    session = open_session((folder / ARTIFACT_NAME).read_bytes())
    metadata = read_metadata(properties_of(session))
    for file in (HELDOUT, TRAINED):
        if not (folder / file).is_file():
            raise EvidenceError(f"{name} has no {file} beside its model file: train and register it anew")
    rows, codes = _read_heldout(name, folder / HELDOUT, metadata.signature)
    try:
        trained = read_trained(folder / TRAINED)
    except ValueError as error:
        raise EvidenceError(f"{TRAINED} of {name} cannot be read: {error}; register it anew") from error
    return Side(name=name, metadata=metadata, rows=rows, codes=codes, trained=trained, session=session)


def judging_rows(sides: Sequence[Side]) -> Judge:
    """Both sides' held-out rows without any that a side was fitted on; a row that both held out counts once.

    Raises:
        EvidenceError: the sides take other columns or tell other classes.
    """
    first, *others = (side.metadata.signature for side in sides)
    for side, signature in zip(sides[1:], others, strict=True):
        if (signature.columns, signature.classes) != (first.columns, first.classes):
            raise EvidenceError(f"{sides[0].name} and {side.name} have other columns or classes: nothing to compare")
    rows, codes = np.concatenate([side.rows for side in sides]), np.concatenate([side.codes for side in sides])
    _, once = np.unique(hash_rows(np.column_stack([rows, codes])), return_index=True)
    fitted = np.isin(hash_rows(rows[once]), np.concatenate([side.trained for side in sides]))
    kept = np.sort(once[~fitted])
    return Judge(rows=rows[kept], codes=codes[kept], known=int(fitted.sum()))


def _read_heldout(name: str, path: Path, signature: Signature) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Features and classes, as `training.data.write_csv` wrote them."""
    places = {str(value): place for place, value in enumerate(signature.classes)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        if header[:-1] != [column.name for column in signature.columns]:
            raise EvidenceError(f"{HELDOUT} of {name} has other columns than its model file; register it anew")
        width = len(signature.columns)
        rows = np.array([[float(cell) for cell in line[:width]] for line in lines], dtype=np.float64)
        codes = np.array([places[line[width]] for line in lines], dtype=np.int64)
    except (ValueError, IndexError, KeyError) as error:
        raise EvidenceError(f"{HELDOUT} of {name} cannot be read: {error!r}; register it anew") from error
    return rows.reshape(-1, width), codes
