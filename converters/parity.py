"""The parity certificate: scikit-learn on the original doubles against onnxruntime on what the gateway feeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from converters.answers import places_of
from converters.errors import ParityError
from converters.modelfile import Certificate
from converters.rows import join

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from converters.modelfile import Target
    from converters.oracle import Oracle
    from converters.rows import Rows

    Run = Callable[[Rows], npt.NDArray[np.float32]]

__all__ = ["TOLERANCE", "Comparison", "certify", "compare", "versions"]

TOLERANCE = 1e-5
"""Largest difference of a score that passes, in units of its scale: float32 leaves about 1e-6 in practice."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Row by row: how far the graph is from scikit-learn, and in how wide a margin a label flipped."""

    errors: Any
    """float64 [rows]: a row's largest difference, in units of the score's scale; infinite where one is not finite."""
    flips: Any
    """bool [rows]: a predicted class differs."""
    margins: Any
    """float64 [rows]: how far the row is from another class, in scikit-learn's eyes; of flipped targets if any is."""

    def failing(self, tolerance: float) -> npt.NDArray[np.int64]:
        """Rows out of tolerance: too far off, or flipped although the margin was no tie."""
        bad: npt.NDArray[np.int64] = np.flatnonzero(
            (self.errors > tolerance) | (self.flips & (self.margins > tolerance))
        )
        return bad

    def say(self, row: int) -> str:
        """One row in words."""
        flip = f" and another class in a margin of {self.margins[row]:.3g}" if self.flips[row] else ""
        return f"row {row} off by {self.errors[row]:.3g}{flip}"


def compare(oracle: Oracle, run: Run, rows: Rows) -> Comparison:
    """Score the same rows on both sides: scikit-learn gets the doubles, the graph what the gateway would make of them.

    The class of the graph is what an answer says; scikit-learn's is what `predict` says, which is something else than
    the largest score for an estimator with a threshold of its own.
    """
    asked = oracle.ask(rows)
    answered = np.asarray(run(rows), dtype=np.float64)
    if answered.shape != asked.answers.shape:
        raise ParityError(f"the graph answers shape {answered.shape}, scikit-learn {asked.answers.shape}")
    errors, flips = np.zeros(asked.places.shape), np.zeros(asked.places.shape, dtype=np.bool_)
    start = 0
    for index, target in enumerate(oracle.targets):
        columns = slice(start, start + target.columns)
        start = columns.stop
        errors[:, index] = _errors(target, answered[:, columns], asked.answers[:, columns])
        if target.classes:
            flips[:, index] = places_of(target, answered[:, columns]) != asked.places[:, index]
    worst = errors.max(axis=1)
    apart = np.where(flips, asked.margins, -np.inf).max(axis=1)
    return Comparison(
        errors=np.where(np.isfinite(worst), worst, np.inf),
        flips=flips.any(axis=1),
        margins=np.where(flips.any(axis=1), apart, asked.margins.min(axis=1)),
    )


def _errors(target: Target, answered: npt.NDArray[Any], expected: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The largest difference of a row's scores; the class, where it is given, is compared as one."""
    first = int(target.decides == "given")
    if not target.width:
        return np.zeros(len(answered))
    wanted = expected[:, first:]
    with np.errstate(invalid="ignore"):
        errors = np.abs(answered[:, first:] - wanted)
        if target.scores != "probabilities":
            errors /= np.maximum(target.scale, np.abs(wanted))
    worst: npt.NDArray[np.float64] = errors.max(axis=1)
    return worst


def certify(
    oracle: Oracle, run: Run, heldout: Rows, adversarial: Rows, *, graph_sha256: str, tolerance: float = TOLERANCE
) -> Certificate:
    """Measure both sides on held-out and adversarial rows; the certificate says `passed` or not, it does not raise."""
    both = compare(oracle, run, join([heldout, adversarial]))
    flipped = both.margins[both.flips]
    return Certificate(
        graph_sha256=graph_sha256,
        passed=not both.failing(tolerance).size,
        rows=len(both.errors),
        heldout_rows=len(heldout),
        adversarial_rows=len(adversarial),
        tolerance=tolerance,
        # A score that is not finite has no distance; 1 is the largest that two probabilities can have.
        error_max=float(min(both.errors.max(), 1.0)),
        error_p999=float(min(np.quantile(both.errors, 0.999, method="higher"), 1.0)),
        label_flips=int(both.flips.sum()),
        flip_margin_max=float(min(flipped.max(), 1e300)) if flipped.size else 0.0,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Versions of the libraries whose agreement the certificate states."""
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")}
