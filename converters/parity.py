"""The parity certificate: scikit-learn on the original doubles against onnxruntime on what the gateway feeds it."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from converters.errors import ParityError
from converters.modelfile import Certificate
from converters.trees import at_most, reaching, scalers_and_model, trees_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Rows = npt.NDArray[np.float64]
    Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

__all__ = [
    "TOLERANCE",
    "Comparison",
    "adversarial_rows",
    "certify",
    "compare",
    "missing_rows",
    "probabilities_of",
    "takes_missing",
]

TOLERANCE = 1e-5
"""Largest absolute difference of a probability that passes: float32 leaves about 1e-6 in practice."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_MAX_SPLITS = 1024
_SPREAD_ROWS = 256
_MISSING_ROWS_A_COLUMN = 8
_SEED = 20_240_229


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Row by row: how far the graph is from scikit-learn, and in how wide a margin a label flipped."""

    errors: Any
    """float64 [rows]: largest absolute difference of a row's probabilities; infinite where one is not finite."""
    flips: Any
    """bool [rows]: the most probable class differs."""
    margins: Any
    """float64 [rows]: distance between the two most probable classes, in scikit-learn's eyes."""

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


@contextlib.contextmanager
def _names_aside() -> Iterator[None]:
    """An estimator that was fitted on a DataFrame is judged on the matrix that the gateway would send."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        yield


def probabilities_of(estimator: Any, rows: Rows) -> Rows:
    """What scikit-learn answers, float64 [rows, classes]."""
    with _names_aside():
        return np.asarray(estimator.predict_proba(rows), dtype=np.float64)


def compare(estimator: Any, run: Run, rows: Rows) -> Comparison:
    """Score the same rows on both sides: scikit-learn gets the doubles, the graph their float32.

    The label of the graph is the class of its largest probability; scikit-learn's is what `predict` says, which is
    something else for an estimator with a threshold of its own.
    """
    expected = probabilities_of(estimator, rows)
    with _names_aside():
        predicted = np.asarray(estimator.predict(rows))
    with np.errstate(over="ignore"):
        answered = np.asarray(run(rows.astype(np.float32)), dtype=np.float64)
    if answered.shape != expected.shape:
        raise ParityError(f"the graph answers shape {answered.shape}, scikit-learn {expected.shape}")
    errors = np.abs(answered - expected).max(axis=1)
    ordered = np.sort(expected, axis=1)
    return Comparison(
        errors=np.where(np.isfinite(errors), errors, np.inf),
        flips=np.asarray(estimator.classes_)[answered.argmax(axis=1)] != predicted,
        margins=ordered[:, -1] - ordered[:, -2],
    )


def certify(
    estimator: Any, run: Run, heldout: Rows, adversarial: Rows, *, graph_sha256: str, tolerance: float = TOLERANCE
) -> Certificate:
    """Measure both sides on held-out and adversarial rows; the certificate says `passed` or not, it does not raise."""
    both = compare(estimator, run, np.concatenate([heldout, adversarial]))
    flipped = both.margins[both.flips]
    return Certificate(
        graph_sha256=graph_sha256,
        passed=not both.failing(tolerance).size,
        rows=len(both.errors),
        heldout_rows=len(heldout),
        adversarial_rows=len(adversarial),
        tolerance=tolerance,
        # A probability that is not finite has no distance; 1 is the largest that two probabilities can have.
        error_max=float(min(both.errors.max(), 1.0)),
        error_p999=float(min(np.quantile(both.errors, 0.999, method="higher"), 1.0)),
        label_flips=int(both.flips.sum()),
        flip_margin_max=float(flipped.max()) if flipped.size else 0.0,
        versions=versions(),
    )


def takes_missing(estimator: Any, run: Run, rows: Rows, tolerance: float = TOLERANCE) -> bool:
    """Whether a missing value may be sent: scikit-learn takes one, and the graph answers the same for it.

    A random forest takes NaN but its graph sends it down another branch, so this is measured, not looked up.
    """
    try:
        comparison = compare(estimator, run, missing_rows(estimator, rows))
    except ValueError:
        return False
    return not comparison.failing(tolerance).size


def missing_rows(estimator: Any, heldout: Rows) -> Rows:
    """Rows with holes: each column alone in several rows, several at once, and the column that a tree splits on."""
    rng = np.random.default_rng(_SEED)
    width = heldout.shape[1]
    base = np.resize(heldout, (max(len(heldout), _MISSING_ROWS_A_COLUMN * width), width))
    alone, several = base.copy(), base.copy()
    index = np.arange(len(base))
    alone[index, index % width] = np.nan
    several[rng.random(base.shape) < 0.1] = np.nan
    blocks = [alone, several]
    for rows, columns in _rows_at_splits(estimator, heldout, rng)[:1]:
        holed = rows.copy()
        holed[np.arange(len(rows)), columns] = np.nan
        blocks.append(holed)
    return np.concatenate(blocks)


def adversarial_rows(estimator: Any, heldout: Rows, *, missing: bool) -> Rows:
    """Rows made to break a conversion, seeded by the model's own thresholds.

    Neighbouring float32 values on both sides of tree thresholds, in rows that arrive at that split; doubles that
    float32 cannot hold; values far outside the data; and missing values where they may be sent.
    """
    rng = np.random.default_rng(_SEED)
    base = heldout[rng.integers(len(heldout), size=_SPREAD_ROWS)]
    with np.errstate(over="ignore", invalid="ignore"):
        ulp = np.spacing(base.astype(np.float32)).astype(np.float64)
        between = np.where(np.isfinite(ulp), base + rng.uniform(-0.5, 0.5, base.shape) * ulp, base)
        far = np.concatenate([np.zeros_like(base[:1]), base[:16] * 1e3, -base[:16], base[:16] * 1e-3])
    blocks = [rows for rows, _ in _rows_at_splits(estimator, heldout, rng)]
    blocks += [between, np.clip(far, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32).astype(np.float64)]
    if missing:
        blocks.append(missing_rows(estimator, heldout))
    return np.concatenate(blocks)


def _rows_at_splits(
    estimator: Any, heldout: Rows, rng: np.random.Generator
) -> list[tuple[Rows, npt.NDArray[np.int64]]]:
    """Blocks of rows, each with the column whose value lies at the split that the row arrives at.

    Without scalers: the largest float32 that goes left, then the smallest that goes right. With scalers the two are
    taken back to the data, where one step of float32 more on either side makes up for the rounding on the way.
    """
    scalers, model = scalers_and_model(estimator)
    rows, columns, values = _splits_reached(model, _through(scalers, heldout), rng)
    if not len(rows):
        return []
    index = np.arange(len(rows))
    up, down = np.float32(np.inf), np.float32(-np.inf)
    blocks = []
    for value, beyond in ((values, down), (np.nextafter(values, up), up)):
        block = rows.copy()
        block[index, columns] = value
        for scaler in reversed(scalers):
            block = scaler.inverse_transform(block)
        seen = np.clip(block, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
        blocks.append(seen.astype(np.float64))
        if scalers:
            further = seen.copy()
            further[index, columns] = np.nextafter(seen[index, columns], beyond)
            blocks.append(further.astype(np.float64))
    return [(block, columns) for block in blocks]


def _through(scalers: list[Any], rows: Rows) -> Rows:
    with _names_aside():
        for scaler in scalers:
            rows = scaler.transform(rows)
    return np.asarray(rows, dtype=np.float64)


def _splits_reached(
    model: Any, scaled: Rows, rng: np.random.Generator
) -> tuple[Rows, npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Up to `_MAX_SPLITS` splits: a row that arrives there, the column, and the largest float32 that goes left."""
    trees = trees_of(model)
    nodes = [(tree, node) for tree, one in enumerate(trees) for node in one.splits().tolist()]
    if not nodes:
        return scaled[:0], np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    picks = [nodes[pick] for pick in rng.permutation(len(nodes))[:_MAX_SPLITS]]
    parents = {tree: trees[tree].parents() for tree, _ in picks}
    base = np.clip(scaled, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
    starts = base[rng.integers(len(base), size=len(picks))]
    rows = [
        reaching(trees[tree], node, start, parents[tree]) for (tree, node), start in zip(picks, starts, strict=True)
    ]
    columns = np.array([trees[tree].feature[node] for tree, node in picks], dtype=np.int64)
    thresholds = np.array([trees[tree].threshold[node] for tree, node in picks])
    return np.array(rows, dtype=np.float64), columns, at_most(thresholds)


def versions() -> dict[str, str]:
    """Versions of the libraries whose agreement the certificate states."""
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")}
