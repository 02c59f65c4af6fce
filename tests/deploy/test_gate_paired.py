"""The measures against scikit-learn's, and the interval against what is known of it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from deploy.gating.paired import MEASURES, compare, value

SURE = {"draws": 500, "seed": 7, "confidence": 0.95}


def answers(classes, n=400, seed=0):
    """Classes and answers that know something of them, with ties."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes, n)
    raw = np.round(rng.random((n, classes)) + 0.5 * np.eye(classes)[codes], 1) + 0.05
    return codes, raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_measures_are_those_of_scikit_learn(classes):
    """With ties, of two classes and of three."""
    codes, told = answers(classes)
    area = (
        metrics.roc_auc_score(codes, told[:, 1])
        if classes == 2
        else metrics.roc_auc_score(codes, told, multi_class="ovr")
    )
    expected = {
        "roc_auc": area,
        "log_loss": metrics.log_loss(codes, told),
        "accuracy": metrics.accuracy_score(codes, told.argmax(axis=1)),
        "brier": ((told - np.eye(classes)[codes]) ** 2).sum(axis=1).mean() / 2,
    }
    assert {name: value(measure, codes, told) for name, measure in MEASURES.items()} == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_a_weight_counts_a_row_as_often_as_it_says(name):
    """A sample of the bootstrap is what the rows themselves would give, drawn so often."""
    codes, told = answers(2, n=60)
    weights = np.random.default_rng(3).integers(0, 4, 60)
    drawn = np.repeat(np.arange(60), weights)
    expected = value(MEASURES[name], codes[drawn], told[drawn])
    assert MEASURES[name](codes, told, weights[np.newaxis].astype(float))[0] == pytest.approx(expected)


def test_a_model_against_itself_has_no_difference_and_no_width():
    """The pairing: what both find hard cancels in each sample."""
    codes, told = answers(2)
    for measure in MEASURES.values():
        found = compare(measure, codes, told, told, **SURE)
        assert (found.estimate, found.low, found.high) == (0, 0, 0)


def test_equal_seeds_give_equal_intervals():
    """And other seeds others."""
    codes, new = answers(2)
    old = answers(2, seed=1)[1]
    first, again, other = (
        compare(MEASURES["roc_auc"], codes, new, old, draws=500, seed=seed, confidence=0.95) for seed in (7, 7, 8)
    )
    assert first == again != other


def test_an_answer_of_zero_for_what_came_true_costs_much_but_not_infinity():
    """One such row must not decide everything."""
    codes, told = np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert value(MEASURES["log_loss"], codes, told) == pytest.approx(24 * np.log(2) / 2)


def test_no_sample_lacks_a_class():
    """Of 3 rows in 100 every tenth sample would have none, and no area."""
    codes = np.array([1] * 3 + [0] * 97)
    told = np.random.default_rng(0).random((100, 2))
    found = compare(MEASURES["roc_auc"], codes, told, None, **SURE)
    assert 0 <= found.low < found.estimate < found.high <= 1


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    """Over 200 worlds in which the difference of accuracy is known, 95 %, and neither much more nor much less."""
    rng, held = np.random.default_rng(5), 0
    for world in range(200):
        codes = rng.integers(0, 2, 300)
        sides = []
        for right in (0.9, 0.8):
            told = np.where(rng.random(300) < right, codes, 1 - codes)
            sides.append(np.column_stack([1 - told, told]).astype(float))
        found = compare(MEASURES["accuracy"], codes, *sides, draws=300, seed=world, confidence=0.95)
        held += found.low <= 0.1 <= found.high
    assert 181 <= held <= 197  # 190 on average
