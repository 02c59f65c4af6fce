from __future__ import annotations

import msgspec
import pytest
from mlflow import MlflowClient

from training.building import prepare_basis
from training.candidates import Candidate
from training.config import load_config
from training.errors import SearchError
from training.search import Outcome, demand_one, search, try_candidate
from training.space import candidates_of
from training.stages import prepare, read_trained_folder, train_prepared
from training.train import train

BASE = ("search.candidates=[]", "search.folds=2", "split.balance_draws=0")
BAYES = "search.families.bayes={estimator: GaussianNB, params: {var_smoothing: [1.0e-9, -1, 1.0e-6]}}"
"""Three candidates within 50 ms, of which the second fails: a share cannot be negative."""
BROKEN = "search.families.bayes={estimator: GaussianNB, params: {var_smoothing: [-1, -2]}}"


@pytest.fixture(scope="module")
def basis():
    """Data, split, and three candidates that are quick."""
    return prepare_basis(load_config(None, [*BASE, BAYES]))


def _search(basis, **options):
    return search(candidates_of(basis.config), basis, **options)


def test_one_that_fails_takes_no_other_with_it(basis):
    """Its outcome has the error's type and text; the others' have their folds."""
    first, failed, last = _search(basis)

    assert (first.error, failed.cv, last.error) == (None, None, None)
    assert failed.error.startswith("InvalidParameterError: The 'var_smoothing' parameter of GaussianNB must be")
    assert first.cv.mean.roc_auc > 0.9
    assert first.cv != last.cv


def test_arithmetic_has_one_thread(basis):
    """Several would add up in the order they finish, and machines with more of them would say something else."""
    from threadpoolctl import threadpool_info

    seen = set()

    class Spy(Candidate, frozen=True):
        def build(self, seed):
            seen.update(pool["num_threads"] for pool in threadpool_info())
            return super().build(seed)

    try_candidate(Spy(name="spy", estimator="GaussianNB", parameters={}), basis)

    assert max(pool["num_threads"] for pool in threadpool_info()) > 1
    assert seen == {1}


def test_a_search_gives_the_same_outcomes_again(basis):
    """Bit for bit."""
    assert _search(basis) == _search(basis)


def test_progress_tells_the_place_in_the_family_and_who_leads(basis):
    """One step a candidate."""
    told = []
    first, *_ = _search(basis, progress=lambda *step: told.append(step))

    leads = f"; best so far: bayes-1, roc_auc {first.cv.mean.roc_auc:.4f}"
    assert told == [
        (0, 3, "training bayes-1 (1 of 3)"),
        (1, 3, f"training bayes-2 (2 of 3){leads}"),
        (2, 3, f"training bayes-3 (3 of 3){leads}"),
    ]


def test_a_failed_candidate_is_a_failed_run(home):
    """With its parameters and the reason; the best of the others becomes the model."""
    result = train(load_config(None, [*BASE, BAYES, "search.keep=1"]), home)

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("hotgate").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "bayes-1": "FINISHED", "bayes-2": "FAILED", "bayes-3": "FINISHED",
    }  # fmt: skip
    assert runs["bayes-2"].data.params["var_smoothing"] == "-1"
    assert "InvalidParameterError" in runs["bayes-2"].data.tags["hotgate.error"]
    assert [one.name for one in result.candidates] == [result.best.name]
    assert len(result.outcomes) == 3


def test_only_the_kept_ones_are_logged_with_a_model(home):
    """The others' runs have parameters and folds: a search of hundreds stays small on disk."""
    result = train(load_config(None, [*BASE, BAYES, "search.keep=1"]), home)

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("hotgate").experiment_id
    runs = client.search_runs([experiment])
    having = {run.info.run_name for run in runs if client.list_artifacts(run.info.run_id)}
    assert having == {result.best.name}
    (other,) = (run for run in runs if run.info.run_name not in having and run.info.status == "FINISHED")
    assert other.data.metrics.keys() >= {"cv_roc_auc", "cv_std_roc_auc"}
    assert "heldout_roc_auc" not in other.data.metrics


def test_if_all_fail_each_is_logged_and_the_first_is_told(home):
    """Nothing to convert, nothing to register."""
    with pytest.raises(SearchError, match=r"all 2 candidates failed; the first, bayes-1, with InvalidParameterError"):
        train(load_config(None, [*BASE, BROKEN]), home)

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("hotgate").experiment_id])
    assert [run.info.status for run in runs] == ["FAILED", "FAILED"]
    assert not list(home.rglob("*.onnx"))


def test_a_stage_keeps_the_failures_too(tmp_path):
    """In trained.json, beside the ranking; if all fail, nothing is written."""
    config = load_config(None, [*BASE, BAYES])
    prepare(config, tmp_path / "prepared")
    train_prepared(config, tmp_path / "prepared", tmp_path / "trained")

    written = read_trained_folder(tmp_path / "trained")
    assert {one.name for one in written.candidates} == {"bayes-1", "bayes-3"}
    assert "InvalidParameterError" in written.failed["bayes-2"]
    with pytest.raises(SearchError):
        train_prepared(load_config(None, [*BASE, BROKEN]), tmp_path / "prepared", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_only_candidates_failure_reads_as_such(basis):
    """No "all 1"."""
    failed = Outcome(candidate=candidates_of(basis.config)[0], error="ValueError: no")

    with pytest.raises(SearchError, match=r"^the only candidate, bayes-1, failed with ValueError: no$"):
        demand_one([failed])
    demand_one([failed, msgspec.structs.replace(failed, error=None, cv=_search(basis)[0].cv)])
