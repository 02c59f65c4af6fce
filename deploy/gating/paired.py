"""Two models on the same rows: the difference of a measure, with an interval from the rows drawn again.

The bootstrap is paired and stratified (Efron and Tibshirani, An Introduction to the Bootstrap, chapters 8 and 13): each
sample draws rows with replacement, within each class, and both models are judged by the same ones. So what makes a row
hard for both falls out of the difference, and no sample lacks a class. The interval is between percentiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats: TypeAlias = npt.NDArray[np.float64]
    Codes: TypeAlias = npt.NDArray[np.int64]
    Measure: TypeAlias = Callable[[Codes, Floats, Floats], Floats]

__all__ = ["MEASURES", "Estimate", "Name", "accuracy", "brier", "compare", "log_loss", "roc_auc", "value"]

Name: TypeAlias = Literal["roc_auc", "log_loss", "accuracy", "brier"]

_PROBABILITY_MIN = 2.0**-24
"""An answer of 0 is what float32 leaves of anything smaller beside 1; its logarithm would be infinite."""
_DRAWS_AT_ONCE = 64


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the rows, and the interval that the bootstrap gives it."""

    estimate: float
    low: float
    high: float
    confidence: float
    rows: int


def roc_auc(codes: Codes, probabilities: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve, by ranks, ties counting half; of several classes the mean of one against the rest.

    Args:
        codes: [n], the class of each row.
        probabilities: [n, classes].
        weights: [samples, n], how often each row counts.

    Returns:
        [samples].
    """
    classes = probabilities.shape[1]
    judged = [1] if classes == 2 else range(classes)
    areas = [_area(codes == code, probabilities[:, code], weights) for code in judged]
    return np.asarray(np.mean(areas, axis=0), dtype=np.float64)


def log_loss(codes: Codes, probabilities: Floats, weights: Floats) -> Floats:
    """Mean of -log of the probability given to what came true, in nats; arguments as for `roc_auc`."""
    told = np.clip(probabilities[np.arange(len(codes)), codes], _PROBABILITY_MIN, 1.0)
    return _mean(-np.log(told), weights)


def accuracy(codes: Codes, probabilities: Floats, weights: Floats) -> Floats:
    """Share of rows whose most probable class came true; arguments as for `roc_auc`."""
    right = (probabilities.argmax(axis=1) == codes).astype(np.float64)
    return _mean(right, weights)


def brier(codes: Codes, probabilities: Floats, weights: Floats) -> Floats:
    """Half the squared distance of the probabilities from what came true (Brier 1950); of two classes, (p - y)².

    A proper score, so that it needs no bins: it is lowest for the calibrated one of two models that rank alike.
    """
    truth = np.eye(probabilities.shape[1])[codes]
    distance = ((probabilities - truth) ** 2).sum(axis=1) / 2
    return _mean(distance, weights)


MEASURES: dict[Name, Measure] = {"roc_auc": roc_auc, "log_loss": log_loss, "accuracy": accuracy, "brier": brier}


def value(measure: Measure, codes: Codes, probabilities: Floats) -> float:
    """The measure of all rows, each counting once."""
    return float(measure(codes, probabilities, np.ones((1, len(codes))))[0])


def compare(
    measure: Measure,
    codes: Codes,
    candidate: Floats,
    champion: Floats | None,
    *,
    draws: int,
    seed: int,
    confidence: float,
) -> Estimate:
    """The candidate's measure minus the champion's; without a champion the measure itself.

    Args:
        measure: one of `MEASURES`.
        codes: [n], the class of each row.
        candidate: its probabilities, [n, classes].
        champion: its probabilities for the same rows.
        draws: bootstrap samples.
        seed: equal ones draw the same samples.
        confidence: of the interval.

    Example:
        >>> codes, sure = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
        >>> compare(accuracy, codes, sure, sure[::-1], draws=200, seed=1, confidence=0.95).estimate
        1.0
    """

    def difference(weights: Floats) -> Floats:
        own = measure(codes, candidate, weights)
        return own if champion is None else own - measure(codes, champion, weights)

    rng = np.random.default_rng(seed)
    found = np.concatenate(
        [difference(_draw(codes, min(_DRAWS_AT_ONCE, draws - done), rng)) for done in range(0, draws, _DRAWS_AT_ONCE)]
    )
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    estimate = float(difference(np.ones((1, len(codes))))[0])
    return Estimate(estimate=estimate, low=float(low), high=float(high), confidence=confidence, rows=len(codes))


def _draw(codes: Codes, samples: int, rng: np.random.Generator) -> Floats:
    """How often each row is in each sample, [samples, n]; every class keeps its number of rows."""
    weights = np.zeros((samples, len(codes)))
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=samples)
    return weights


def _mean(values: Floats, weights: Floats) -> Floats:
    """Of each sample, [samples]."""
    mean: Floats = weights @ values / weights.sum(axis=1)
    return mean


def _area(positive: npt.NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Probability that a positive row has a higher score than a negative one, [samples]."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # the first row begins a group
    sorted_weights = weights[:, order]
    ups = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
    downs = np.add.reduceat(sorted_weights * ~positive[order], starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs / 2
    area: Floats = (ups * below).sum(axis=1) / (ups.sum(axis=1) * downs.sum(axis=1))
    return area
