"""Performance estimated before labels come: right while scores keep their worth, and off when they do not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from monitoring.performance.estimate import CELLS, LOGITS, count_scores, estimate, learn_worth
from monitoring.performance.measure import measure
from monitoring.performance.recalibration import recalibrate, recalibrated

METRICS = ("accuracy", "roc_auc", "log_loss")


def world(n, rng, *, shift=0.0, concept=1.0, told=1.0):
    """Rows whose class follows x, and a model that tells the logit `told` times too boldly.

    `shift` moves the rows (covariate shift), `concept` changes what they mean.
    """
    x = rng.normal(shift, 1.0, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-2 * concept * x))).astype(int)
    p = 1 / (1 + np.exp(-2 * told * x))
    return truth, np.column_stack([1 - p, p]).astype(np.float32)


def held(estimated, realised):
    """Whether each estimate's interval holds what came."""
    return [
        getattr(estimated, name).low <= getattr(realised, name).value <= getattr(estimated, name).high
        for name in METRICS
    ]


@pytest.mark.parametrize("shift", [0.0, -0.7, 1.0])
@pytest.mark.parametrize("told", [1.0, 1.8])
def test_the_estimate_holds_the_later_value_under_covariate_shift(shift, told):
    """Labels of the first rows are there, those of 4,000 later ones come after the estimate; in 93 % of 100 worlds.

    Also for a model that is too sure of itself, whose scores have to be learned first.
    """
    hits = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        worth = learn_worth(*world(1500, rng, told=told))
        later, p = world(4000, rng, shift=shift, told=told)
        hits.append(held(estimate(count_scores(p), worth), measure(later, p)))
    assert np.mean(hits, axis=0).min() >= 0.93


def test_the_estimate_is_blind_to_concept_drift():
    """The same rows with other labels: the scores say what they said before, and the estimate is far off."""
    rng = np.random.default_rng(0)
    worth = learn_worth(*world(1500, rng))
    later, p = world(4000, rng, concept=-1.0)
    found, realised = estimate(count_scores(p), worth), measure(later, p)
    assert found.accuracy.low > 0.7
    assert realised.accuracy.value < 0.3
    assert held(found, realised) == [False, False, False]


def test_scores_that_are_right_need_no_labels():
    """Without labels they are taken at their word; those of a model that is too sure are then too good."""
    rng = np.random.default_rng(0)
    unlearned = learn_worth(np.zeros(0, dtype=int), np.zeros((0, 2), dtype=np.float32))
    later, p = world(4000, rng)
    found = estimate(count_scores(p), unlearned)
    assert found.labels == 0
    assert held(found, measure(later, p)) == [True, True, True]
    later, p = world(4000, rng, told=3.0)
    assert estimate(count_scores(p), unlearned).accuracy.low > measure(later, p).accuracy.high


def test_of_several_classes_it_holds_too():
    """Three classes, a covariate shift, every class's worth learned on its own."""
    weights = np.random.default_rng(5).normal(size=(2, 3))

    def rows(n, rng, shift):
        logits = 2 * (rng.normal(shift, 1.0, (n, 2)) @ weights)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(max=2), p.astype(np.float32)

    hits = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        worth = learn_worth(*rows(1500, rng, 0.0))
        later, p = rows(3000, rng, 0.5)
        hits.append(held(estimate(count_scores(p), worth), measure(later, p)))
    assert np.mean(hits, axis=0).min() >= 0.9


def test_counts_merge_by_addition_and_say_what_the_rows_say():
    """Estimates from cells are within 0.002 of those from the rows themselves."""
    rng = np.random.default_rng(1)
    _, p = world(5000, rng)
    whole = count_scores(p)
    assert whole.shape == (2, 2, CELLS)
    np.testing.assert_array_equal(whole, count_scores(p[:2000]) + count_scores(p[2000:]))
    found = estimate(whole, learn_worth(np.zeros(0, dtype=int), p[:0]))
    assert found.n == 5000
    assert found.accuracy.value == pytest.approx(p.max(axis=1).mean(), abs=0.002)
    entropy = -(p * np.log(p)).sum(axis=1).mean()
    assert found.log_loss.value == pytest.approx(entropy, abs=0.002)


def test_the_worth_of_scores_is_scikit_learns_logistic_regression():
    """Without a penalty worth the name the line is the same; and it goes through the scores' middle when alike."""
    rng = np.random.default_rng(2)
    came = rng.random(20_000) < recalibrated(np.array([0.4, 1.5]), logits := rng.normal(size=20_000))
    expected = LogisticRegression(C=np.inf).fit(logits[:, np.newaxis], came)
    line, covariance = recalibrate(logits, came.astype(float), np.ones(20_000))
    assert line.tolist() == pytest.approx([*expected.intercept_, *expected.coef_[0]], abs=0.002)
    # The line that rows were drawn by lies within its own uncertainty.
    assert np.abs((line - [0.4, 1.5]) / np.sqrt(np.diag(covariance))).max() < 3


@pytest.mark.parametrize("rows", [0, 1, 25, 10_000])
def test_the_line_stays_finite_whatever_it_is_given(rows):
    """No rows, and rows that all say the same or the impossible."""
    for came in (0.0, 1.0):
        for at in (0, CELLS // 2, CELLS - 1):
            cells = np.zeros(CELLS)
            cells[at] = rows
            line, covariance = recalibrate(LOGITS, came * cells, cells)
            assert np.isfinite(line).all()
            assert np.isfinite(covariance).all()


def test_few_rows_give_a_reason():
    """And no number."""
    _, p = world(29, np.random.default_rng(0))
    found = estimate(count_scores(p), learn_worth(np.zeros(0, dtype=int), p[:0]))
    assert found.accuracy.reason == "29 scored rows, 30 are needed"
    assert found.accuracy.value is None
