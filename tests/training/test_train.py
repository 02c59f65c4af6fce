from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest
from mlflow import MlflowClient

from converters import ParityError, open_session, read_metadata, verify_file
from converters.session import properties_of
from training.building import build_file, git_revision, prepare_basis
from training.config import load_config
from training.data import load_dataset, write_csv
from training.errors import DataError
from training.train import train

SMALL = ("search.candidates=[logistic]", "search.folds=2", "split.balance_draws=100")


@pytest.fixture(scope="module")
def client(trained):
    return MlflowClient(f"sqlite:///{trained.home}/mlflow.db")


def test_candidates_are_ranked_by_cross_validation(trained):
    """The held-out rows have no say."""
    aucs = [one.cv.mean.roc_auc for one in trained.candidates]

    assert aucs == sorted(aucs, reverse=True)
    assert {one.name for one in trained.candidates} == {"logistic", "forest-50x4"}
    assert trained.best.heldout.roc_auc > 0.98


def test_log_loss_ranks_the_lowest_first(trained, tmp_path):
    """The one metric of which less is better."""
    from training.search import rank

    config = load_config(None, ["search.metric=log_loss"])
    losses = [one.cv.mean.log_loss for one in rank(trained.candidates, config.search)]

    assert losses == sorted(losses)


def test_each_candidate_is_a_run_that_holds_all_of_it(trained, client):
    """Parameters, metrics, data, revision, model, importances and pictures."""
    for one in trained.candidates:
        run = client.get_run(one.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params["candidate"] == one.name
        assert run.data.params["seed"] == "42"
        assert run.data.metrics["cv_roc_auc"] == one.cv.mean.roc_auc
        assert run.data.metrics["heldout_log_loss"] == one.heldout.log_loss
        assert {f"{part}_accuracy" for part in ("cv", "cv_std", "heldout")} <= set(run.data.metrics)
        assert run.data.tags["hotgate.data_digest"] == trained.basis.dataset.digest
        assert run.data.tags.get("hotgate.git_revision") == trained.basis.git_revision
        (given,) = run.inputs.dataset_inputs
        assert trained.basis.dataset.digest.startswith(given.dataset.digest)
        assert len(json.loads(given.dataset.schema)["mlflow_colspec"]) == 30
        paths = {item.path for folder in ("", "model", "plots") for item in client.list_artifacts(one.run_id, folder)}
        assert {
            "feature_importances.json",
            "model/MLmodel",
            "plots/confusion_matrix.png",
            "plots/feature_importances.png",
            "plots/roc.png",
        } <= paths


def test_a_runs_model_is_the_candidate(trained, client, tmp_path):
    """It loads by mlflow.sklearn, answers the same bit for bit, and has a signature."""
    import mlflow.sklearn
    from mlflow.models import get_model_info

    rows = trained.basis.dataset.rows
    for one in trained.candidates:
        folder = client.download_artifacts(one.run_id, "model", str(tmp_path))
        loaded = mlflow.sklearn.load_model(folder)
        assert loaded.predict_proba(rows).tobytes() == one.estimator.predict_proba(rows).tobytes()
        signature = get_model_info(folder).signature
        assert signature.inputs.input_names() == list(trained.basis.dataset.columns)


def test_the_best_run_names_the_file(trained, client):
    """From the hash back to the run."""
    experiment = client.get_experiment_by_name("hotgate")
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`hotgate.sha256` = '{trained.saved.file.sha256}'")

    assert found.info.run_id == trained.best.run_id
    assert found.data.tags["hotgate.parity"] == "pass"


def test_the_file_lies_under_home_and_may_be_served(trained):
    """What was written is what was certified, and the verifier agrees."""
    assert trained.saved.path.is_relative_to(trained.home / "models" / "cancer-classifier")
    assert trained.saved.path.read_bytes() == trained.saved.file.data
    assert verify_file(trained.saved.path).ok


def test_the_file_says_where_it_came_from(trained):
    """Nothing in it varies between equal runs, so no run id, time, machine or path."""
    properties = properties_of(open_session(trained.saved.file.data))
    provenance = read_metadata(properties).provenance

    assert provenance.data_digest == trained.basis.dataset.digest
    assert provenance.seed == 42
    assert provenance.parameters["candidate"] == "logistic"
    assert {"hotgate", "scikit-learn", "onnxruntime"} <= set(provenance.versions)
    text = msgspec.json.encode(properties).decode()
    assert trained.best.run_id not in text
    assert str(trained.home) not in text


def test_any_candidate_can_become_a_file(trained, tmp_path):
    """The second best too, wherever the caller wants it."""
    saved = trained.save(trained.candidates[1], tmp_path / "second.onnx")

    assert verify_file(saved.path).ok
    assert saved.file.metadata.provenance.parameters["candidate"] == "forest-50x4"
    assert saved.file.sha256 != trained.saved.file.sha256


def test_equal_data_in_another_file_gives_an_equal_model_file(trained, tmp_path):
    """Built in or from CSV: the same bytes, if the classes have the same display names."""
    path = write_csv(trained.basis.dataset, tmp_path / "cancer.csv")
    config = load_config(
        None,
        [f"data.source={path}", "data.target=target", "data.labels=[malignant, benign]", "search.folds=2",
         "split.balance_draws=100"],
    )  # fmt: skip
    # A commit may come between the two.
    basis = dataclasses.replace(prepare_basis(config), git_revision=trained.basis.git_revision)
    rows, y = basis.dataset.rows[basis.split.train], basis.dataset.y[basis.split.train]

    file = build_file(basis, trained.best.candidate.build(42).fit(rows, y), trained.best.parameters)

    assert file.sha256 == trained.saved.file.sha256


def test_heldout_rows_can_be_written(trained, tmp_path):
    """As CSV that reads back to the same doubles in the same order."""
    path = trained.write_heldout_csv(tmp_path / "deep" / "heldout.csv")
    config = load_config(None, [f"data.source={path}", "data.target=target"])
    read, split = load_dataset(config.data), trained.basis.split

    assert np.array_equal(read.rows, trained.basis.dataset.rows[split.heldout])
    assert np.array_equal(read.codes, trained.basis.dataset.codes[split.heldout])


def test_a_model_that_onnx_cannot_follow_is_not_made_a_file(home):
    """The message names rows and distances; the run keeps it; no file appears."""
    config = load_config(None, [*SMALL, "tolerance=1e-12"])
    told = []

    with pytest.raises(ParityError, match=r"held-out rows: row \d+ off by"):
        train(config, home, lambda *step: told.append(step))

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("hotgate").experiment_id])
    assert run.data.tags["hotgate.parity"] == "fail"
    assert "off by" in run.data.tags["hotgate.reason"]
    assert not list(home.rglob("*.onnx"))
    assert told[-1] == (4, 5, "converting logistic")


def test_a_run_that_raises_ends_as_failed(home):
    """No run stays open for ever."""
    from training.tracking import Tracker

    tracker = Tracker(home, "hotgate")
    with pytest.raises(ZeroDivisionError), tracker.run("breaks") as run:
        raise ZeroDivisionError

    assert tracker.client.get_run(run.run_id).info.status == "FAILED"


def test_too_few_rows_of_a_class_are_told_before_training(tmp_path):
    """Folds and held-out rows both need some."""
    path = tmp_path / "rows.csv"
    path.write_text("a,kind\n" + "".join(f"{i},x\n" for i in range(30)) + "1,y\n2,y\n")

    with pytest.raises(DataError, match=r"class 'y' has 2 rows, 5 folds .* need 10"):
        train(load_config(None, [f"data.source={path}", "data.target=kind"]), tmp_path / "home")


def test_several_classes_with_text_names_are_trained(tmp_path, home):
    """Three flowers, by name: prediction classes are the text itself."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    path = tmp_path / "iris.csv"
    lines = [",".join(map(repr, row)) + "," + iris.target_names[k] for row, k in zip(iris.data.tolist(), iris.target)]  # noqa: B905
    path.write_text("a,b,c,d,species\n" + "\n".join(lines) + "\n")
    config = load_config(None, [f"data.source={path}", "data.target=species", "name=iris", *SMALL])

    result = train(config, home)

    assert result.saved.file.metadata.signature.classes == ("setosa", "versicolor", "virginica")
    assert result.best.heldout.accuracy > 0.85


def test_an_experiment_without_a_server_keeps_its_artifacts_under_home(trained):
    """In the database itself stands where they are; MLflow's default would be the current directory."""
    with sqlite3.connect(trained.home / "mlflow.db") as database:
        rows = database.execute("select artifact_location from experiments where name = 'hotgate'").fetchall()
    database.close()

    assert rows == [((trained.home / "artifacts").as_uri(),)]
    assert any((trained.home / "artifacts").iterdir())


def test_no_repository_no_revision(tmp_path, monkeypatch):
    """Outside of git there is none to tell."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert git_revision() is None


def test_a_revision_says_if_files_differ_from_it(tmp_path, monkeypatch):
    """A commit, and the mark of a change after it."""
    import subprocess

    monkeypatch.chdir(tmp_path)
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")
    Path("code.py").write_text("1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *identity, *command], check=True)
    clean = git_revision()
    Path("code.py").write_text("2\n")

    assert len(clean) == 40
    assert git_revision() == f"{clean}-dirty"
