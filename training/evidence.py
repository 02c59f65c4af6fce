"""What is kept beside a registered model file: the rows that may judge it, and which rows it has been shown.

`heldout.csv` has the held-out rows with their classes, as `write_csv` writes them. `trained.u64` has a hash of each row
that the estimator was fitted on, so that rows can be kept away from a judge without keeping the rows themselves.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from training.data import Dataset
    from training.split import Split

__all__ = ["HELDOUT", "TRAINED", "evidence_folder", "hash_rows", "read_trained", "write_evidence", "write_trained"]

HELDOUT = "heldout.csv"
TRAINED = "trained.u64"


def hash_rows(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Hash of each row's features [n, columns], in the signature's order, without its class: [n].

    64 bits of BLAKE2b over little-endian doubles; 0.0 and -0.0 are the same, and so are all NaN. Among a million rows
    two different ones share a hash with a chance of 3e-8.
    """
    values = np.ascontiguousarray(rows, dtype="<f8") + 0.0
    values[np.isnan(values)] = np.nan
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in values)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def write_trained(rows: npt.NDArray[np.float64], path: Path) -> Path:
    """Write the hashes of the training rows [n, columns], ascending, each once; returns the path."""
    path.write_bytes(np.unique(hash_rows(rows)).astype("<u8").tobytes())
    return path


def read_trained(path: Path) -> npt.NDArray[np.uint64]:
    """The hashes that `write_trained` wrote, ascending."""
    return np.frombuffer(path.read_bytes(), dtype="<u8").astype(np.uint64)


def evidence_folder(file: Path, sha256: str) -> Path:
    """Where a model file's evidence lies: beside it, under its hash, so that another file's is never taken for it."""
    return file.with_name(f"{sha256[:16]}.evidence")


def write_evidence(folder: Path, dataset: Dataset, split: Split, *, fitted_here: bool) -> Path:
    """Write what may judge a model, and what it has been shown; returns the folder.

    Args:
        folder: made if missing.
        dataset: all rows.
        split: which of them are held out.
        fitted_here: whether the estimator was fitted on exactly the split's training rows. Otherwise nobody knows what
            it has been shown, and there is no `trained.u64`.
    """
    from training.data import write_csv

    write_csv(dataset, folder / HELDOUT, split.heldout)
    if fitted_here:
        write_trained(dataset.rows[split.train], folder / TRAINED)
    return folder
