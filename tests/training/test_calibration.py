from __future__ import annotations

import numpy as np
import pytest

from training.calibration import CalibrationBin, calibrate


def _binary(told):
    return np.column_stack([1 - told, told])


def test_probabilities_that_come_true_are_calibrated():
    """Outcomes drawn with the very probabilities: the error is chance alone, and ten bins hold the rows evenly."""
    rng = np.random.default_rng(0)
    told = rng.random(20_000)
    found = calibrate((rng.random(20_000) < told).astype(np.int64), _binary(told))

    assert found.error < 0.015
    assert found.brier == pytest.approx(1 / 6, abs=0.005)  # the mean of p(1-p)
    assert [one.rows for one in found.bins] == [2000] * 10
    assert [one.predicted for one in found.bins] == sorted(one.predicted for one in found.bins)


def test_a_model_that_is_too_sure_is_told_by_how_much():
    """It says 90 %, and half come true: an error of 0.4, a Brier score of (0.01 + 0.81) / 2, one bin."""
    codes = np.arange(100) % 2

    found = calibrate(codes, _binary(np.full(100, 0.9)))

    assert found.bins == (CalibrationBin(rows=100, predicted=pytest.approx(0.9), observed=0.5),)
    assert found.error == pytest.approx(0.4)
    assert found.brier == pytest.approx(0.41)


def test_of_several_classes_the_predicted_one_is_judged():
    """Three of four right at 0.7 each."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7], [0.7, 0.2, 0.1]])

    found = calibrate(np.array([0, 1, 2, 1]), probabilities)

    assert found.bins == (CalibrationBin(rows=4, predicted=pytest.approx(0.7), observed=0.75),)


def test_few_rows_have_few_bins():
    """Ten rows a bin at least, on average; every row in exactly one."""
    rng = np.random.default_rng(1)
    for count in (1, 9, 25, 57):
        found = calibrate(rng.integers(0, 2, count), _binary(rng.random(count)))
        assert sum(one.rows for one in found.bins) == count
        assert len(found.bins) == max(count // 10, 1)
