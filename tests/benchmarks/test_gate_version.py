"""The gate's p99 for real: models in gateways of their own, under load. It lies here because it wants the machine."""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from benchmarks.affinity import cores
from benchmarks.gate import GatePlan
from benchmarks.gate_run import QUICK
from benchmarks.process import descendants
from converters import Column, Provenance, build_model_file
from deploy.gating.settings import GateSettings
from deploy.gating.speed import race
from deploy.gating.track import gateways

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(len(cores()) < 2, reason="one core for the servers, one for the generator"),
]

SHORT = msgspec.structs.replace(QUICK, block_s=0.4, answers_min=100, warmup_s=0.1, probe_s=0.3)
# A busy machine makes pairs void. These tests ask about a model, so they may try more often.
PLAN = GatePlan(pairs_min=8, pairs_max=8, voids_max=20)
ROWS = np.random.default_rng(0).normal(size=(1200, 10))
CLASSES = np.random.default_rng(1).integers(0, 2, 1200)


@pytest.fixture(scope="module")
def forests(tmp_path_factory):
    """Model files of ten trees and of 500, deep ones, because there is nothing to learn."""
    files = []
    for trees in (10, 500):
        estimator = RandomForestClassifier(trees, max_features=1, random_state=0).fit(ROWS[:1000], CLASSES[:1000])
        file = build_model_file(
            estimator,
            columns=[Column(name=f"x{number}") for number in range(10)],
            labels=["no", "yes"],
            train_rows=ROWS[:1000],
            heldout_rows=ROWS[1000:],
            provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
        )
        files.append(tmp_path_factory.mktemp("forest") / "model.onnx")
        files[-1].write_bytes(file.data)
    return files


def test_a_forest_fifty_times_as_large_fails(forests, tmp_path, gone):
    """It is slower by far, or cannot even hold the champion's rate; the gateways end with the block."""
    small, large = forests
    with gateways(tmp_path / "track", large, small, ROWS, SHORT, say=lambda _text: None) as track:
        (check,) = race(track, GateSettings(), PLAN, first=False, more=lambda _text: True)
        running = descendants(os.getpid())
    assert len(running) >= 4  # two gateways, each with a worker
    assert gone(running)
    _sure(check)
    assert check.outcome == "fail", check.reason


@pytest.mark.skipif("HOTGATE_LONG" not in os.environ, reason="many seconds: HOTGATE_LONG=1 make test")
def test_a_first_model_keeps_a_generous_budget(forests, tmp_path):
    """Measured alone, at half of its own maximum."""
    small, _ = forests
    with gateways(tmp_path / "track", small, None, ROWS, SHORT, say=lambda _text: None) as track:
        (check,) = race(track, GateSettings(p99_budget_ms=2000.0), PLAN, first=True, more=lambda _text: True)
    _sure(check)
    assert (check.name, check.outcome) == ("p99_budget", "pass"), check.reason


def _sure(check):
    """A machine that is too busy for the generator's schedule decides nothing, here as in the gate."""
    if check.outcome == "inconclusive" and "pairs were void" in check.reason:
        pytest.skip(f"this machine cannot tell: {check.reason}")
