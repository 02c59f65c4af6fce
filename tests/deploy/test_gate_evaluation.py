"""What the figures of two models make of the verdict: better, worse, or not to be told apart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from converters import Column
from converters.modelfile import Signature, Target
from deploy.gating.evaluation import evaluate, must_improve, must_keep, must_reach
from deploy.gating.evidence import EvidenceError, Judge
from deploy.gating.paired import Estimate
from deploy.gating.settings import GateSettings

SETTINGS = GateSettings(draws=400, log_loss_rise_max=0.2)


class Fake:
    """A side that answers by its noise: how often it takes the other class for the right one."""

    def __init__(self, name, noise, seed, *, blind=None, kind="category"):
        columns = (Column(name="x"), Column(name="group", kind=kind))
        signature = Signature(
            columns=columns,
            input_name="X",
            targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
            score_output="probabilities",
        )
        self.name, self.metadata = name, SimpleNamespace(signature=signature)
        self._noise, self._seed, self._blind = noise, seed, blind

    def probabilities(self, rows):
        score = rows[:, 0] + np.random.default_rng(self._seed).normal(0, self._noise, len(rows))
        if self._blind is not None:
            score = np.where(rows[:, 1] == self._blind, -score, score)
        sure = 1 / (1 + np.exp(-score))
        return np.column_stack([1 - sure, sure])


def judge(n=600, seed=0):
    """Rows whose first column tells the class, in two groups: 1 has a tenth of them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n)
    rows = np.column_stack([2 * codes - 1 + rng.normal(0, 0.5, n), rng.random(n) < 0.1])
    return Judge(rows=rows, codes=codes, known=3)


def outcomes(checks):
    return {check.name: check.outcome for check in checks}


def estimate(middle, low, high):
    return Estimate(estimate=middle, low=low, high=high, confidence=0.95, rows=100)


def test_the_estimate_is_held_against_the_limit_and_the_interval_against_no_change():
    """The three rules, at and beside their bounds."""
    assert must_improve(estimate(0.0049, 0.001, 0.01), 0.005) == "fail"
    assert must_improve(estimate(0.005, 0.0, 0.01), 0.005) == "inconclusive"
    assert must_improve(estimate(0.005, 0.001, 0.01), 0.005) == "pass"
    assert must_keep(estimate(0.01, -0.1, 0.1), 0.01) == "pass"
    assert must_keep(estimate(0.011, 0.0, 0.1), 0.01) == "inconclusive"
    assert must_keep(estimate(0.011, 0.001, 0.1), 0.01) == "fail"
    assert must_reach(estimate(0.7, 0.7, 0.8), 0.7) == "pass"
    assert must_reach(estimate(0.7, 0.6, 0.8), 0.7) == "inconclusive"
    assert must_reach(estimate(0.69, 0.6, 0.8), 0.7) == "fail"


def test_a_clearly_better_model_passes_everything():
    """Four measures and the slices."""
    checks = evaluate(Fake("version 2", 0.1, 1), Fake("version 1", 2, 2), judge(), SETTINGS)
    assert outcomes(checks) == dict.fromkeys(("roc_auc", "log_loss", "accuracy", "brier", "slices"), "pass")


def test_a_worse_auc_fails_and_says_by_how_much():
    """Both figures, the difference with its interval, and what is asked for."""
    checks = evaluate(Fake("version 2", 2, 1), Fake("version 1", 0.1, 2), judge(), SETTINGS)
    assert {outcomes(checks)[name] for name in ("roc_auc", "log_loss", "accuracy", "brier")} == {"fail"}
    assert " on 600 rows: -0." in checks[0].reason
    assert "at least +0.0050 is asked for" in checks[0].reason


def test_a_gain_that_may_be_luck_is_inconclusive():
    """Forty rows cannot tell two hundredths from nothing."""
    few = judge(40)
    checks = evaluate(Fake("version 2", 1.2, 5), Fake("version 1", 1.3, 12), few, SETTINGS)
    assert outcomes(checks)["roc_auc"] == "inconclusive", checks[0].reason


def test_an_equal_model_passes_where_no_improvement_is_asked_for():
    """A retraining on fresh rows with `auc_improvement_min = 0`."""
    both = [Fake("version 2", 1, 1), Fake("version 1", 1, 1)]
    assert outcomes(evaluate(*both, judge(), GateSettings(draws=200)))["roc_auc"] == "fail"
    assert outcomes(evaluate(*both, judge(), GateSettings(draws=200, auc_improvement_min=0)))["roc_auc"] == "pass"


def test_what_no_model_could_reach_is_said():
    """A champion near 1 leaves no room."""
    checks = evaluate(Fake("version 2", 0, 1), Fake("version 1", 0, 1), judge(), GateSettings(auc_improvement_min=0.5))
    assert "a perfect model would gain 0.0" in checks[0].reason
    assert "lower auc_improvement_min" in checks[0].reason


def test_a_model_that_gained_on_the_whole_but_lost_a_slice_fails():
    """The group of a tenth of the rows; the category is a slice without being named."""
    new = Fake("version 2", 0.1, 1, blind=1)
    checks = evaluate(new, Fake("version 1", 4, 2), judge(2000), SETTINGS)
    found = outcomes(checks)
    assert (found["roc_auc"], found["slice group=1"]) == ("pass", "fail")
    assert "slice group=0" not in found
    assert "1 of 2 slices keep" in checks[-1].reason


def test_quantiles_of_a_named_column_are_slices():
    """Three thirds of a float; none is a slice unless it is named."""
    sides = [Fake("version 2", 3, 1, kind="int"), Fake("version 1", 3, 1, kind="int")]
    settings = GateSettings(draws=200, slice_columns=("x",), slice_quantiles=3)
    assert "3 of 3 slices keep their ROC AUC; 0 have" in evaluate(*sides, _mixed(), settings)[-1].reason
    assert "slices" not in outcomes(evaluate(*sides, _mixed(), GateSettings(draws=200)))


def test_a_slice_with_few_rows_is_left_out_and_counted():
    """It neither passes nor fails."""
    settings = GateSettings(draws=200, class_rows_min=40)
    checks = evaluate(Fake("version 2", 1, 1, blind=1), Fake("version 1", 1, 1), judge(), settings)
    assert "1 of 1 slices keep their ROC AUC; 1 have too few rows to tell" in checks[-1].reason


def test_too_few_rows_of_a_class_are_inconclusive():
    """And it is said that rows went because a model knew them."""
    (check,) = evaluate(Fake("version 2", 0, 1), Fake("version 1", 2, 2), judge(12), SETTINGS)
    assert check.outcome == "inconclusive"
    assert "3 were left out because a model was fitted on them" in check.reason


def test_a_first_model_is_held_to_absolute_thresholds():
    """Those that are set, each the right way round."""
    settings = GateSettings(draws=200, first_auc_min=0.9, first_accuracy_min=0.999, first_log_loss_max=0.01)
    checks = evaluate(Fake("version 1", 0.1, 1), None, judge(), settings)
    assert outcomes(checks) == {"roc_auc": "pass", "accuracy": "fail", "log_loss": "fail"}
    assert "at most 0.0100 is asked for" in checks[-1].reason


def test_a_slice_column_that_is_none_is_refused():
    """With those that there are."""
    with pytest.raises(EvidenceError, match=r"slice_columns names 'age'; the model has x, group"):
        evaluate(Fake("version 1", 1, 1), None, judge(), GateSettings(slice_columns=("age",)))


def test_an_impossible_setting_is_refused_with_its_bounds():
    """Key, bounds and value."""
    with pytest.raises(ValueError, match=r"draws must be between 200 and 100000, not 3"):
        GateSettings(draws=3)


def _mixed():
    """Rows whose first column tells little, so that each third has both classes."""
    rng = np.random.default_rng(4)
    return Judge(rows=np.column_stack([rng.normal(size=600), np.zeros(600)]), codes=rng.integers(0, 2, 600), known=0)
