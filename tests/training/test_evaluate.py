from __future__ import annotations

import io
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from training.candidates import CANDIDATES
from training.evaluate import importances, measure
from training.plots import confusion_matrix_png, importances_png, roc_png


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_is_the_same_twice(name, cancer):
    """Equal seeds give equal probabilities bit for bit; the seed reaches whatever draws lots."""
    rows, target, _ = cancer

    first, again, other = (CANDIDATES[name].build(seed).fit(rows, target).predict_proba(rows) for seed in (1, 1, 2))

    assert first.tobytes() == again.tobytes()
    assert (first.tobytes() == other.tobytes()) == (name == "logistic")


def test_perfect_answers_have_perfect_metrics():
    """All right, and sure of it."""
    metrics = measure(np.array([0, 1, 1, 0]), np.array([[1.0, 0], [0, 1], [0, 1], [1, 0]]))

    assert (metrics.accuracy, metrics.f1, metrics.roc_auc) == (1, 1, 1)
    assert metrics.log_loss == pytest.approx(0, abs=1e-12)


def test_the_second_of_two_classes_is_the_positive_one():
    """Two of three positives found, none falsely: F1 is 0.8."""
    metrics = measure(np.array([0, 1, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.8, 0.2]]))

    assert metrics.accuracy == 0.75
    assert metrics.f1 == pytest.approx(0.8)
    assert metrics.roc_auc == 1
    assert metrics.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.7, 0.2]).mean())


def test_more_than_two_classes_are_judged_one_against_the_rest():
    """Each class counts the same, however rare."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2]])

    metrics = measure(np.array([0, 1, 2, 1]), probabilities)

    assert metrics.accuracy == 0.75
    assert metrics.f1 == pytest.approx(np.mean([2 / 3, 2 / 3, 1]))
    assert metrics.roc_auc == pytest.approx(1.0)


def test_importances_are_shares_largest_first(trained):
    """Every candidate here tells them; they sum to 1."""
    for one in trained.candidates:
        shares = list(importances(one.estimator, trained.basis.dataset.columns).values())
        assert len(shares) == 30
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)


def test_a_model_that_tells_nothing_has_no_importances(cancer):
    """No guess is made for it."""
    from sklearn.naive_bayes import GaussianNB

    assert importances(GaussianNB().fit(*cancer[:2]), cancer[2]) == {}


@pytest.mark.parametrize("classes", [2, 3, 14])
def test_pictures_can_be_looked_at(classes):
    """Each is a PNG with something on it, for few classes and for many."""
    rng = np.random.default_rng(0)
    codes = np.arange(200) % classes
    probabilities = rng.dirichlet(np.ones(classes), 200)
    labels = [f"class {index}" for index in range(classes)]

    pictures = [
        confusion_matrix_png(codes, probabilities.argmax(axis=1), labels, model="m"),
        roc_png(codes, probabilities, labels, model="m"),
        importances_png({f"column {index}": 1 / classes for index in range(classes)}, model="m"),
    ]

    for picture in pictures:
        pixels = matplotlib.image.imread(io.BytesIO(picture))
        assert min(pixels.shape[:2]) > 250
        assert pixels[..., :3].std() > 0.02


def test_drawing_leaves_pyplot_alone():
    """No display and no global figure: pyplot is never imported."""
    code = (
        "import sys, numpy as np; from training.plots import roc_png;"
        "roc_png(np.array([0, 1, 1]), np.array([[.9, .1], [.2, .8], [.6, .4]]), ['a', 'b'], model='m');"
        "print('matplotlib.pyplot' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
