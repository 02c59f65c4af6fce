"""From the log back to training: rows as they were sent, with what came true, as `hotgate train` takes them."""

from __future__ import annotations

import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from converters.modelfile import Column, Signature, Target
from gateway.observe.export import Wanted, WantedError, export
from gateway.observe.intake import Intake
from gateway.observe.predlog import PredictionKeeper
from gateway.predictionlog import PredictionLog
from gateway.settings import LogSettings
from gateway.store import Entry
from hotgate import main
from training.config import DataConfig
from training.data import load_dataset

NOW = 1_800_000_000.0
RNG = np.random.default_rng(3)
ROWS = np.column_stack([RNG.random(40), RNG.integers(0, 9, 40)]).astype(np.float32)
IGNORED = ("request_id", "row", "time", "version")


def signature(**more):
    target = {"classes": (0, 1), "labels": ("no", "yes")}
    target |= {key: more.pop(key) for key in list(more) if key in target}
    given = {"columns": (Column(name="x"), Column(name="n", kind="int")), "targets": (Target(**target, width=2),)}
    return Signature(input_name="X", score_output="p", **{**given, **more})


def log_rows(monitor, rows, *, at=NOW, prefix="r", version="1", model="m", sha256="a" * 64, of=None):
    """As workers and an observer would."""
    log = PredictionLog(monitor, LogSettings(), lambda: at)
    feed = log.open(Entry(version=version, sha256=sha256), model, of or signature())
    scores = np.full((len(rows), 2), 0.5, np.float32)
    feed.append(np.ascontiguousarray(rows, np.float32), scores, [f"{prefix}{number}" for number in range(len(rows))])
    log.close()
    Intake(monitor, [PredictionKeeper(monitor, keep_s=1e9, keep_bytes=2**30, clock=lambda: at).take]).look()


def truth_of(ids, rows):
    """Of every fourth request nothing is known."""
    assert set(rows) <= {0}
    return [{0: 0, 1: 1, 2: 0}.get(int(name[1:]) % 4) for name in ids]


@pytest.fixture
def monitor(tmp_path):
    """Forty rows of a model."""
    log_rows(tmp_path / "monitor", ROWS)
    return tmp_path / "monitor"


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_training_takes_what_was_exported(tmp_path, monitor, suffix):
    """The very values that were scored, columns of their kind, and classes as the model's `predict` gives them."""
    out = tmp_path / f"rows.{suffix}"
    done = export(monitor / "predictions", Wanted("m", labelled_only=True), out, truth_of)
    assert (done.rows, done.labelled) == (30, 30)
    found = load_dataset(DataConfig(source=str(out), target="label", ignore=IGNORED))
    kept = np.arange(40) % 4 != 3
    np.testing.assert_array_equal(found.rows, ROWS[kept].astype(float))
    assert (found.columns, found.kinds, found.classes) == (("x", "n"), ("float", "int"), (0, 1))
    assert found.y.tolist() == [int(number % 4 == 1) for number in range(40) if number % 4 != 3]


def test_rows_without_a_label_are_there_unless_only_labelled_ones_are_wanted(tmp_path, monitor):
    """Null; a label that is no class of the model is none."""
    out = tmp_path / "rows.parquet"
    assert export(monitor / "predictions", Wanted("m"), out, lambda *_: [None, "maybe", 1, *[None] * 37]) == (40, 1)
    found = pq.read_table(out)
    assert found.column_names == ["x", "n", "label", *IGNORED]
    assert found["label"].to_pylist() == [None, None, 1, *[None] * 37]
    assert found["request_id"].to_pylist()[:2] == ["r0", "r1"]
    assert {value.timestamp() for value in found["time"].to_pylist()} == {NOW}


def test_version_time_and_model_choose(tmp_path, monitor):
    """Rows of others are left out."""
    log_rows(monitor, ROWS[:3], at=NOW + 100, version="2", prefix="s")
    log_rows(monitor, ROWS[:5], at=NOW + 100, model="other", sha256="b" * 64)
    out = tmp_path / "rows.parquet"

    def count(**wanted):
        return export(monitor / "predictions", Wanted("m", **wanted), out, truth_of).rows

    assert (count(), count(version="1"), count(version="2")) == (43, 40, 3)
    assert (count(since=NOW), count(since=NOW + 0.5), count(since=NOW + 100)) == (43, 3, 3)


def test_rows_are_chosen_by_their_own_time(tmp_path):
    """Not by that of the first ones in their file."""
    monitor, now = tmp_path / "monitor", [NOW]
    log = PredictionLog(monitor, LogSettings(), lambda: now[0])
    feed = log.open(Entry(version="1", sha256="a" * 64), "m", signature())
    for step in range(3):
        now[0] = NOW + step
        feed.append(ROWS[:1], np.full((1, 2), 0.5, np.float32), [f"r{step}"])
    log.close()
    Intake(monitor, [PredictionKeeper(monitor, keep_s=1e9, keep_bytes=2**30).take]).look()
    assert len(list(monitor.rglob("*.parquet"))) == 1
    found = export(monitor / "predictions", Wanted("m", since=NOW + 2), tmp_path / "rows.parquet", truth_of)
    assert found.rows == 1


def test_versions_that_differ_are_not_mixed(tmp_path, monitor):
    """It is told which, and one of them can be had."""
    log_rows(monitor, ROWS, version="2", sha256="b" * 64, of=signature(classes=("n", "y")))
    out = tmp_path / "rows.csv"
    with pytest.raises(WantedError, match="versions 1 and 2 of m differ in columns or classes: choose one"):
        export(monitor / "predictions", Wanted("m"), out, truth_of)
    assert list(tmp_path.iterdir()) == [monitor]
    assert export(monitor / "predictions", Wanted("m", version="2"), out, truth_of).rows == 40


@pytest.mark.parametrize(
    ("wanted", "out", "message"),
    [
        (Wanted("m"), "rows.xlsx", r"must end with \.parquet or \.csv"),
        (Wanted("nobody"), "rows.csv", "no row of nobody in that time"),
        (Wanted("m", "7"), "rows.csv", "no row of m version 7 in"),
        (Wanted("m", labelled_only=True), "rows.csv", "no row of m with a label"),
    ],
)
def test_what_cannot_be_had_is_told(tmp_path, monitor, wanted, out, message):
    """No file is left, and one that was there stays."""
    (tmp_path / "rows.csv").write_text("before")
    with pytest.raises(WantedError, match=message):
        export(monitor / "predictions", wanted, tmp_path / out, lambda ids, _: [None] * len(ids))
    assert (tmp_path / "rows.csv").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"monitor", "rows.csv"}


def test_a_column_of_the_model_may_have_any_name(tmp_path):
    """Then the log's own has another one."""
    of = signature(columns=(Column(name="label"), Column(name="time")))
    log_rows(tmp_path / "monitor", ROWS, of=of)
    export(tmp_path / "monitor" / "predictions", Wanted("m"), tmp_path / "rows.parquet", truth_of)
    found = pq.read_table(tmp_path / "rows.parquet")
    assert found.column_names == ["label", "time", "label_", "request_id", "row", "time_", "version"]
    assert found["label_"].to_pylist()[:4] == [0, 1, 0, None]


def test_the_command_says_what_it_wrote(tmp_path, monkeypatch):
    """And what is wrong, with exit code 1."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path))
    log_rows(tmp_path / "monitor", ROWS, at=time.time() - 100)

    def run(*arguments):
        return CliRunner().invoke(main, ["export", "m", *arguments])

    done = run("--out", str(tmp_path / "rows.csv"), "--since", "1h")
    assert (done.exit_code, done.output) == (0, f"40 rows, 0 with a label, in {tmp_path / 'rows.csv'}\n")
    for arguments, message in (
        (["--out", str(tmp_path / "rows.csv"), "--since", "5s"], "no row of m in that time"),
        (["--out", str(tmp_path / "rows.csv"), "--since", "soon"], "a duration is a number and one of"),
        (["--out", str(tmp_path / "none" / "rows.csv")], "No such file or directory"),
    ):
        done = run(*arguments)
        assert (done.exit_code, message in done.output) == (1, True), done.output


def test_without_pyarrow_the_export_says_what_to_install(tmp_path, monkeypatch):
    """With exit code 1, not with a traceback."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    done = CliRunner().invoke(main, ["export", "m", "--out", str(tmp_path / "rows.csv")])
    assert (done.exit_code, "pip install 'hotgate[monitor]'" in done.output) == (1, True), done.output
