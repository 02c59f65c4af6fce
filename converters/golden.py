"""Golden rows: a few answers of scikit-learn that travel in the file and must come out of every session made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from converters.answers import distances, score_of
from converters.errors import GoldenMismatch
from converters.modelfile import MISSING_TEXT, Golden
from converters.numbers import decode_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from converters.modelfile import Metadata, Signature
    from converters.numbers import Number

    Run = Callable[[npt.NDArray[Any], npt.NDArray[np.object_] | None], npt.NDArray[np.float32]]

__all__ = ["check_golden", "choose_golden", "golden_inputs"]

_COUNT = 16


def choose_golden(
    rows: Sequence[Sequence[Number | str]],
    signature: Signature,
    answers: npt.NDArray[np.float64],
    graph_sha256: str,
    count: int = _COUNT,
) -> Golden:
    """Take `count` rows spread evenly over the range of scores, so that a damaged branch is likely to show.

    Args:
        rows: encoded, a value a column.
        signature: of the model.
        answers: scikit-learn's, float64 [n, width].
        graph_sha256: of the graph.
        count: so many at most.
    """
    order = np.argsort(score_of(signature, answers), kind="stable")
    picks = order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]
    return Golden(
        graph_sha256=graph_sha256,
        rows=tuple(tuple(rows[pick]) for pick in picks),
        answers=tuple(map(tuple, answers[picks].tolist())),
    )


def golden_inputs(metadata: Metadata) -> tuple[npt.NDArray[Any], npt.NDArray[np.object_] | None]:
    """The golden rows as a graph takes them: numbers [n, columns] of the signature's dtype, and texts or None."""
    signature, rows = metadata.signature, metadata.golden.rows
    places = set(signature.texts)
    with np.errstate(over="ignore"):
        numbers = decode_rows(
            [[None if place in places else value for place, value in enumerate(row)] for row in rows]
        ).astype(signature.dtype)
    if not places:
        return numbers, None
    texts = [[MISSING_TEXT if row[place] is None else str(row[place]) for place in signature.texts] for row in rows]
    return numbers, np.array(texts, dtype=object)


def check_golden(run: Run, metadata: Metadata) -> float:
    """Score the golden rows and return the largest distance from scikit-learn's answers.

    They are scored together and one by one: onnxruntime has another path for a single row, and a graph may be made for
    one number of rows only.

    Args:
        run: answers [n, width] for rows [n, columns] and texts [n, text columns], or None.
        metadata: of the file that `run`'s session was made from.

    Raises:
        GoldenMismatch: an answer is further off than the certificate's tolerance, or not finite.
    """
    rows, texts = golden_inputs(metadata)
    expected = np.array(metadata.golden.answers)
    alone = [
        np.asarray(run(rows[one], texts[one] if texts is not None else None))
        for one in (slice(index, index + 1) for index in range(len(rows)))
    ]
    return max(
        _distance(metadata, np.asarray(run(rows, texts)), expected),
        _distance(metadata, np.concatenate(alone), expected),
    )


def _distance(metadata: Metadata, answered: npt.NDArray[Any], expected: npt.NDArray[np.float64]) -> float:
    tolerance = metadata.parity.tolerance
    if answered.shape != expected.shape:
        raise GoldenMismatch(f"golden rows answered with shape {answered.shape}, expected {expected.shape}")
    errors = distances(metadata.signature, answered, expected)
    bad = np.flatnonzero(~(errors <= tolerance))
    if bad.size:
        raise GoldenMismatch(
            f"golden row {bad[0]} is off by {errors[bad[0]]:.3g}, tolerance {tolerance:.3g}"
            f" ({bad.size} of {len(errors)} rows)"
        )
    return float(errors.max())
