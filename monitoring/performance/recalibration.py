"""What a score is worth: the probability behind it, learned from labelled rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

AS_TOLD: Final = np.array([0.0, 1.0])
"""Intercept and slope of scores that are taken at their word."""
_STEPS: Final = 50
_SURE: Final = 9.2
"""Logits beyond this (1 in 10,000) count as this: a forest that says 0 must not bend the line for all others."""


def recalibrated(line: Floats, logits: Floats) -> Floats:
    """Probabilities [n] of scores, given as logits [n]."""
    within = np.clip(logits, -_SURE, _SURE)
    answer: Floats = 1 / (1 + np.exp(-(line[0] + line[1] * within)))
    return answer


def recalibrate(logits: Floats, came: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Fit P(event) = 1 / (1 + exp(-(a + b logit(score)))) to binned rows, by penalised maximum likelihood.

    Scores that are right as they are have a = 0 and b = 1; a penalty of (a² + (b - 1)²) / 2 leads there while labels
    are few or all alike, and is nothing beside a hundred. Two numbers cannot follow every miscalibration, but are known
    well after a few hundred labels, and how well is part of the answer.

    Source: Cox, Two further applications of a model for binary regression, Biometrika 45, 1958; Platt, Probabilistic
    outputs for support vector machines, 1999.

    Args:
        logits: [bins] of the scores.
        came: [bins], in how many rows the event came.
        rows: [bins], of how many.

    Returns:
        The line (a, b), and its covariance [2, 2].

    Example:
        >>> rng = np.random.default_rng(7)
        >>> logits = rng.normal(size=20_000)
        >>> came = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 + 2 * logits)))
        >>> recalibrate(logits, came, np.ones(20_000))[0].round(1).tolist()
        [0.5, 2.0]
    """
    within = np.clip(logits, -_SURE, _SURE)
    inputs = np.stack([np.ones_like(within), within])

    def slope_of(line: Floats) -> tuple[Floats, Floats]:
        p = recalibrated(line, within)
        gradient = inputs @ (came - rows * p) - (line - AS_TOLD)
        return gradient, (inputs * (rows * p * (1 - p))) @ inputs.T + np.eye(2)

    line = AS_TOLD.copy()
    gradient, curvature = slope_of(line)
    for _ in range(_STEPS):
        step = np.linalg.solve(curvature, gradient)
        # Far from the solution a whole step of Newton's overshoots.
        line = line + step / max(1.0, float(np.abs(step).max()))
        gradient, curvature = slope_of(line)
        if np.abs(step).max() < 1e-9:
            break
    return line, np.linalg.inv(curvature)
