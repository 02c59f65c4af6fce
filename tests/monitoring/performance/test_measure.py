"""Figures of labelled rows, held against scikit-learn, scipy and the truth that rows were drawn from."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import calibration, metrics

import monitoring.performance
from monitoring.performance.auc import auc_interval, roc_auc
from monitoring.performance.calibration import calibration_error, reliability
from monitoring.performance.figure import mean_figure
from monitoring.performance.measure import measure, measure_classes, measure_numbers
from monitoring.performance.proportion import wilson


def drawn(n, classes=2, seed=0, decimals=7):
    """Labels [n] that come with the probabilities [n, classes], float32, that are told."""
    rng = np.random.default_rng(seed)
    p = (rng.multinomial(10**decimals, rng.dirichlet(np.ones(classes), n)) / 10**decimals).astype(np.float32)
    return (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(max=classes - 1), p


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(monitoring.performance.__path__)])
def test_examples_in_docstrings_run_as_printed(module):
    """Every example shows what it really gives."""
    found = doctest.testmod(importlib.import_module(f"monitoring.performance.{module}"), extraglobs={"np": np})
    assert found.failed == 0


@pytest.mark.parametrize(("classes", "decimals"), [(2, 7), (2, 1), (3, 7), (5, 2)])
def test_every_figure_is_scikit_learns(classes, decimals):
    """Of two classes and of more, with and without ties."""
    truth, p = drawn(1000, classes, decimals=decimals)
    found = measure(truth, p)
    every = np.arange(classes)
    scores = p if classes > 2 else p[:, 1]
    assert found.n == 1000
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(truth, p.argmax(axis=1)))
    assert found.roc_auc.value == pytest.approx(metrics.roc_auc_score(truth, scores, multi_class="ovr", labels=every))
    assert found.log_loss.value == pytest.approx(metrics.log_loss(truth, p, labels=every), rel=1e-5)
    assert found.brier.value == pytest.approx(metrics.brier_score_loss(truth, scores, labels=every), rel=1e-5)
    assert found.confusion == metrics.confusion_matrix(truth, p.argmax(axis=1), labels=every).tolist()


def test_the_reliability_curve_is_scikit_learns():
    """Quantile bins, also where many scores are equal."""
    for decimals in (7, 1):
        truth, p = drawn(1000, decimals=decimals)
        curve = measure(truth, p).reliability
        rate, score = calibration.calibration_curve(truth, p[:, 1].astype(float), n_bins=10, strategy="quantile")
        np.testing.assert_allclose([found.rate for found in curve], rate)
        np.testing.assert_allclose([found.score for found in curve], score)
        assert sum(found.n for found in curve) == 1000


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilsons_interval_is_scipys(n, share):
    """At every share, 0 and 1 included."""
    hits = round(share * n)
    expected = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert wilson(hits / n, n) == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_a_mean_is_scipys():
    """The normal one."""
    values = np.random.default_rng(0).exponential(size=200)
    found = mean_figure(values)
    assert (found.low, found.high) == pytest.approx(stats.norm.interval(0.95, values.mean(), stats.sem(values)))


@given(hnp.arrays(np.float64, 40, elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])))
def test_the_area_is_mann_and_whitneys_u(scores):
    """With ties, by scipy; and of the other side it is one less it."""
    positive = np.arange(40) < 15
    expected = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic / (15 * 25)
    assert roc_auc(positive, scores) == pytest.approx(expected)
    assert roc_auc(~positive, scores) == pytest.approx(1 - expected)


@pytest.mark.parametrize(("positives", "negatives", "shift"), [(20, 20, 1.0), (20, 2000, 2.5), (50, 500, 3.0)])
def test_the_interval_of_an_area_holds_the_true_one(positives, negatives, shift):
    """Of normal scores Φ(shift / √2): in at least 93 % of samples, also where one side is rare or the area near 1."""
    rng = np.random.default_rng(1)
    true, held = stats.norm.cdf(shift / np.sqrt(2)), 0
    side = np.arange(positives + negatives) < positives
    for _ in range(300):
        scores = rng.normal(np.where(side, shift, 0.0))
        low, high = auc_interval(roc_auc(side, scores), positives, negatives)
        held += low <= true <= high
    assert held / 300 >= 0.93


@pytest.mark.parametrize("pull", [0.0, 0.1, 0.2])
def test_the_interval_of_the_calibration_error_holds_the_true_one(pull):
    """Of scores whose worth lies nearer to a half: a mean gap of pull/2 less what cancels in the middle bins."""
    rng = np.random.default_rng(2)
    held, by_chance = 0, []
    for _ in range(100):
        scores = rng.random(2000)
        worth = scores + pull * (1 - 2 * scores)
        figure, chance = calibration_error(reliability(scores, rng.random(2000) < worth))
        held += figure.low <= 0.95 * pull / 2 <= figure.high
        by_chance.append(figure.value - chance)
    assert held >= 95
    # The value less what chance gives is 0 for perfect scores: the bias is what it is said to be.
    assert pull or np.mean(by_chance) == pytest.approx(0.0, abs=0.002)


def test_too_few_labels_are_told_and_give_no_number():
    """Each figure says what it lacks; counts are given anyway."""
    truth, p = drawn(29)
    found = measure(truth, p)
    assert found.accuracy.reason == "29 labels, 30 are needed"
    assert found.accuracy.value is found.roc_auc.value is found.log_loss.value is found.brier.value is None
    assert np.sum(found.confusion) == 29
    truth, p = drawn(99)
    found = measure(truth, p)
    assert found.accuracy.value is not None
    assert (found.calibration_error.reason, found.reliability) == ("99 labels, 100 are needed", [])
    found = measure(np.zeros(200, dtype=int), drawn(200)[1])
    assert found.roc_auc.reason == "a class has 0 labels on one side, 10 are needed"
    assert measure(np.zeros(0, dtype=int), np.zeros((0, 3), dtype=np.float32)).n == 0


def test_a_model_that_is_sure_and_wrong_has_a_finite_log_loss():
    """As scikit-learn does it for float32."""
    p = np.array([[1.0, 0.0]] * 40, dtype=np.float32)
    truth = np.array([1, *[0] * 39])
    found = measure(truth, p).log_loss.value
    assert found == pytest.approx(metrics.log_loss(truth, p, labels=[0, 1]), rel=1e-3)


def test_figures_of_numbers_are_scikit_learns():
    """And classes have none."""
    rng = np.random.default_rng(3)
    truth = rng.normal(100, 20, 500)
    predicted = (truth * 1.1 + rng.normal(size=500)).astype(np.float32)
    found = measure_numbers(truth, predicted)
    assert found.n == 500
    assert found.mean_absolute_error.value == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert found.root_mean_squared_error.value == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert found.bias.value == pytest.approx(np.mean(predicted - truth))
    assert {found.accuracy.reason, found.roc_auc.reason, found.brier.reason} == {"the model predicts numbers"}
    assert measure(*drawn(100)).bias.reason == "the model predicts classes"


@pytest.mark.parametrize("field", ["mean_absolute_error", "root_mean_squared_error", "bias"])
def test_intervals_of_numbers_hold_the_truth_that_rows_were_drawn_from(field):
    """In about 95 of 100 draws, with a bias of 0.5 and a spread of 2."""
    expected = {
        "mean_absolute_error": stats.foldnorm.mean(0.25, scale=2.0),
        "root_mean_squared_error": np.hypot(2.0, 0.5),
        "bias": 0.5,
    }[field]
    rng = np.random.default_rng(1)
    figures = [getattr(measure_numbers(np.zeros(200), rng.normal(0.5, 2.0, 200)), field) for _ in range(1000)]
    held = sum(figure.low <= expected <= figure.high for figure in figures)
    assert 930 <= held <= 975


def test_a_few_numbers_say_nothing():
    """Not even one whose errors are all alike, for want of rows; enough of these have no spread."""
    assert measure_numbers(np.zeros(29), np.ones(29)).bias.reason == "29 labels, 30 are needed"
    assert measure_numbers(np.zeros(0), np.zeros(0)).n == 0
    alike = measure_numbers(np.zeros(30), np.ones(30)).root_mean_squared_error
    assert (alike.value, alike.low, alike.high) == (1.0, 1.0, 1.0)


def test_an_interval_of_squares_is_cut_at_zero():
    """One row has all of the error."""
    errors = np.zeros(30)
    errors[0] = 1e6
    found = measure_numbers(np.zeros(30), errors).root_mean_squared_error
    assert found.low == 0.0 < found.value < found.high


def test_classes_without_probabilities_have_accuracy_and_confusion_only():
    """The figures that a measure of the same classes' probabilities has; the others say why not."""
    truth, p = drawn(300, 3)
    found, whole = measure_classes(truth, p.argmax(axis=1), 3), measure(truth, p)
    assert (found.n, found.accuracy, found.confusion) == (whole.n, whole.accuracy, whole.confusion)
    assert (found.calibration_by_chance, found.reliability) == (None, [])
    for figure in (found.roc_auc, found.log_loss, found.brier, found.calibration_error):
        assert (figure.value, figure.reason) == (None, "the class does not follow from probabilities")
    assert measure_classes(truth[:5], truth[:5], 3).accuracy.reason == "5 labels, 30 are needed"
