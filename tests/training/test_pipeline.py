"""The pipeline as a user has it: a git repository with DVC in it, real `dvc` and real registries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from converters import verify_file
from converters.modelfile import ARTIFACT_NAME
from training.config import DataConfig, TrainConfig, load_config
from training.data import load_dataset, write_csv
from training.errors import ConfigError, TrackingError
from training.evidence import HELDOUT, TRAINED
from training.pipeline import register_stages, reproduce

pytest.importorskip("dvc", reason="DVC is not installed: pip install 'hotgate[data]'")

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.process]


def _run(*command, cwd, home, code=0):
    environ = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOTGATE_HOME": str(home),
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done


class _Project:
    """A git repository with a small pipeline, and a remote for its data."""

    def __init__(self, folder):
        self.folder, self.home = folder / "project", folder / "home"
        self.folder.mkdir()
        for name in ("dvc.yaml", ".dvcignore"):
            shutil.copy(ROOT / name, self.folder)
        shutil.copytree(ROOT / ".dvc", self.folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "*.local"))
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["search"] |= {"candidates": ["logistic"], "folds": 2}
        params["split"]["balance_draws"] = 10
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))
        (self.folder / "data").mkdir()
        write_csv(load_dataset(DataConfig()), self.folder / "data/breast-cancer.csv")
        self.run("git", "init", "-q")
        self.run("dvc", "add", "-q", "data/breast-cancer.csv")
        self.commit("the pipeline's inputs")
        self.first = self.pipeline()
        self.commit("what came of them")
        self.run("dvc", "push", "-q")

    def run(self, *command, code=0):
        return _run(*command, cwd=self.folder, home=self.home, code=code)

    def commit(self, message):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def pipeline(self):
        return json.loads(self.run("hotgate", "pipeline", "--json").stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Built, committed and pushed once; tests read it, or clone it."""
    return _Project(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture
def client(monkeypatch):
    """Of the registry under a home."""

    def connect(home):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        return MlflowClient()

    return connect


def test_a_fresh_clone_registers_one_version(project, tmp_path, client):
    """`dvc pull`, an empty registry, `hotgate pipeline`: nothing is trained, one version, again: still one."""
    home, clone = tmp_path / "home", tmp_path / "clone"
    _run("git", "clone", "-q", str(project.folder), str(clone), cwd=tmp_path, home=home)
    shutil.copytree(project.folder / "data/remote", clone / "data/remote", dirs_exist_ok=True)
    _run("dvc", "pull", "-q", cwd=clone, home=home)
    first = _run("hotgate", "pipeline", "--json", cwd=clone, home=home)
    made = json.loads(first.stdout)
    again = json.loads(_run("hotgate", "pipeline", "--json", cwd=clone, home=home).stdout)

    assert "up to date" in first.stderr
    assert "Running stage" not in first.stderr
    assert made["created"]
    assert made["sha256"] == project.first["sha256"]
    assert again == {**made, "created": False}
    registry = client(home)
    (version,) = registry.search_model_versions("name = 'cancer-classifier'")
    run = registry.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["hotgate.sha256"] == made["sha256"]
    assert {"heldout_roc_auc", "cv_roc_auc"} <= set(run.data.metrics)
    logged = {item.path for item in registry.list_artifacts(version.run_id)}
    assert {"plots", "search.json", "model_card.md", "model_card.json"} <= logged
    commit = project.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    assert run.data.tags["hotgate.git_revision"] == commit
    card = registry.download_artifacts(version.run_id, "model_card.json", str(tmp_path))
    assert json.loads(Path(card).read_text())["git_revision"] == commit
    folder = Path(download_artifacts(artifact_uri=version.source, dst_path=str(tmp_path / "artifact")))
    assert {ARTIFACT_NAME, HELDOUT, TRAINED, "MLmodel"} <= {item.name for item in folder.iterdir()}


def test_the_same_commit_gives_the_same_file(project, tmp_path):
    """Every stage run anew in a clone, later commits of other files between: equal to the bit."""
    home, clone = tmp_path / "home", tmp_path / "clone"
    (project.folder / "README.md").write_text("later\n")
    project.commit("nothing that the model is made from")
    _run("git", "clone", "-q", str(project.folder), str(clone), cwd=tmp_path, home=home)
    shutil.copytree(project.folder / "data/remote", clone / "data/remote", dirs_exist_ok=True)
    _run("dvc", "pull", "-q", "data/breast-cancer.csv.dvc", cwd=clone, home=home)
    _run("dvc", "repro", "--force", cwd=clone, home=home)
    files = [(folder / "pipeline/model.hotgate.onnx").read_bytes() for folder in (clone, project.folder)]

    assert files[0] == files[1]
    commit = project.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    assert f'"git_revision":"{commit}"'.encode() in files[0]
    assert b'"data_revision":"md5:' in files[0]


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        (("tolerance: null", "tolerance: 0.0001"), {"convert"}),
        (("metric: roc_auc", "metric: accuracy"), {"train"}),
        (("seed: 42", "seed: 43"), {"prepare"}),
        (("experiment: hotgate", "experiment: other"), set()),
    ],
)
def test_a_parameter_outdates_its_stages_only(project, tmp_path, change, stages):
    """What follows from an outdated stage is decided by its output; a name that no stage reads outdates none."""
    clone = tmp_path / "clone"
    shutil.copytree(project.folder, clone, ignore=shutil.ignore_patterns("tmp"))
    text = (clone / "params.yaml").read_text()
    assert change[0] in text
    (clone / "params.yaml").write_text(text.replace(*change))
    status = json.loads(_run("dvc", "status", "--json", cwd=clone, home=tmp_path / "home").stdout)

    assert set(status) == stages


def test_a_stage_that_fails_registers_nothing(project, tmp_path, client):
    """The reason stands on stderr, the exit code is 1."""
    clone, home = tmp_path / "clone", tmp_path / "home"
    shutil.copytree(project.folder, clone, ignore=shutil.ignore_patterns("tmp"))
    with (clone / "data/breast-cancer.csv").open("a") as file:
        file.write("not a number" + ",1" * 30 + "\n")
    failed = _run("hotgate", "pipeline", cwd=clone, home=home, code=1)

    assert "column 'mean radius', row 570: 'not a number' is not a number" in failed.stderr
    assert "nothing is registered" in failed.stderr
    assert not (home / "mlflow.db").exists()


def test_a_store_that_breaks_off_leaves_no_version(project, tmp_path, client, monkeypatch):
    """A full disk while files are uploaded: told with its cure, no version; the next run finishes the work."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    home = tmp_path / "home"
    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "log_artifacts", full)
        with pytest.raises(TrackingError, match=r"No space left on device.*run this again"):
            register_stages(project.folder, home)
    assert not client(home).search_model_versions()
    version, _ = register_stages(project.folder, home)

    assert version.created
    assert version.sha256 == project.first["sha256"]


def test_where_there_is_no_pipeline_the_cure_is_told(tmp_path):
    """Which file is missing."""
    with pytest.raises(ConfigError, match=r"has no dvc\.yaml"):
        reproduce(tmp_path, tmp_path / "home")


def test_the_repositorys_parameters_are_all_of_them():
    """`params.yaml` names every key, as DVC demands those that `dvc.yaml` watches; only the data is no default."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    config = load_config(ROOT / "params.yaml")

    assert set(values) == set(TrainConfig.__struct_fields__)
    for section in ("data", "validation", "split"):
        assert set(values[section]) == set(getattr(config, section).__struct_fields__), section
    assert (config.split, config.search, config.seed) == (TrainConfig().split, TrainConfig().search, TrainConfig().seed)


def test_the_repositorys_lock_holds(tmp_path):
    """What is committed fits together: pulled, DVC finds nothing to do, and the model file passes the verifier."""
    home, clone = tmp_path / "home", tmp_path / "clone"
    clone.mkdir()
    for name in ("dvc.yaml", "dvc.lock", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, clone)
    for name in (".dvc", "data"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("cache", "tmp", "*.local", "*.csv"))
    _run("git", "init", "-q", cwd=clone, home=home)
    _run("dvc", "pull", "-q", cwd=clone, home=home)

    assert json.loads(_run("dvc", "status", "--json", cwd=clone, home=home).stdout) == {}
    assert verify_file(clone / "pipeline/model.hotgate.onnx").ok
    assert (clone / "data/breast-cancer.csv").read_bytes() == write_csv(
        load_dataset(DataConfig()), tmp_path / "again.csv"
    ).read_bytes()
