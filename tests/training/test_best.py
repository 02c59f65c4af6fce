"""The best run of an experiment, on a real tracking store."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from converters.modelfile import ARTIFACT_NAME
from training import best_cli
from training.best import find_best, lower_is_better, register_best
from training.data import write_csv
from training.errors import RegisterError
from training.evidence import HELDOUT, TRAINED, hash_rows, read_trained
from training.registering import register
from training.tracking import tracking_uri


@pytest.fixture
def client(home):
    return MlflowClient(tracking_uri(home))


@pytest.fixture
def experiment(client, tmp_path):
    return client.create_experiment("churn", artifact_location=(tmp_path / "artifacts").as_uri())


@pytest.fixture
def log(client, experiment):
    """Make a run with metrics; returns its id."""

    def make(status="FINISHED", **metrics):
        run_id = client.create_run(experiment).info.run_id
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
        client.set_terminated(run_id, status)
        return run_id

    return make


@pytest.fixture
def elsewhere(trained, tmp_path):
    """Another machine's home: the same runs, but none of the files that training wrote."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    shutil.copy(trained.home / "mlflow.db", home)
    return home


@pytest.fixture
def call(monkeypatch):
    """Run `hotgate best` in this process."""

    def run(home, *arguments):
        monkeypatch.setenv("HOTGATE_HOME", str(home))
        return CliRunner().invoke(best_cli.best, [str(argument) for argument in arguments])

    return run


def _artifact(home, version, folder):
    uri = MlflowClient(tracking_uri(home)).get_model_version_download_uri(version.name, version.version)
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=tracking_uri(home)))


def test_the_best_finished_run_is_found(log, client, home):
    """Failed, running and deleted ones do not compete, nor those without a number; the name may leave out `cv_`."""
    for status in ("FAILED", "RUNNING", "KILLED"):
        log(status, cv_roc_auc=0.99, cv_log_loss=0.01)
    client.delete_run(log(cv_roc_auc=0.98))
    log(cv_roc_auc=math.nan, cv_log_loss=math.inf)
    worse = log(cv_roc_auc=0.8, cv_log_loss=0.1)
    better = log(cv_roc_auc=0.9, cv_log_loss=0.2)
    log()

    best = find_best("churn", "roc_auc", home)

    assert (best.run_id, best.metric, best.value, best.compared) == (better, "cv_roc_auc", 0.9, 2)
    assert find_best("churn", "log_loss", home).run_id == worse
    plain = log(roc_auc=0.1)
    assert find_best("churn", "roc_auc", home).run_id == plain
    assert find_best("churn", "cv_roc_auc", home).run_id == better


def test_of_equal_runs_one_with_a_model_is_taken_then_the_oldest(log, client, home):
    """The run over a search may repeat its best child's metrics."""
    first, second = log(cv_f1=0.7), log(cv_f1=0.7)
    assert find_best("churn", "f1", home).run_id == first
    client.log_text(second, "", "model/MLmodel")
    assert find_best("churn", "f1", home).run_id == second


def test_more_runs_than_a_page_holds(log, home, monkeypatch):
    """All of them are looked at."""
    runs = [log(cv_f1=number / 10) for number in (1, 3, 2)]
    search = MlflowClient.search_runs
    monkeypatch.setattr(MlflowClient, "search_runs", lambda *a, **k: search(*a, **(k | {"max_results": 1})))
    assert find_best("churn", "f1", home).run_id == runs[1]


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("cv_log_loss", True),
        ("heldout_brier", True),
        ("val_rmse", True),
        ("mean_absolute_error", True),
        ("cv_std_f1", True),
        ("cv_neg_log_loss", False),
        ("roc_auc", False),
        ("precision", False),
    ],
)
def test_losses_and_errors_are_better_if_lower(metric, lower):
    """By the name; scikit-learn's negated ones are scores."""
    assert lower_is_better(metric) is lower


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere",), "experiment 'nowhere' does not exist; there are: Default, bare, churn"),
        (("gone",), "experiment 'gone' is deleted; there are: Default, bare, churn"),
        (("bare",), "experiment 'bare' has no finished run"),
        (
            ("churn", "--metric", "auc"),
            "no finished run of 'churn' has a number as metric 'auc'; they have: cv_f1, cv_log_loss",
        ),
        (("churn", "--metric", "f1", "--register", "--name", "a/b"), "--name: name must be"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(log, client, home, call, arguments, text):
    """Exit code 2; one line, and nothing is registered."""
    log(cv_f1=0.5)
    log(cv_log_loss=0.5)
    client.create_experiment("bare")
    client.delete_experiment(client.create_experiment("gone"))

    done = call(home, *arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not client.search_registered_models()


def test_a_run_without_a_model_is_not_registered(log, home, client):
    """What to do is told."""
    run_id = log(cv_f1=0.5)
    with pytest.raises(RegisterError, match=rf"run {run_id} holds neither .* --name churn --run {run_id}`"):
        register_best(find_best("churn", "f1", home), home)
    assert not client.search_registered_models()


def test_the_best_run_of_a_training_is_registered_with_its_own_file(trained, call, tmp_path):
    """The very file that training wrote, with its evidence; a second time it is that version."""
    arguments = ("hotgate", "--register", "--name", "best-of-all")

    once = call(trained.home, *arguments, "--json")
    again = call(trained.home, *arguments)

    told = json.loads(once.stdout)
    version = told["version"]
    assert (told["run_id"], told["metric"], told["compared"]) == (trained.best.run_id, "cv_roc_auc", 2)
    assert (version["sha256"], version["run_id"]) == (trained.saved.file.sha256, trained.best.run_id)
    assert f"cv_roc_auc {told['value']:.6g}, the highest of 2" in again.stdout
    assert f"is already best-of-all version {version['version']}" in again.stdout


def test_the_file_is_taken_from_where_registering_put_it(trained, elsewhere, tmp_path):
    """On a machine that did not train: the same bytes and the same evidence, under any name."""
    register(trained.saved.path, "first-name", home=trained.home, run_id=trained.best.run_id)

    version = register_best(find_best("hotgate", "roc_auc", elsewhere), elsewhere, name="second-name")

    files = _artifact(elsewhere, version, tmp_path)
    assert version.sha256 == trained.saved.file.sha256
    assert (files / ARTIFACT_NAME).read_bytes() == trained.saved.file.data
    assert {HELDOUT, TRAINED, "MLmodel"} <= {item.name for item in files.iterdir()}
    assert not (elsewhere / "models").exists()


@pytest.fixture
def second(trained, elsewhere):
    """The second candidate's run, which has no model file, as the best by a metric of its own."""
    MlflowClient(tracking_uri(elsewhere)).log_metric(trained.candidates[1].run_id, "profit", 1.0)
    return find_best("hotgate", "profit", elsewhere)


def test_a_run_without_a_model_file_gets_one(trained, elsewhere, second, tmp_path):
    """Converted from its scikit-learn model, on the data and split of its parameters: what it was shown is known."""
    version = register_best(second, elsewhere)
    again = register_best(second, elsewhere)

    assert (version.name, version.run_id) == ("cancer-classifier", trained.candidates[1].run_id)
    assert (again.version, again.created) == (version.version, False)
    files = _artifact(elsewhere, version, tmp_path)
    dataset, split = trained.basis.dataset, trained.basis.split
    assert {ARTIFACT_NAME, HELDOUT, "MLmodel"} <= {item.name for item in files.iterdir()}
    assert set(read_trained(files / TRAINED)) == set(hash_rows(dataset.rows[split.train]))


@pytest.mark.parametrize("changed", ["seed=7", "split.keep"])
def test_another_split_than_the_training_knows_not_what_was_shown(trained, elsewhere, second, changed, tmp_path):
    """The held-out rows may have been trained on: no hashes claim otherwise."""
    if changed == "split.keep":
        changed += f"={write_csv(trained.basis.dataset, tmp_path / 'keep.csv', trained.basis.split.train[::20])}"
    version = register_best(second, elsewhere, name="resplit", overrides=[changed])
    assert TRAINED not in {item.name for item in _artifact(elsewhere, version, tmp_path).iterdir()}


def test_other_data_than_the_run_was_trained_on_is_refused(trained, elsewhere, second, call, tmp_path):
    """Exit code 2, and the same data under another path is the same data."""
    rows = trained.basis.dataset
    same = write_csv(rows, tmp_path / "same.csv")
    settings = tmp_path / "params.yaml"
    settings.write_text("data: {labels: [malignant, benign], target: target}")
    fewer = write_csv(rows, tmp_path / "fewer.csv", trained.basis.split.train)
    arguments = ("hotgate", "--metric", "profit", "--register", "--name", "by-data", "--config", settings, "--data")

    refused, taken = call(elsewhere, *arguments, fewer), call(elsewhere, *arguments, same)

    assert refused.exit_code == 2
    assert "was trained on data with digest" in refused.stderr
    assert "registered by-data version 1" in taken.stdout, taken.output


@pytest.mark.process
def test_a_real_server_is_asked_the_same_way(trained_remotely, mlflow_server, home, monkeypatch):
    """Runs, files and versions over HTTP, from a machine that did not train."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)

    best = find_best("hotgate", "roc_auc", home)
    version = register_best(best, home, name="best-remotely")

    assert best.run_id == trained_remotely.best.run_id
    assert (version.version, version.run_id, version.created) == ("1", best.run_id, True)
