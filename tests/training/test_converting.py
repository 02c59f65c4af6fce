from __future__ import annotations

import json

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from converters import open_session, verify_file
from converters.session import score
from training import cli
from training.config import load_config
from training.converting import convert_model
from training.data import load_dataset, write_csv
from training.errors import ConfigError, DataError
from training.evidence import HELDOUT, TRAINED
from training.tracking import save_sklearn, tracking_uri


@pytest.fixture
def csv(trained, tmp_path):
    return write_csv(trained.basis.dataset, tmp_path / "cancer.csv")


@pytest.fixture
def config(csv):
    return load_config(None, [f"data.source={csv}", "data.target=target", "split.balance_draws=100"])


def _saved(estimator, path):
    save_sklearn(estimator, path)
    return str(path)


def _answers(converted, rows):
    session, signature = open_session(converted.file.data), converted.file.metadata.signature
    return score(session, signature, rows.astype(np.float32))


def test_a_registered_version_without_a_file_gets_one(trained, config, monkeypatch, csv):
    """As `hotgate convert models:/NAME/1 --register`: the next version has the file, the flavour and the run."""
    client = MlflowClient(tracking_uri(trained.home))
    run = client.get_run(trained.candidates[1].run_id)
    client.create_registered_model("bare")
    client.create_model_version("bare", f"{run.info.artifact_uri}/model", run.info.run_id)
    monkeypatch.setenv("HOTGATE_HOME", str(trained.home))

    done = CliRunner().invoke(
        cli.convert, ["models:/bare/1", "--data", str(csv), "--target", "target", "--register", "--json"]
    )

    assert done.exit_code == 0, done.output
    version = json.loads(done.stdout)
    assert (version["name"], version["version"]) == ("bare", "2")
    assert version["run_id"] == run.info.run_id
    files = {
        item.path.rpartition("/")[2] for item in client.list_artifacts(run.info.run_id, f"hotgate/{version['sha256']}")
    }
    assert HELDOUT in files
    assert TRAINED not in files  # nobody can tell what it was fitted on
    loaded = mlflow.sklearn.load_model(client.get_model_version_download_uri("bare", "2"))
    rows = trained.basis.dataset.rows
    assert loaded.predict_proba(rows).tobytes() == trained.candidates[1].estimator.predict_proba(rows).tobytes()


@pytest.mark.parametrize("where", ["Staging", "@blue"])
def test_a_version_is_found_by_stage_or_alias(trained, config, where):
    """Either names the version that is there now."""
    name = f"found-by-{where.strip('@').lower()}"
    client = MlflowClient(tracking_uri(trained.home))
    run = client.get_run(trained.best.run_id)
    client.create_registered_model(name)
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id).version
    if where == "Staging":
        with pytest.warns(FutureWarning, match="stages"):
            client.transition_model_version_stage(name, version, "Staging")
    else:
        client.set_registered_model_alias(name, "blue", version)

    converted = convert_model(f"models:/{name}{where if where[0] == '@' else '/' + where}", config, trained.home)

    assert converted.name == name
    assert converted.run_id == trained.best.run_id
    assert _answers(converted, trained.basis.dataset.rows).shape == (569, 2)


def test_a_saved_model_that_was_fitted_on_a_frame_is_converted(trained, config, tmp_path):
    """The usual notebook: column names in the estimator, a folder on disk."""
    dataset = trained.basis.dataset
    frame = pd.DataFrame(dataset.rows, columns=list(dataset.columns))
    estimator = RandomForestClassifier(10, random_state=0).fit(frame, dataset.y)

    converted = convert_model(_saved(estimator, tmp_path / "saved"), config, tmp_path / "home", name="notebook")

    assert converted.path.is_relative_to(tmp_path / "home" / "models" / "notebook")
    assert np.abs(_answers(converted, dataset.rows) - estimator.predict_proba(frame)).max() < 1e-5
    assert converted.file.metadata.provenance.parameters["n_estimators"] == 10


def test_data_with_other_columns_is_refused(trained, config, tmp_path):
    """Names in another order would be other numbers to the model."""
    dataset = trained.basis.dataset
    names = list(dataset.columns)
    names[2], names[3] = names[3], names[2]
    named = RandomForestClassifier(2).fit(pd.DataFrame(dataset.rows, columns=names), dataset.y)
    narrow = RandomForestClassifier(2).fit(dataset.rows[:, :5], dataset.y)
    other = RandomForestClassifier(2).fit(dataset.rows, dataset.y + 5)

    for index, (estimator, words) in enumerate(
        [(named, "'mean area' where"), (narrow, "takes 5 columns"), (other, r"knows classes \[5, 6\]")]
    ):
        with pytest.raises(DataError, match=words):
            convert_model(_saved(estimator, tmp_path / f"m{index}"), config, tmp_path / "home")


def test_any_other_model_is_converted_from_the_file_as_it_is(tmp_path):
    """Texts without names, and clusters without a target; the notes say which rows have judged them."""
    texts = [f"{'good' if number % 2 else 'bad'} wine number {number}" for number in range(80)]
    pd.DataFrame({"text": texts, "kind": np.arange(80) % 2}).to_csv(tmp_path / "texts.csv", index=False)
    words = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, np.arange(80) % 2)
    points = np.random.default_rng(0).normal(size=(80, 2)) + np.arange(80)[:, None] % 2 * 9
    pd.DataFrame(points, columns=["a", "b"]).to_csv(tmp_path / "points.csv", index=False)
    clusters = KMeans(2, n_init=1, random_state=0).fit(points)

    config = load_config(None, [f"data.source={tmp_path / 'texts.csv'}", "data.target=kind"])
    classifier = convert_model(_saved(words, tmp_path / "words"), config, tmp_path / "home", name="words")
    config = load_config(None, [f"data.source={tmp_path / 'points.csv'}"])
    found = convert_model(_saved(clusters, tmp_path / "clusters"), config, tmp_path / "home", name="points")

    assert [column.kind for column in classifier.file.metadata.signature.columns] == ["string"]
    assert found.file.metadata.signature.task == "clusters"
    assert [column.name for column in found.file.metadata.signature.columns] == ["a", "b"]
    assert "20 of 80 rows" in found.file.notes[0]
    assert verify_file(classifier.path).ok
    assert verify_file(found.path).ok


def test_what_training_needs_is_told_where_it_is_missing(csv):
    """A classifier of numbers is judged by the classes in the data."""
    with pytest.raises(DataError, match=r"data\.target must name the column with the classes"):
        load_dataset(load_config(None, [f"data.source={csv}"]).data)


@pytest.mark.parametrize("model", ["nowhere", "models:/", "models:/a/b/c"])
def test_what_names_no_model_is_refused(config, tmp_path, model):
    """Neither a version nor a folder."""
    with pytest.raises(ConfigError, match="neither"):
        convert_model(model, config, tmp_path / "home")


def test_an_empty_stage_is_told(trained, config):
    """There is nothing to convert, though a version is there."""
    trained.register(trained.best, trained.saved)

    with pytest.raises(ConfigError, match="no version of cancer-classifier is in stage 'Archived'"):
        convert_model("models:/cancer-classifier/Archived", config, trained.home)


def test_a_model_that_onnx_cannot_follow_is_exit_code_1(trained, csv, tmp_path, monkeypatch):
    """With the reason, and without a file."""
    dataset = trained.basis.dataset
    threshold = float(np.median(dataset.rows[:, 0])) + 1e-9
    folder = _saved(BernoulliNB(binarize=threshold).fit(dataset.rows, dataset.y), tmp_path / "saved")
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path / "home"))

    done = CliRunner().invoke(
        cli.convert, [folder, "--data", str(csv), "--target", "target", "--set", "tolerance=1e-12"]
    )

    assert done.exit_code == 1
    assert "off by" in done.stderr
    assert not list((tmp_path / "home").rglob("*.onnx"))
