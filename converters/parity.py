"""The parity certificate: scikit-learn on the original doubles against onnxruntime on what the gateway feeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from sklearn.pipeline import Pipeline

from converters.errors import ParityError
from converters.modelfile import Certificate

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Rows = npt.NDArray[np.float64]
    Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

__all__ = ["TOLERANCE", "Comparison", "adversarial_rows", "certify", "compare", "takes_missing"]

TOLERANCE = 1e-5
"""Largest absolute difference of a probability that passes: float32 leaves about 1e-6 in practice."""

_MAX_THRESHOLDS = 256
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


def compare(estimator: Any, run: Run, rows: Rows) -> Comparison:
    """Score the same rows on both sides: scikit-learn gets the doubles, the graph their float32."""
    expected = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    with np.errstate(over="ignore"):
        answered = np.asarray(run(rows.astype(np.float32)), dtype=np.float64)
    if answered.shape != expected.shape:
        raise ParityError(f"the graph answers shape {answered.shape}, scikit-learn {expected.shape}")
    errors = np.abs(answered - expected).max(axis=1)
    ordered = np.sort(expected, axis=1)
    return Comparison(
        errors=np.where(np.isfinite(errors), errors, np.inf),
        flips=answered.argmax(axis=1) != expected.argmax(axis=1),
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
    holed = np.resize(rows, (max(len(rows), 2 * rows.shape[1]), rows.shape[1])).copy()
    index = np.arange(len(holed))
    holed[index, index % rows.shape[1]] = np.nan
    try:
        comparison = compare(estimator, run, holed)
    except ValueError:
        return False
    return not comparison.failing(tolerance).size


def adversarial_rows(estimator: Any, heldout: Rows, *, missing: bool) -> Rows:
    """Rows made to break a conversion, seeded by the model's own thresholds.

    Values on both sides of tree thresholds and on them (on the float32 grid, where both sides see the same number),
    doubles that float32 cannot hold, values far outside the data, and missing values where they may be sent.
    """
    rng = np.random.default_rng(_SEED)
    base = heldout[rng.integers(len(heldout), size=_MAX_THRESHOLDS)]
    between = base + rng.uniform(-0.5, 0.5, base.shape) * np.spacing(base.astype(np.float32)).astype(np.float64)
    far = np.concatenate([np.zeros_like(base[:1]), base[:16] * 1e3, -base[:16], base[:16] * 1e-3])
    blocks = [_threshold_rows(estimator, base, rng), between, far.astype(np.float32).astype(np.float64)]
    if missing:
        holed = base.copy()
        holed[rng.random(base.shape) < 0.1] = np.nan
        blocks.append(holed)
    return np.concatenate(blocks)


def _threshold_rows(estimator: Any, base: Rows, rng: np.random.Generator) -> Rows:
    scalers, model = ([], estimator)
    if isinstance(estimator, Pipeline):
        scalers, model = [step for _, step in estimator.steps[:-1]], estimator.steps[-1][1]
    pairs = _thresholds(model)
    if not len(pairs) or any(not hasattr(scaler, "inverse_transform") for scaler in scalers):
        return base[:0]
    picks = pairs[rng.permutation(len(pairs))[:_MAX_THRESHOLDS]]
    features, values = picks[:, 0].astype(int), picks[:, 1]
    index = np.arange(len(picks))
    scaled = np.zeros((len(picks), base.shape[1]))
    scaled[index, features] = values
    for scaler in reversed(scalers):
        scaled = scaler.inverse_transform(scaled)
    exact = scaled[index, features].astype(np.float32)
    rows = []
    for value in (np.nextafter(exact, np.float32(-np.inf)), exact, np.nextafter(exact, np.float32(np.inf))):
        block = base[: len(picks)].astype(np.float32).astype(np.float64)
        block[index, features] = value
        rows.append(block)
    return np.concatenate(rows)


def _thresholds(model: Any) -> Rows:
    """(feature, threshold) of every split of every tree, float64 [splits, 2]."""
    members = [model] if hasattr(model, "tree_") else list(np.ravel(getattr(model, "estimators_", [])))
    trees = [member.tree_ for member in members if hasattr(member, "tree_")]
    if not trees:
        return np.empty((0, 2))
    features = np.concatenate([tree.feature for tree in trees])
    thresholds = np.concatenate([tree.threshold for tree in trees])
    split = features >= 0
    return np.unique(np.column_stack([features[split], thresholds[split]]), axis=0)


def versions() -> dict[str, str]:
    """Versions of the libraries whose agreement the certificate states."""
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")}
