from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from harness import free_port
from mlflow import MlflowClient

import hotgate
from training import cli

SMALL = ("--set", "search.candidates=[logistic]", "--set", "search.folds=2", "--set", "split.balance_draws=100")


@pytest.fixture
def run(monkeypatch, home):
    """Run a command in this process, with a home of its own unless one is given."""
    fresh = home

    def call(command, *arguments, home=fresh):
        monkeypatch.setenv("HOTGATE_HOME", str(home))
        return CliRunner().invoke(command, [str(argument) for argument in arguments])

    return call


def _train_in_a_process(folder, *arguments, **environ):
    """Run `hotgate train` as a user would, in an empty current directory and with an empty user's home."""
    for name in ("work", "user", "temporary"):
        (folder / name).mkdir(parents=True)
    clean = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    places = {"HOME": folder / "user", "TMPDIR": folder / "temporary", "GIT_CEILING_DIRECTORIES": folder}
    return subprocess.run(
        [sys.executable, "-m", "hotgate", "train", *SMALL, *arguments],
        cwd=folder / "work",
        env=clean | {key: str(value) for key, value in places.items()} | environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """One whole `hotgate train --register --json` with the default home, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("first")
    return folder, _train_in_a_process(folder, "--register", "--json")


@pytest.mark.process
def test_training_writes_nothing_outside_home(first):
    """Not `./mlruns`, no cache in the user's home, nothing left among the temporary files."""
    folder, _ = first
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert {path for path in written if not path.startswith("work/.hotgate/")} == set()
    assert "work/.hotgate/mlflow.db" in written


@pytest.mark.process
def test_stdout_is_the_result_and_stderr_the_progress(first):
    """So that a pipe gets JSON and nothing else; without a terminal a line a step."""
    folder, done = first
    result = json.loads(done.stdout)

    assert result["best"] == "logistic"
    assert result["version"] | {"run_id": ""} == {
        "name": "cancer-classifier", "version": "1", "sha256": result["sha256"], "run_id": "", "created": True,
    }  # fmt: skip
    assert result["file"].startswith(str(folder / "work" / ".hotgate" / "models"))
    assert done.stderr.splitlines() == [
        "[0/5] loading and splitting the data",
        "[1/5] opening MLflow",
        "[2/5] training logistic",
        "[3/5] fitting and logging logistic",
        "[4/5] converting logistic",
        "[5/5] done",
    ]


@pytest.mark.process
def test_another_process_makes_the_same_file(first, home, tmp_path):
    """Same data, code and configuration: the same SHA-256, whatever the hash seed, the folder and the home."""
    again = _train_in_a_process(
        tmp_path, "--output", tmp_path / "model.onnx", "--json", PYTHONHASHSEED="77", HOTGATE_HOME=str(home)
    )

    assert json.loads(again.stdout)["sha256"] == json.loads(first[1].stdout)["sha256"]
    assert (tmp_path / "model.onnx").read_bytes() == next((first[0] / "work").rglob("models/*/*.onnx")).read_bytes()


@pytest.mark.parametrize("name", ["convert", "register", "train"])
def test_help_begins_with_the_summary_and_tells_the_exit_codes(name):
    """`hotgate --help` prints the summaries without importing the commands."""
    command = getattr(cli, name)

    assert command.help.splitlines()[0] == hotgate.SUMMARIES[name]
    assert "Exit code 0" in command.help
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0


@pytest.mark.process
def test_help_imports_nothing_heavy():
    """A second of imports is no answer to `--help`."""
    code = (
        "import sys; from training import cli, config, candidates, errors;"
        "print([m for m in ('mlflow', 'sklearn', 'numpy', 'pandas', 'onnx') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_table_shows_every_candidate(run):
    """For people: who won by how much, where the file is and what it is called."""
    done = run(cli.train, *SMALL, "--register")

    assert done.exit_code == 0, done.output
    for word in ("logistic", "roc_auc", "±", "parity", "sha256", "registered cancer-classifier version 1"):
        assert word in done.stdout


@pytest.mark.process
def test_the_engine_makes_the_same_file(run, trained, tmp_path):
    """Of two candidates beside each other the same one wins, with the same bytes."""
    settings = ("search.candidates=[logistic, forest-50x4]", "search.folds=2", "split.balance_draws=100")
    options = [option for setting in settings for option in ("--set", setting)]

    done = run(cli.train, *options, "--engine", "loky", "--jobs", "2", "--output", tmp_path / "model.onnx")

    assert done.exit_code == 0, done.output
    assert (tmp_path / "model.onnx").read_bytes() == trained.saved.file.data


def test_an_engine_without_its_package_is_exit_code_2(run, monkeypatch):
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "distributed", None)

    done = run(cli.train, *SMALL, "--engine", "dask")

    assert done.exit_code == 2
    assert "pip install 'hotgate[dask]'" in done.stderr


def test_a_parity_failure_is_not_registered(run, home):
    """Exit code 1, rows and distances for the user, nothing in the registry."""
    done = run(cli.train, *SMALL, "--set", "tolerance=1e-12", "--register")

    assert done.exit_code == 1
    assert "held-out rows: row " in done.stderr
    assert "tolerance 1e-12" in done.stderr
    assert not MlflowClient(f"sqlite:///{home}/mlflow.db").search_registered_models()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "split.holdout=2"], "holdout must be from 0.05 to 0.5, got 2.0"),
        (["--data", "rows.csv"], "target must name"),
        (["--cluster", "tcp://127.0.0.1:1"], "needs the engine dask or ray, got none"),
        (["--engine", "loky", "--jobs", "0"], "jobs must be at least 1, got 0"),
        (["--data", "rows.csv", "--target", "y"], "rows.csv does not exist"),
    ],
)
def test_an_impossible_setting_is_exit_code_2(run, arguments, words):
    """One line, no traceback."""
    done = run(cli.train, *arguments)

    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.output


def test_an_unreachable_server_is_exit_code_4(run, monkeypatch):
    """Its address stands in the message."""
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    done = run(cli.train, *SMALL)

    assert done.exit_code == 4
    assert f"MLflow at {uri}" in done.stderr


@pytest.mark.process
def test_stdout_is_the_result_with_a_server_too(run, mlflow_server, monkeypatch):
    """MLflow would print a link for each run there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)

    done = run(cli.train, *SMALL, "--set", "name=remote", "--register", "--json")

    assert json.loads(done.stdout)["version"]["name"] == "remote"


def test_a_file_is_registered_by_name(run, trained):
    """The run is found by the file's hash; a second time it says so."""
    once = run(cli.register, trained.saved.path, "--name", "by-name", "--json", home=trained.home)
    twice = run(cli.register, trained.saved.path, "--name", "by-name", home=trained.home)

    assert json.loads(once.stdout)["run_id"] == trained.best.run_id
    assert "is already by-name version 1" in twice.stdout


def test_a_broken_file_is_exit_code_1(run, tmp_path):
    """Refused by the verifier, with its reason."""
    path = tmp_path / "no.onnx"
    path.write_bytes(b"not a model")

    done = run(cli.register, path, "--name", "broken")

    assert done.exit_code == 1
    assert "no.onnx is not registered: not an ONNX file" in done.stderr
