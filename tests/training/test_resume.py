from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from training.building import prepare_basis
from training.config import load_config
from training.errors import EngineError, SearchError
from training.resume import Finished
from training.search import Outcome, search
from training.space import candidates_of
from training.stages import prepare, train_prepared
from training.train import train

SETTINGS = (
    "search.candidates=[]",
    "search.folds=2",
    "search.keep=1",
    "split.balance_draws=0",
    "search.families.bayes={estimator: GaussianNB, params: {var_smoothing: [1.0e-9, 1.0e-6]}}",
    "search.families.slow={estimator: RandomForestClassifier, params: {n_estimators: 300, max_depth: 1}}",
    "search.families.tree={estimator: DecisionTreeClassifier, params: {max_depth: [2]}}",
)
NAMES = ["bayes-1", "bayes-2", "slow", "tree"]

PROGRAM = f"""
import pathlib, sys
from training.building import prepare_basis
from training.config import load_config
from training.resume import Finished
from training.search import search
from training.space import candidates_of

config = load_config(None, {SETTINGS})
basis = prepare_basis(config)
tell = lambda done, steps, text: print(text, flush=True)
search(candidates_of(config), basis, tell, memory=Finished(pathlib.Path(sys.argv[1]), basis))
"""


@pytest.fixture(scope="module")
def basis():
    """Data and split."""
    return prepare_basis(load_config(None, SETTINGS))


@pytest.fixture(scope="module")
def outcomes(basis):
    """Of a search that was never interrupted."""
    return search(candidates_of(basis.config), basis)


def _go_on(basis, memory):
    """Search, and return the outcomes and the names of those that were tried."""
    told = []
    outcomes = search(candidates_of(basis.config), basis, lambda *step: told.append(step), memory=memory)
    return outcomes, [text.split()[1].rstrip(";") for _, _, text in told if text.startswith("training ")], told


@pytest.mark.process
def test_a_kill_loses_at_most_the_candidate_that_was_running(basis, outcomes, tmp_path):
    """A process is killed in its third candidate; the next one tries only the rest and ends with equal outcomes."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("training slow"):
                os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL

    resumed, tried, told = _go_on(basis, Finished(tmp_path, basis))

    assert resumed == outcomes
    assert tried == ["slow", "tree"]
    assert told[0] == (2, 4, "going on after 2 candidates of an interrupted search")


def test_an_engine_that_breaks_down_loses_nothing_that_was_finished(basis, outcomes, tmp_path):
    """What it had answered is kept at once, not at the end."""

    class Breaking:
        def results(self, function, items, shared):
            yield from (function(item, shared) for item in items[:2])
            raise EngineError("a worker died")

    with pytest.raises(EngineError, match="a worker died"):
        search(candidates_of(basis.config), basis, engine=Breaking(), memory=Finished(tmp_path, basis))

    resumed, tried, _ = _go_on(basis, Finished(tmp_path, basis))
    assert (resumed, tried) == (outcomes, ["slow", "tree"])


def test_a_training_that_went_on_makes_the_same_file(basis, outcomes, home, tmp_path):
    """Same bytes as from one that was never interrupted, and nothing is left of the search at the end."""
    config = basis.config
    whole = train(config, home, output=tmp_path / "whole.onnx")
    memory = Finished(home / "search", basis)
    for outcome in outcomes[:3]:
        memory.keep(outcome)

    told = []
    resumed = train(config, home, lambda *step: told.append(step[2]), output=tmp_path / "resumed.onnx")

    assert "going on after 3 candidates of an interrupted search" in told
    assert resumed.outcomes == whole.outcomes
    assert (tmp_path / "resumed.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert not list((home / "search").iterdir())


def test_a_stage_goes_on_too(basis, outcomes, tmp_path):
    """And leaves nothing behind once its files are written."""
    prepare(basis.config, tmp_path / "prepared")
    memory = Finished(tmp_path / "search", basis)
    for outcome in outcomes:
        memory.keep(outcome)

    told = []
    train_prepared(
        basis.config, tmp_path / "prepared", tmp_path / "trained", lambda *step: told.append(step[2]),
        resume=tmp_path / "search",
    )  # fmt: skip

    assert told == ["going on after 4 candidates of an interrupted search", f"fitting {_best(outcomes)}"]
    assert not list((tmp_path / "search").iterdir())


def _best(outcomes):
    return max(outcomes, key=lambda one: one.cv.mean.roc_auc).candidate.name


@pytest.mark.parametrize(
    "other",
    ["seed=7", "search.folds=3", "split.holdout=0.3", "search.families.tree.params.max_depth=[3]",
     "search.families.tree.scaled=true"],
)  # fmt: skip
def test_what_was_kept_of_another_search_is_not_taken(basis, outcomes, tmp_path, other):
    """Another seed, fold, row or parameter is another outcome."""
    memory = Finished(tmp_path, basis)
    for outcome in outcomes:
        memory.keep(outcome)
    changed = prepare_basis(load_config(None, [*SETTINGS, other]))
    if other == "seed=7":
        changed = dataclasses.replace(changed, split=basis.split)  # the folds alone are others

    *_, tree = candidates_of(changed.config)

    assert Finished(tmp_path, basis).recall(outcomes[-1].candidate) == outcomes[-1]
    assert Finished(tmp_path, changed).recall(tree) is None


def test_other_versions_are_another_search(basis, outcomes, tmp_path, monkeypatch):
    """A new scikit-learn may well say something else."""
    Finished(tmp_path, basis).keep(outcomes[0])
    monkeypatch.setattr("training.resume.version", "99".format)

    assert Finished(tmp_path, basis).recall(outcomes[0].candidate) is None


def test_a_damaged_file_is_as_good_as_none(basis, outcomes, tmp_path):
    """Power may fail in the middle of a write; the candidate is tried again."""
    memory = Finished(tmp_path, basis)
    memory.keep(outcomes[0])
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(path.read_bytes()[:20])

    assert memory.recall(outcomes[0].candidate) is None
    assert _go_on(basis, memory)[1] == NAMES


def test_a_failure_is_tried_again(basis, outcomes, tmp_path):
    """It may have been the machine's, not the candidate's."""
    memory = Finished(tmp_path, basis)
    memory.keep(Outcome(candidate=outcomes[0].candidate, error="MemoryError: "))

    assert memory.recall(outcomes[0].candidate) is None
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_nothing_is_named(basis, outcomes, tmp_path):
    """Where, why, and what to do."""
    (tmp_path / "search").write_text("a file where a folder should be")

    with pytest.raises(SearchError, match=r"search/.* cannot be written: Not a directory; mend that"):
        Finished(tmp_path / "search", basis).keep(outcomes[0])
