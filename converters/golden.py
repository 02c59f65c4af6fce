"""Golden rows: a few answers of scikit-learn that travel in the file and must come out of every session made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from converters.errors import GoldenMismatch
from converters.modelfile import Golden
from converters.numbers import decode_rows, encode_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from converters.modelfile import Metadata

__all__ = ["check_golden", "choose_golden"]

_COUNT = 16


def choose_golden(
    rows: npt.NDArray[np.float64], probabilities: npt.NDArray[np.float64], graph_sha256: str, count: int = _COUNT
) -> Golden:
    """Take `count` rows spread evenly over the range of scores, so that a damaged branch is likely to show."""
    order = np.argsort(probabilities[:, -1], kind="stable")
    picks = order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]
    return Golden(
        graph_sha256=graph_sha256,
        rows=tuple(map(tuple, encode_rows(rows[picks]))),
        probabilities=tuple(map(tuple, probabilities[picks].tolist())),
    )


def check_golden(run: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]], metadata: Metadata) -> float:
    """Score the golden rows and return the largest difference from scikit-learn's answers.

    They are scored together and one by one: onnxruntime has another path for a single row, and a graph may be made for
    one number of rows only.

    Args:
        run: rows float32 [n, columns] → probabilities [n, classes].
        metadata: of the file that `run`'s session was made from.

    Raises:
        GoldenMismatch: a probability is further off than the certificate's tolerance, or not finite.
    """
    golden = metadata.golden
    with np.errstate(over="ignore"):
        rows = decode_rows(golden.rows).astype(np.float32)
    expected = np.array(golden.probabilities)
    alone = [np.asarray(run(rows[index : index + 1])) for index in range(len(rows))]
    return max(
        _distance(np.asarray(run(rows)), expected, metadata.parity.tolerance),
        _distance(np.concatenate(alone), expected, metadata.parity.tolerance),
    )


def _distance(answered: npt.NDArray[Any], expected: npt.NDArray[np.float64], tolerance: float) -> float:
    if answered.shape != expected.shape:
        raise GoldenMismatch(f"golden rows answered with shape {answered.shape}, expected {expected.shape}")
    errors = np.abs(answered.astype(np.float64) - expected).max(axis=1)
    bad = np.flatnonzero(~(errors <= tolerance))
    if bad.size:
        raise GoldenMismatch(
            f"golden row {bad[0]} is off by {errors[bad[0]]:.3g}, tolerance {tolerance:.3g}"
            f" ({bad.size} of {len(errors)} rows)"
        )
    return float(errors.max())
