from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from converters.modelfile import ARTIFACT_NAME
from training.config import DataConfig
from training.data import load_dataset
from training.errors import ConfigError, RegisterError, TrackingError
from training.evidence import HELDOUT, TRAINED, evidence_folder, hash_rows, read_trained, write_evidence
from training.registering import register
from training.tracking import tracking_uri


@pytest.fixture(params=["trained", pytest.param("trained_remotely", marks=pytest.mark.process)])
def training(request, monkeypatch):
    """The small training in a SQLite registry, and behind a real server; mlflow's own URI points there."""
    if request.param == "trained_remotely":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("mlflow_server"))
    result = request.getfixturevalue(request.param)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(result.home))
    return result


def _files(folder):
    return {item.name for item in folder.iterdir()}


def test_a_version_holds_both_forms_of_the_model(training, tmp_path):
    """The model file at the artifact's root beside the scikit-learn flavour, tagged from the first moment."""
    made = training.register(training.best, training.saved)
    client = MlflowClient()
    version = client.get_model_version(made.name, made.version)
    source = client.get_model_version_download_uri(made.name, made.version)
    folder = Path(download_artifacts(artifact_uri=source, dst_path=str(tmp_path)))

    assert {ARTIFACT_NAME, "MLmodel", "model.skops"} <= _files(folder)
    assert hashlib.sha256((folder / ARTIFACT_NAME).read_bytes()).hexdigest() == made.sha256
    assert version.tags["hotgate.sha256"] == made.sha256 == training.saved.file.sha256
    assert version.tags["hotgate.parity"] == "pass"
    assert version.tags["hotgate.run_id"] == version.run_id == training.best.run_id
    assert {"hotgate.machine", "hotgate.registered_at"} <= set(version.tags)
    assert version.status == "READY"


def test_a_version_holds_the_evidence_for_its_judge(training, tmp_path):
    """Held-out rows that read back to the same doubles, and a hash of every row that was fitted on, of no other."""
    made = training.register(training.best, training.saved)
    source = MlflowClient().get_model_version_download_uri(made.name, made.version)
    folder = Path(download_artifacts(artifact_uri=source, dst_path=str(tmp_path)))
    dataset, split = training.basis.dataset, training.basis.split

    held = load_dataset(DataConfig(source=str(folder / HELDOUT), target=dataset.target))
    assert held.columns == dataset.columns
    assert held.rows.tobytes() == dataset.rows[split.heldout].tobytes()
    assert np.isin(hash_rows(dataset.rows[split.train]), read_trained(folder / TRAINED)).all()
    assert not np.isin(hash_rows(held.rows), read_trained(folder / TRAINED)).any()


def test_the_scikit_learn_form_loads_by_version_stage_and_alias(training):
    """As any user of MLflow would load it, with the candidate's own answers."""
    made = training.register(training.best, training.saved)
    client = MlflowClient()
    with pytest.warns(FutureWarning, match="stages"):  # deprecated, and what the gateway watches by default
        client.transition_model_version_stage(made.name, made.version, "Production")
    client.set_registered_model_alias(made.name, "champion", made.version)
    rows = training.basis.dataset.rows
    expected = training.best.estimator.predict_proba(rows)

    for where in (f"/{made.version}", "/Production", "@champion"):
        loaded = mlflow.sklearn.load_model(f"models:/{made.name}{where}")
        assert loaded.predict_proba(rows).tobytes() == expected.tobytes()


def test_the_same_file_is_one_version(training, tmp_path):
    """Registered again, from wherever, it is the version that it was; under another name it is new."""
    first = training.register(training.best, training.saved)
    copy = shutil.copy(training.saved.path, tmp_path / "copy.onnx")

    again = register(copy, first.name, home=training.home)
    elsewhere = register(copy, "other-name", home=training.home)

    assert (again.version, again.created) == (first.version, False)
    assert elsewhere.created
    client = MlflowClient()  # other tests may have trained the very same bytes on this server: any such run will do
    assert client.get_run(elsewhere.run_id).data.tags["hotgate.sha256"] == first.sha256, "found by the tag"
    assert "MLmodel" in {
        item.path.rpartition("/")[2] for item in client.list_artifacts(elsewhere.run_id, f"hotgate/{first.sha256}")
    }


def test_another_candidate_is_another_version(training):
    """Each version keeps the bytes that it was registered with."""
    first = training.register(training.best, training.saved)
    second = training.register(training.candidates[1])

    assert second.created or second.version != first.version
    assert second.sha256 != first.sha256
    sources = [MlflowClient().get_model_version(one.name, one.version).source for one in (first, second)]
    assert [source.rpartition("/")[2] for source in sources] == [first.sha256, second.sha256]


def test_a_file_of_unknown_origin_gets_a_run_of_its_own(trained, linear, tmp_path):
    """It has no scikit-learn form to put beside it, and another file's evidence is not taken; but it can be served."""
    file = Path(shutil.copyfile(linear.path, tmp_path / "found.onnx"))
    write_evidence(evidence_folder(file, "f" * 64), trained.basis.dataset, trained.basis.split, fitted_here=True)
    made = register(file, "found", home=trained.home)
    client = MlflowClient(tracking_uri(trained.home))
    root = client.list_artifacts(made.run_id, f"hotgate/{made.sha256}")

    assert [item.path.rpartition("/")[2] for item in root] == [ARTIFACT_NAME]


def test_an_estimator_is_saved_beside_its_file(trained, forest):
    """For those who have both in hand."""
    made = register(forest.path, "in-hand", home=trained.home, estimator=forest.estimator, tags={"team": "blue"})
    client = MlflowClient(tracking_uri(trained.home))
    version = client.get_model_version("in-hand", made.version)
    loaded = mlflow.sklearn.load_model(client.get_model_version_download_uri("in-hand", made.version))

    assert version.tags["team"] == "blue"
    assert np.array_equal(loaded.classes_, [0, 1])


def test_a_file_that_may_not_be_served_is_not_registered(trained, tmp_path):
    """The verifier has the last word, and its reason reaches the user."""
    path = tmp_path / "broken.onnx"
    path.write_bytes(trained.saved.file.data[:-100])
    client = MlflowClient(tracking_uri(trained.home))

    with pytest.raises(RegisterError, match=r"broken\.onnx is not registered"):
        register(path, "broken", home=trained.home)

    assert not client.search_registered_models("name = 'broken'")


@pytest.mark.parametrize("name", ["", "a/b", "it's", "../up", "x" * 129])
def test_an_impossible_name_is_refused(trained, name):
    """Before anything is read or asked."""
    with pytest.raises(ConfigError, match="name must be"):
        register(trained.saved.path, name, home=trained.home)


def test_an_unknown_run_is_told(trained):
    """With the place where it was sought."""
    with pytest.raises(TrackingError, match=r"sqlite:///.*nowhere"):
        register(trained.saved.path, "lost", home=trained.home, run_id="nowhere")
