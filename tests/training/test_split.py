from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from monitoring import DriftWindow, build_reference
from monitoring.psi import psi
from training.config import DataConfig, TrainConfig
from training.data import load_dataset
from training.split import balanced_split


@pytest.fixture(scope="module")
def cancer_set():
    return load_dataset(DataConfig())


def _split(dataset, **changes):
    settings = {"share": 0.25, "draws": 200, "seed": 3} | changes
    return balanced_split(dataset.rows, dataset.codes, **settings)


def test_the_default_split_looks_like_the_rest(cancer_set):
    """No column's PSI comes near the 0.1 at which a monitor warns, as a plain draw's does."""
    config = TrainConfig()
    balanced = _split(cancer_set, draws=config.split.balance_draws, seed=config.seed)
    plain = [_split(cancer_set, draws=0, seed=seed).max_psi for seed in range(40)]

    assert balanced.max_psi < 0.05
    assert balanced.max_ks < 0.1
    assert np.median(plain) > 0.15


def test_a_monitor_fed_with_the_held_out_rows_stays_silent(cancer_set):
    """Ten windows of traffic drawn from them: none has drifted; from a plain draw nearly every one has."""

    def alarms(draws):
        config = TrainConfig()
        split = _split(cancer_set, draws=draws, seed=config.seed)
        held = cancer_set.rows[split.heldout].astype(np.float32)
        settings = {"names": cancer_set.columns, "kinds": cancer_set.kinds, "graph_sha256": "00"}
        reference = build_reference(cancer_set.rows[split.train], held[:, 0], **settings)
        rng, count = np.random.default_rng(11), 0
        for _ in range(10):
            window, rows = DriftWindow(reference), held[rng.integers(len(held), size=1000)]
            window.add(rows, rows[:, 0].astype(np.float64))
            count += window.verdict().severity != "none"
        return count

    assert alarms(TrainConfig().split.balance_draws) == 0
    assert alarms(0) >= 8


def test_every_row_is_on_one_side_and_every_class_keeps_its_share(cancer_set):
    """Stratified to the row: each class within one row of the share, all of them together exactly."""
    split = _split(cancer_set)
    held = np.bincount(cancer_set.codes[split.heldout])

    assert np.array_equal(np.sort(np.concatenate([split.train, split.heldout])), np.arange(569))
    assert len(split.heldout) == round(569 * 0.25)
    assert np.all(np.abs(held - np.bincount(cancer_set.codes) * 0.25) < 1)


def test_equal_seeds_give_equal_splits_and_others_do_not(cancer_set):
    """The seed decides all."""
    first, again, other = _split(cancer_set), _split(cancer_set), _split(cancer_set, seed=4)

    assert np.array_equal(first.heldout, again.heldout)
    assert not np.array_equal(first.heldout, other.heldout)


def test_more_draws_balance_better(cancer_set):
    """A longer search begins as the shorter one did, and keeps only what helps."""
    found = [_split(cancer_set, draws=draws).max_psi for draws in (0, 10, 1000)]

    assert found == sorted(found, reverse=True)


def test_what_it_says_of_itself_is_what_monitoring_and_scipy_measure(cancer_set):
    """PSI by monitoring's own function, KS by scipy."""
    split = _split(cancer_set)
    held, rest = cancer_set.rows[split.heldout], cancer_set.rows[split.train]
    edges = np.quantile(cancer_set.rows, np.arange(1, 10) / 10, axis=0)

    def tenths(rows, column):
        return np.bincount(np.searchsorted(edges[:, column], rows[:, column]), minlength=10)

    assert split.max_psi == pytest.approx(max(psi(tenths(rest, c), tenths(held, c)) for c in range(30)), rel=1e-9)
    assert split.max_ks == pytest.approx(max(ks_2samp(held[:, c], rest[:, c]).statistic for c in range(30)), rel=1e-9)


def test_the_smallest_class_is_on_both_sides():
    """Two rows of a class: one each."""
    codes = np.array([0] * 30 + [1] * 2)
    rows = np.random.default_rng(1).normal(size=(32, 2))

    split = balanced_split(rows, codes, share=0.05, draws=5, seed=1)

    assert np.bincount(codes[split.heldout])[1] == 1
    assert np.bincount(codes[split.train])[1] == 1


def test_a_lonely_row_cannot_be_split():
    """One row of a class has no other side to be on."""
    with pytest.raises(ValueError, match="class 1 has 1 rows"):
        balanced_split(np.zeros((5, 1)), np.array([0, 0, 0, 0, 1]), share=0.25, draws=1, seed=0)


def test_a_column_with_one_value_is_balanced():
    """A constant says nothing, and divides by nothing."""
    codes = np.arange(40) % 2

    split = balanced_split(np.ones((40, 1)), codes, share=0.25, draws=3, seed=0)

    assert split.max_psi == 0
    assert split.max_ks == pytest.approx(0, abs=1e-12)


def test_many_rows_need_one_draw():
    """Above 20,000 rows luck balances, and the number of draws makes no difference."""
    rows = np.random.default_rng(2).normal(size=(20_001, 3))
    codes = (rows[:, 0] > 0).astype(np.int64)

    one, many = (balanced_split(rows, codes, share=0.25, draws=draws, seed=9) for draws in (0, 1000))

    assert np.array_equal(one.heldout, many.heldout)
    assert one.max_psi < 0.02
