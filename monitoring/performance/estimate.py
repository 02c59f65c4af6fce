"""How good a model probably is before labels come, from its own probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from monitoring.performance.auc import asked, auc_interval, weighted_auc
from monitoring.performance.figure import MIN_ROWS, Figure, Z
from monitoring.performance.losses import SURE
from monitoring.performance.proportion import wilson
from monitoring.performance.recalibration import AS_TOLD, recalibrate, recalibrated

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from monitoring.binning import Counts

    Floats = NDArray[np.floating[Any]]

MIN_CLASS_LABELS: Final = 10
"""Labels of a class, and of others, below which its probabilities are taken at their word."""
CELLS: Final = 512
_RANGE: Final = 16.0
"""Cells lie evenly on the logit from -16 to 16, which is what float32 can tell: 1/16 wide, so AUC and log loss lose
less than 0.001 by them."""
LOGITS: Final = (np.arange(CELLS) + 0.5) * (2 * _RANGE / CELLS) - _RANGE
"""[cells], the middle of each."""


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """What the labels of a set of rows will probably say."""

    n: int
    """Scored rows, with or without a label."""
    labels: int
    """Labelled rows from which it was learned what a score is worth; 0: scores are taken at their word."""
    accuracy: Figure
    roc_auc: Figure
    log_loss: Figure


def no_estimate(n: int) -> Estimated:
    """Of scores that are no probabilities, which do not say how likely it is that they are right.

    Example:
        >>> no_estimate(7).accuracy.reason
        'no probabilities to estimate from'
    """
    none = Figure(reason="no probabilities to estimate from")
    return Estimated(n=n, labels=0, accuracy=none, roc_auc=none, log_loss=none)


def count_scores(probabilities: Floats) -> Counts:
    """Count rows by class and score: once all of them, once those that are predicted to be of the class.

    Args:
        probabilities: [n, classes], finite.

    Returns:
        [classes, 2, cells]; merges by addition.
    """
    classes = probabilities.shape[1]
    p = np.clip(probabilities.astype(np.float64), SURE, 1 - SURE)
    cells = np.clip((np.log(p / (1 - p)) + _RANGE) * (CELLS / (2 * _RANGE)), 0, CELLS - 1).astype(np.int64)
    predicted = probabilities.argmax(axis=1)
    counts = np.zeros((classes, 2, CELLS), dtype=np.int64)
    for at in range(classes):
        counts[at, 0] = np.bincount(cells[:, at], minlength=CELLS)
        counts[at, 1] = np.bincount(cells[predicted == at, at], minlength=CELLS)
    return counts


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """What scores are worth, by class; of two classes only the last one's line is kept, the other is its mirror."""

    labels: int
    lines: list[tuple[float, float]]
    covariances: list[list[list[float]]]


def learn_worth(truth: Counts, probabilities: Floats) -> Worth:
    """Learn from labelled rows; a class with too few of them is taken at its word.

    Args:
        truth: [n] index of the true class, any n.
        probabilities: [n, classes], finite.
    """
    classes = probabilities.shape[1]
    lines, covariances, used = [], [], 0
    for at in asked(classes):
        came = truth == at
        line: Floats = AS_TOLD
        covariance: Floats = np.zeros((2, 2))
        if min(int(came.sum()), int((~came).sum())) >= MIN_CLASS_LABELS:
            hits = count_scores(probabilities[came])[at, 0]
            line, covariance = recalibrate(LOGITS, hits, hits + count_scores(probabilities[~came])[at, 0])
            used = truth.size
        lines.append((float(line[0]), float(line[1])))
        covariances.append(covariance.tolist())
    return Worth(labels=used, lines=lines, covariances=covariances)


def estimate(counts: Counts, worth: Worth) -> Estimated:
    """Estimate performance by confidence: if a row's score is worth p, its prediction is right with probability p.

    Expected accuracy is the mean worth of the predicted class. The expected ROC curve has each row with weight p among
    the positives and 1 - p among the negatives. Expected log loss is the mean of -Σ p(c) ln score(c). Intervals hold
    the chance of so many labels and, by the delta method, of those that the worth was learned from.

    Right while a score keeps its worth: P(class | score) is that of the labelled rows, whatever becomes of the features
    (covariate shift). Blind to concept drift: if the same rows get other labels, no score can tell. Of more than two
    classes the worths are learned one by one and need not sum to 1.

    Source: NannyML's confidence-based performance estimation; Garg et al., Leveraging unlabeled data to predict
    out-of-distribution performance, ICLR 2022, section 3; Platt 1999 for the worth.

    Args:
        counts: [classes, 2, cells], as `count_scores` makes them.
        worth: of the same classes.

    Example:
        >>> rng = np.random.default_rng(7)
        >>> p = rng.random(10_000)
        >>> counts = count_scores(np.column_stack([1 - p, p]))
        >>> found = estimate(counts, Worth(labels=0, lines=[(0.0, 1.0)], covariances=[[[0.0, 0.0], [0.0, 0.0]]]))
        >>> round(found.accuracy.value, 2), round(found.roc_auc.value, 2)
        (0.75, 0.83)
    """
    n = int(counts[0, 0].sum())
    if n < MIN_ROWS:
        few = Figure(reason=f"{n} scored rows, {MIN_ROWS} are needed")
        return Estimated(n=n, labels=worth.labels, accuracy=few, roc_auc=few, log_loss=few)
    lines = np.array(worth.lines)
    p = _worths(lines, counts)
    accuracy, area, loss = _accuracy(counts, p), _area(counts, p), _log_loss(counts, p)
    return Estimated(
        n=n,
        labels=worth.labels,
        accuracy=_widened(accuracy, wilson(accuracy, n), _variance(_accuracy, counts, worth)),
        roc_auc=_widened(area, _area_interval(counts, p, area), _variance(_area, counts, worth)),
        log_loss=_widened(loss, _log_loss_interval(counts, p, loss), _variance(_log_loss, counts, worth)),
    )


def _worths(lines: Floats, counts: Counts) -> Floats:
    """[classes, cells]."""
    of_class = np.stack([recalibrated(line, LOGITS) for line in lines])
    return of_class if len(counts) > 2 else np.stack([1 - of_class[0, ::-1], of_class[0]])


def _accuracy(counts: Counts, p: Floats) -> float:
    return float((counts[:, 1] * p).sum() / counts[0, 0].sum())


def _area(counts: Counts, p: Floats) -> float:
    return float(
        np.mean([weighted_auc(counts[at, 0] * p[at], counts[at, 0] * (1 - p[at])) for at in asked(len(counts))])
    )


def _area_interval(counts: Counts, p: Floats, area: float) -> tuple[float, float]:
    expected = [float(counts[at, 0] @ p[at]) for at in asked(len(counts))]
    n = float(counts[0, 0].sum())
    bounds = [auc_interval(area, max(rows, 1.0), max(n - rows, 1.0)) for rows in expected]
    low, high = np.mean(bounds, axis=0).tolist()
    return low, high


_LOSSES: Final = np.log1p(np.exp(-LOGITS))
"""-ln of each cell's score."""


def _log_loss(counts: Counts, p: Floats) -> float:
    return float((counts[:, 0] * p * _LOSSES).sum() / counts[0, 0].sum())


def _log_loss_interval(counts: Counts, p: Floats, loss: float) -> tuple[float, float]:
    n = float(counts[0, 0].sum())
    variance = float((counts[:, 0] * p * _LOSSES**2).sum()) / n - loss**2
    half = Z * float(np.sqrt(max(variance, 0.0) / n))
    return loss - half, loss + half


def _variance(statistic: Callable[[Counts, Floats], float], counts: Counts, worth: Worth) -> float:
    """The part of the lines' own uncertainty, by the delta method: g' C g, one class after the other."""
    lines, step, total = np.array(worth.lines), 1e-4, 0.0
    for at, covariance in enumerate(worth.covariances):
        slopes = []
        for part in range(2):
            up, down = lines.copy(), lines.copy()
            up[at, part] += step
            down[at, part] -= step
            change = statistic(counts, _worths(up, counts)) - statistic(counts, _worths(down, counts))
            slopes.append(change / (2 * step))
        total += float(np.array(slopes) @ np.array(covariance) @ np.array(slopes))
    return total


def _widened(value: float, bounds: tuple[float, float], variance: float) -> Figure:
    """Both parts are independent, so their squares add up."""
    low, high = (
        value + sign * float(np.hypot(bound - value, Z * np.sqrt(variance)))
        for sign, bound in zip((-1, 1), bounds, strict=True)
    )
    return Figure(value=value, low=low, high=high)
