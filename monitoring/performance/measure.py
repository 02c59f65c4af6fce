"""All figures of one set of labelled rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from monitoring.performance.absolute import mean_absolute_error
from monitoring.performance.auc import asked, auc_interval, roc_auc
from monitoring.performance.bias import mean_error
from monitoring.performance.calibration import ReliabilityBin, calibration_error, reliability
from monitoring.performance.confusion import confusion
from monitoring.performance.figure import MIN_ROWS, Figure, mean_figure
from monitoring.performance.losses import brier_scores, log_losses
from monitoring.performance.proportion import wilson
from monitoring.performance.squared import root_mean_squared_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from monitoring.binning import Counts

    Floats = NDArray[np.floating[Any]]

MIN_CLASS_ROWS: Final = 10
"""Rows of a class, and rows of others, below which it has no ROC curve."""
MIN_CURVE_ROWS: Final = 100
"""Rows below which ten bins are noise."""


NO_NUMBERS: Final = Figure(reason="the model predicts classes")
NO_CLASSES: Final = Figure(reason="the model predicts numbers")
NO_PROBABILITIES: Final = Figure(reason="the class does not follow from probabilities")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """How good predictions were, by their labels."""

    n: int
    """Labelled rows."""
    accuracy: Figure
    roc_auc: Figure
    """Of the last of two classes; with more, the unweighted mean of one against the rest."""
    log_loss: Figure
    """In nats."""
    brier: Figure
    calibration_error: Figure
    """Expected calibration error of the score (of two classes the last one's probability, else the largest)."""
    calibration_by_chance: float | None
    """Part of it that perfectly calibrated scores would show on so many rows."""
    confusion: list[list[int]]
    """Rows by true class, then by predicted class."""
    reliability: list[ReliabilityBin]
    mean_absolute_error: Figure = NO_NUMBERS
    root_mean_squared_error: Figure = NO_NUMBERS
    bias: Figure = NO_NUMBERS
    """Mean of predicted less true."""


def measure(truth: Counts, probabilities: Floats) -> Measured:
    """Judge probabilities by what came; the prediction is the most probable class, the first of equals.

    Args:
        truth: [n] index of the true class, any n.
        probabilities: [n, classes], finite.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> p = rng.random(1000)
        >>> found = measure((rng.random(1000) < p).astype(int), np.column_stack([1 - p, p]))
        >>> round(found.accuracy.value, 2), found.calibration_error.low
        (0.75, 0.0)
    """
    n, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    few = _few(n)
    curve, error, by_chance = _calibration(truth, predicted, probabilities)
    return Measured(
        n=n,
        accuracy=few or _accuracy(predicted == truth),
        roc_auc=few or _roc_auc(truth, probabilities),
        log_loss=few or mean_figure(log_losses(truth, probabilities)),
        brier=few or mean_figure(brier_scores(truth, probabilities)),
        calibration_error=error,
        calibration_by_chance=by_chance,
        confusion=confusion(truth, predicted, classes).tolist(),
        reliability=curve,
    )


def measure_classes(truth: Counts, predicted: Counts, classes: int) -> Measured:
    """Judge classes that no probabilities stand behind.

    Args:
        truth: [n] index of the true class, any n.
        predicted: [n] index of the predicted class.
        classes: how many there are.

    Example:
        >>> truth = np.arange(100) % 2
        >>> found = measure_classes(truth, np.where(np.arange(100) < 20, 0, truth), 2)
        >>> found.accuracy.value, found.log_loss.reason
        (0.9, 'the class does not follow from probabilities')
    """
    return Measured(
        n=truth.size,
        accuracy=_few(truth.size) or _accuracy(predicted == truth),
        roc_auc=NO_PROBABILITIES,
        log_loss=NO_PROBABILITIES,
        brier=NO_PROBABILITIES,
        calibration_error=NO_PROBABILITIES,
        calibration_by_chance=None,
        confusion=confusion(truth, predicted, classes).tolist(),
        reliability=[],
    )


def measure_numbers(truth: Floats, predicted: Floats) -> Measured:
    """Judge numbers by the true ones.

    Args:
        truth: [n], finite, any n.
        predicted: [n], likewise.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> truth = rng.normal(size=1000)
        >>> found = measure_numbers(truth, truth + rng.normal(0.5, 1.0, 1000))
        >>> round(found.bias.value, 1), round(found.root_mean_squared_error.value, 1)
        (0.5, 1.1)
    """
    n = truth.size
    errors = predicted.astype(np.float64) - truth
    few = _few(n)
    return Measured(
        n=n,
        accuracy=NO_CLASSES,
        roc_auc=NO_CLASSES,
        log_loss=NO_CLASSES,
        brier=NO_CLASSES,
        calibration_error=NO_CLASSES,
        calibration_by_chance=None,
        confusion=[],
        reliability=[],
        mean_absolute_error=few or mean_absolute_error(errors),
        root_mean_squared_error=few or root_mean_squared_error(errors),
        bias=few or mean_error(errors),
    )


def _few(n: int) -> Figure | None:
    return Figure(reason=f"{n} labels, {MIN_ROWS} are needed") if n < MIN_ROWS else None


def _accuracy(right: NDArray[np.bool_]) -> Figure:
    share = float(right.mean())
    low, high = wilson(share, right.size)
    return Figure(value=share, low=low, high=high)


def _roc_auc(truth: Counts, probabilities: Floats) -> Figure:
    n, classes = probabilities.shape
    chosen, rows = asked(classes), np.bincount(truth, minlength=classes)
    rarest = min(min(int(rows[at]), n - int(rows[at])) for at in chosen)
    if rarest < MIN_CLASS_ROWS:
        return Figure(reason=f"a class has {rarest} labels on one side, {MIN_CLASS_ROWS} are needed")
    areas = [roc_auc(truth == at, probabilities[:, at]) for at in chosen]
    # The mean of the bounds: wider than needed, unless the classes' errors go together.
    bounds = [auc_interval(area, int(rows[at]), n - int(rows[at])) for area, at in zip(areas, chosen, strict=True)]
    low, high = np.mean(bounds, axis=0).tolist()
    return Figure(value=float(np.mean(areas)), low=low, high=high)


def _calibration(
    truth: Counts, predicted: Counts, probabilities: Floats
) -> tuple[list[ReliabilityBin], Figure, float | None]:
    n, classes = probabilities.shape
    if n < MIN_CURVE_ROWS:
        return [], Figure(reason=f"{n} labels, {MIN_CURVE_ROWS} are needed"), None
    of_two = classes == 2
    scores = (probabilities[:, 1] if of_two else probabilities.max(axis=1)).astype(np.float64)
    curve = reliability(scores, truth == 1 if of_two else truth == predicted)
    return curve, *calibration_error(curve)
