"""The log on disk: every row once whatever dies when, readable by others, bounded in files, age and bytes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from fakes import Clock

from converters.modelfile import Column, Signature, Target
from gateway.cli import _log_settings
from gateway.observe import predlog, segments
from gateway.observe.intake import Intake
from gateway.observe.performance import PerformanceKeeper
from gateway.observe.predlog import PredictionKeeper
from gateway.observe.process import Observer
from gateway.observe.segments import Segment, read
from gateway.observe.settings import MonitorSettings
from gateway.observe.tables import ColumnNames, TargetNames, names_of
from gateway.predictionlog import PredictionLog
from gateway.settings import LogSettings
from gateway.store import Entry
from gateway.tickets import Share

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_800_000_000.0  # a whole number of hours
A, B = "a" * 64, "b" * 64


@pytest.fixture
def clock():
    return Clock(NOW)


def signature(names="xy", classes=(0, 1), labels=("no", "yes"), **more):
    columns = tuple(Column(name=name) for name in names)
    target = Target(classes=classes, labels=labels, width=len(classes))
    return Signature(columns=columns, input_name="X", targets=(target,), score_output="p", **more)


def leave(monitor, clock, ids, *, sha256=A, first=0.0, of=None, version="1", **settings):
    """Leave what a worker that has ended would leave: rows of these requests, whose first value counts on."""
    of = of or signature()
    log = PredictionLog(monitor, LogSettings(**settings), clock)
    feed = log.open(Entry(version=version, sha256=sha256), "m", of)
    count = sum(1 if isinstance(origin, str) else origin.rows for origin in ids)
    rows = np.column_stack([np.arange(first, first + count)] + [np.full(count, 0.5)] * (len(of.columns) - 1))
    scores = np.zeros((count, len(of.classes)), np.float32)
    scores[np.arange(count), np.arange(count) % len(of.classes)] = 0.75
    feed.append(np.ascontiguousarray(rows, np.float32), scores, ids)
    log.close()
    return feed


class Observing:
    """The part of an observer, one that has just started, that is about the log."""

    def __init__(self, monitor, clock, *, keep_s=1e6, keep_bytes=2**30):
        self.keeper = PredictionKeeper(monitor, keep_s=keep_s, keep_bytes=keep_bytes, clock=clock)
        self.intake = Intake(monitor, [self.keeper.take], clock)

    def look(self):
        """One pass."""
        self.intake.look()
        self.keeper.merge()
        self.keeper.retain()


def files(monitor, sha256=A):
    return [str(name) for name in segments.names_in(monitor / "predictions" / sha256)]


def logged(monitor, sha256=A):
    """Ids of all rows that the log holds, sorted."""
    folder = monitor / "predictions" / sha256
    parts = [part for name in segments.segments(folder) for part in read(folder / str(name), ["request_id"])]
    return sorted(value for part in parts for value in part["request_id"].to_pylist())


def test_a_row_becomes_a_line_with_all_that_is_known_of_it(tmp_path, clock):
    """Columns by their names, what was answered, of which version, when, and for whom."""
    clock.now += 0.25
    leave(tmp_path, clock, ["one", Share("two", 3, 2)], version="7")
    Observing(tmp_path, clock).look()
    assert not list((tmp_path / "spool" / "predictions").iterdir())
    (name,) = files(tmp_path)
    assert name.startswith("001800000000-1-")
    found = pq.read_table(tmp_path / "predictions" / A / name)
    assert found.drop_columns(["model", "version", "sha256", "time"]).to_pylist() == [
        {
            "x": float(index), "y": 0.5, "label": label, "prediction": int(label == "yes"),
            "request_id": request_id, "row": row,
            "probability_no": 0.75 * (label == "no"), "probability_yes": 0.75 * (label == "yes"),
        }
        for index, (label, request_id, row) in enumerate([("no", "one", 0), ("yes", "two", 3), ("no", "two", 4)])
    ]  # fmt: skip
    assert {tuple(line.values()) for line in found.select(["model", "version", "sha256"]).to_pylist()} == {
        ("m", "7", A)
    }
    assert {value.timestamp() for value in found["time"].to_pylist()} == {NOW + 0.25}
    assert [str(found.schema.field(name).type) for name in ("x", "probability_no", "prediction", "row", "time")] == [
        "float", "float", "int64", "int32", "timestamp[us, tz=UTC]",
    ]  # fmt: skip


def test_pandas_polars_and_duckdb_read_a_folder(tmp_path, clock):
    """Several files, a redacted column, and rows of a version that did not redact it."""
    leave(tmp_path, clock, ["one", "two"])
    clock.now += 400
    leave(tmp_path, clock, ["three"], redact=["y"], first=2.0)
    Observing(tmp_path, clock).look()
    folder = tmp_path / "predictions" / A
    assert len(files(tmp_path)) == 2
    expected = [("one", 0.0, 0.5), ("two", 1.0, 0.5), ("three", 2.0, None)]
    frame = pd.read_parquet(folder)
    assert [
        (i, x, None if pd.isna(y) else y) for i, x, y in frame[["request_id", "x", "y"]].itertuples(index=False)
    ] == expected
    assert frame["time"].dt.tz is not None
    assert pl.read_parquet(folder).select("request_id", "x", "y").rows() == expected
    assert pl.scan_parquet(folder / "*.parquet").select(pl.len()).collect().item() == 3
    with duckdb.connect() as database:
        query = f"SELECT request_id, x, y FROM '{folder}/*.parquet' ORDER BY time, x"
        assert database.execute(query).fetchall() == expected
        assert database.execute(f"SELECT epoch(max(time)) FROM '{folder}/*.parquet'").fetchone() == (NOW + 400,)


@pytest.mark.parametrize(
    ("classes", "kind", "values"),
    [
        ((False, True), "bool", [False, True]),
        (("n", "y"), "string", ["n", "y"]),
        ((0.5, 1.5), "double", [0.5, 1.5]),
        ((0, "y"), "string", ["0", "y"]),
    ],
)
def test_predictions_are_of_the_classes_kind(tmp_path, clock, classes, kind, values):
    """As `predict` returns them; classes of several kinds become text."""
    leave(tmp_path, clock, ["one", "two"], of=signature(classes=classes))
    Observing(tmp_path, clock).look()
    found = pq.read_table(tmp_path / "predictions" / A)["prediction"]
    assert (str(found.type), found.to_pylist()) == (kind, values)


def test_a_column_of_the_model_keeps_its_name(tmp_path, clock):
    """The log's own give way, also to each other."""
    of = signature(["time", "label", "label_", "probability_no"], labels=("no", "no"))
    assert names_of(of) == ColumnNames(
        "label__", "request_id", "row", "time_", "model", "version", "sha256",
        (TargetNames("label__", "prediction", ("probability_no_", "probability_no__")),),
    )  # fmt: skip
    leave(tmp_path, clock, ["one"], of=of)
    Observing(tmp_path, clock).look()
    found = pq.read_table(tmp_path / "predictions" / A)
    assert (found["time"].to_pylist(), found["label"].to_pylist(), found["label__"].to_pylist()) == (
        [0.0],
        [0.5],
        ["no"],
    )


def test_a_missing_value_is_null(tmp_path, clock):
    """As what is redacted; queries need not know of NaN."""
    log = PredictionLog(tmp_path, LogSettings(), clock)
    feed = log.open(Entry(version="1", sha256=A), "m", signature())
    feed.append(np.array([[1, np.nan], [np.inf, 2]], np.float32), np.full((2, 2), 0.5, np.float32), ["one", "two"])
    log.close()
    Observing(tmp_path, clock).look()
    found = pq.read_table(tmp_path / "predictions" / A)
    assert (found["x"].to_pylist(), found["y"].to_pylist()) == ([1.0, np.inf], [None, 2.0])


def test_a_spool_file_of_two_models_becomes_two_segments(tmp_path, clock):
    """As of a worker within which a swap was made; each has its rows."""
    log = PredictionLog(tmp_path, LogSettings(), clock)
    for sha256, names in ((A, "xy"), (B, "uvw"), (A, "xy")):
        feed = log.open(Entry(version="1", sha256=sha256), "m", signature(names))
        feed.append(np.ones((1, len(names)), np.float32), np.ones((1, 2), np.float32), [f"{sha256[0]}{clock.now:.0f}"])
        clock.now += 1
    log.close()
    Observing(tmp_path, clock).look()
    assert logged(tmp_path, A) == ["a1800000000", "a1800000002"]
    assert logged(tmp_path, B) == ["b1800000001"]
    assert pq.read_schema(tmp_path / "predictions" / B / files(tmp_path, B)[0]).names[:3] == ["u", "v", "w"]


def test_small_files_become_few(tmp_path, clock):
    """Six hours, a file every minute: one an hour, then 5 minutes, then as they came; rows stay, once and in order."""
    under_test = Observing(tmp_path, clock)
    for minute in range(360):
        leave(tmp_path, clock, [f"{minute:03d}"])
        clock.now += 60
        if minute % 7 == 0:
            under_test.look()
    under_test.look()
    assert logged(tmp_path) == [f"{minute:03d}" for minute in range(360)]
    spans = [Segment.of(name) for name in files(tmp_path)]
    assert [span.start - NOW for span in spans] == [
        *range(0, 6 * 3600 - 3600, 3600),
        *range(18_000, 21_300, 300),
        *range(21_300, 21_600, 60),
    ]
    assert pq.ParquetFile(tmp_path / "predictions" / A / files(tmp_path)[0]).num_row_groups == 1
    clock.now += 3600
    under_test.look()
    assert len(files(tmp_path)) == 6


def test_large_files_are_not_merged(tmp_path, clock, monkeypatch):
    """Neighbours are, as long as they are small enough together."""
    for minute in range(4):
        leave(tmp_path, clock, [f"{minute}"])
        clock.now += 60
    Observing(tmp_path, Clock(NOW)).look()
    sizes = [(tmp_path / "predictions" / A / name).stat().st_size for name in files(tmp_path)]
    monkeypatch.setattr(predlog, "MERGED_BYTES", sum(sizes[:3]))
    clock.now += 3600
    Observing(tmp_path, clock).look()
    assert len(files(tmp_path)) == 2
    assert logged(tmp_path) == ["0", "1", "2", "3"]


def test_what_is_too_old_or_too_much_is_removed(tmp_path, clock):
    """The oldest first, over all models."""
    for hour, sha256 in enumerate((A, B, A, B)):
        leave(tmp_path, clock, [f"{hour}"], sha256=sha256)
        clock.now += 3600
    Observing(tmp_path, clock, keep_s=4 * 3600).look()
    assert logged(tmp_path, A) + logged(tmp_path, B) == ["0", "2", "1", "3"]
    clock.now += 1
    Observing(tmp_path, clock, keep_s=4 * 3600).look()
    assert logged(tmp_path, A) + logged(tmp_path, B) == ["2", "1", "3"]
    (newest,), (size,) = files(tmp_path, A), {(tmp_path / "predictions" / A / files(tmp_path)[0]).stat().st_size}
    Observing(tmp_path, clock, keep_bytes=2 * size + 100).look()
    assert (files(tmp_path, A), logged(tmp_path, B)) == ([newest], ["3"])


def test_rows_that_were_dropped_are_a_problem_for_a_minute(tmp_path, clock):
    """Added up over workers."""
    under_test = Observing(tmp_path, clock)
    for count in (3, 4):
        log = PredictionLog(tmp_path, LogSettings(), clock)
        feed = log.open(Entry(version="1", sha256=A), "m", signature())
        feed.overrun = count
        feed.append(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), ["one"])
        log.close()
    under_test.look()
    assert under_test.intake.problem.startswith("7 rows were not handed over")
    clock.now += 59
    assert under_test.intake.problem is not None
    clock.now += 1
    assert under_test.intake.problem is None
    assert under_test.intake.dropped == 7


def test_frames_that_cannot_be_read_are_left_out_and_told(tmp_path, clock, caplog):
    """No frame at all, or one whose columns nobody knows; the others are there."""
    leave(tmp_path, clock, ["one"])
    leave(tmp_path, clock, ["two"], sha256=B)
    (tmp_path / "predictions" / f"{B}.json").write_bytes(b"{")
    other = PredictionLog(tmp_path, LogSettings(), clock)
    other._spool.append(b"nonsense")
    other.close()
    Observing(tmp_path, clock).look()
    assert logged(tmp_path) == ["one"]
    assert list((tmp_path / "spool" / "predictions").iterdir()) == []
    assert caplog.text.count("a frame is left out") == 2


def test_a_damaged_segment_is_put_aside(tmp_path, clock, caplog):
    """The others are merged all the same."""
    for minute in range(3):
        leave(tmp_path, clock, [f"{minute}"])
        clock.now += 60
    under_test = Observing(tmp_path, Clock(NOW))
    under_test.look()
    path = tmp_path / "predictions" / A / files(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:-3])
    under_test = Observing(tmp_path, clock)
    clock.now += 3600
    under_test.look()
    under_test.look()
    assert logged(tmp_path) == ["0", "2"]
    assert len(files(tmp_path)) == 1
    assert "put aside" in caplog.text
    assert [bad.name for bad in (tmp_path / "predictions").glob("*.bad")] == [f"{A}-{path.name}.bad"]


def test_a_merge_that_was_broken_off_doubles_nothing(tmp_path, clock):
    """The merged segment is there and those that it replaces are too: they do not count, and go."""
    for minute in range(3):
        leave(tmp_path, clock, [f"{minute}"])
        clock.now += 60
    Observing(tmp_path, Clock(NOW)).look()
    folder = tmp_path / "predictions" / A
    segments.merge(folder, segments.names_in(folder)[:2])
    assert len(files(tmp_path)) == 4
    assert logged(tmp_path) == ["0", "1", "2"]
    Observing(tmp_path, clock).look()
    assert len(files(tmp_path)) == 2
    assert logged(tmp_path) == ["0", "1", "2"]


def test_without_room_nothing_is_lost(tmp_path, clock, monkeypatch):
    """The spool file stays; no half-written file does."""
    leave(tmp_path, clock, ["one"])

    def full(*_):
        raise OSError(28, "No space left on device")

    under_test = Observing(tmp_path, clock)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            under_test.look()
    assert [path.name for path in (tmp_path / "predictions").iterdir() if path.suffix != ".json"] == [A]
    assert files(tmp_path) == []
    under_test.look()
    assert logged(tmp_path) == ["one"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_pass_that_dies_between_log_and_labels_doubles_nothing(tmp_path, clock, place):
    """The log has the rows, the predictions that wait for labels have them not, or both have them: the next pass."""
    leave(tmp_path, clock, ["one", "two"])

    def die(*_):
        raise OSError("killed")

    def look(*more):
        performance = PerformanceKeeper(tmp_path, MonitorSettings(), clock, detectors=dict)
        keeper = PredictionKeeper(tmp_path, keep_s=1e6, keep_bytes=2**30, clock=clock)
        takers = [keeper.take, performance.take]
        takers[place:place] = more
        try:
            Intake(tmp_path, takers, clock).look()
        finally:
            performance.close()

    with pytest.raises(OSError, match="killed"):
        look(die)
    look()
    assert logged(tmp_path) == ["one", "two"]
    with contextlib.closing(sqlite3.connect(tmp_path / "truth.sqlite")) as truth:
        assert truth.execute("SELECT sum(rows) FROM segments").fetchone() == (2,)
    assert list((tmp_path / "spool/predictions").iterdir()) == []


def test_a_file_that_cannot_be_taken_holds_up_no_other(tmp_path, clock):
    """It stays and is told; where one after the other is refused, it is not the file, and no more are tried."""
    spool = tmp_path / "spool/predictions"
    for number in range(6):
        leave(tmp_path, clock, [f"id-{number}"])
    names = sorted(path.stem for path in spool.iterdir())
    tried = []

    def take(refused):
        def taker(name, _):
            tried.append(name)
            if name in refused:
                raise ValueError(name)

        return taker

    with pytest.raises(ValueError, match=names[1]):
        Intake(tmp_path, [take({names[1]})], clock).look()
    assert [path.stem for path in spool.iterdir()] == [names[1]]
    assert tried == names
    for number in range(6):
        leave(tmp_path, clock, [f"again-{number}"])
    tried.clear()
    left = sorted(path.stem for path in spool.iterdir())
    with pytest.raises(ValueError, match=left[0]):
        Intake(tmp_path, [take(set(left))], clock).look()
    assert tried == left[:3]
    assert sorted(path.stem for path in spool.iterdir()) == left


def test_a_look_takes_no_longer_than_it_may(tmp_path, clock):
    """What is left is taken by the next one; so neither an alarm nor a stop waits for a backlog."""
    for name in ("one", "two"):
        leave(tmp_path, clock, [name])
    taken, seconds = [], iter(range(100))
    look = Intake(tmp_path, [lambda name, _: taken.append(name)], clock, lambda: float(next(seconds))).look
    look(1.5)
    assert len(taken) == 1
    look(1.5)
    assert len(set(taken)) == 2


def test_nothing_is_merged_while_a_spool_file_is_left_that_it_could_be_made_of_again(tmp_path, clock):
    """Its labels were refused, and the next pass has no time for it: merged, its rows would come once more."""
    observer = Observer(tmp_path, MonitorSettings(), clock)
    for name in ("one", "two"):
        leave(tmp_path, clock, [name])
    waiting = tmp_path / "truth.sqlite"
    waiting.mkdir()
    assert "predictions" in observer.look().problems
    assert logged(tmp_path) == ["one", "two"]
    waiting.rmdir()
    clock.now += 3600
    observer.look(intake_s=0.0)
    observer.look()
    assert logged(tmp_path) == ["one", "two"]
    assert list((tmp_path / "spool/predictions").iterdir()) == []


def test_what_is_too_old_goes_also_while_nothing_can_be_taken_in(tmp_path, clock, monkeypatch):
    """Else a disk that is full would stay so."""
    leave(tmp_path, clock, ["old"])
    observer = Observer(tmp_path, MonitorSettings(log_keep_days=0.5), clock)
    observer.look()
    clock.now += 43_201
    leave(tmp_path, clock, ["new"])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predlog, "publish", full)
    assert "No space left" in observer.look().problems["predictions"]
    assert files(tmp_path) == []


def test_the_observer_keeps_the_log_by_its_settings_and_says_what_is_wrong(tmp_path, clock, monkeypatch):
    """What was dropped is counted in its status; a full disk is a problem, and none any more when there is room."""
    leave(tmp_path, clock, ["old"])
    observer = Observer(tmp_path, MonitorSettings(log_keep_days=0.5), clock)
    assert observer.look().problems == {}
    clock.now += 43_201
    log = PredictionLog(tmp_path, LogSettings(), clock)
    feed = log.open(Entry(version="1", sha256=A), "m", signature())
    feed.overrun = 3
    feed.append(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), ["new"])
    log.close()
    with monkeypatch.context() as patch:
        patch.setattr(segments, "publish", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        patch.setattr(predlog, "publish", segments.publish)
        assert observer.look().problems == {"predictions": "[Errno 28] No space left on device"}
    status = observer.look()
    assert status.problems["predictions"].startswith("3 rows were not handed over")
    assert status.log_dropped_rows == 3
    assert logged(tmp_path) == ["new"]
    clock.now += 60
    assert observer.look().problems == {}


def test_without_pyarrow_it_says_how_to_have_a_log(tmp_path, clock, monkeypatch):
    """What workers hand over stays in the spool; the rest of the observer goes on."""
    leave(tmp_path, clock, ["one"])
    observer = Observer(tmp_path, MonitorSettings(), clock)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        for name in ("predlog", "segments"):
            patch.delitem(sys.modules, f"gateway.observe.{name}")
        assert "pip install 'hotgate[monitor]'" in observer.look().problems["predictions"]
    assert observer.look().problems == {}
    assert logged(tmp_path) == ["one"]


@pytest.mark.parametrize(("there", "sample"), [(True, 0.25), (False, 0.0)])
def test_workers_log_only_where_pyarrow_is(monkeypatch, caplog, there, sample):
    """Else the spool would fill up for nobody; it is told once, with the cure."""
    monkeypatch.setenv("HOTGATE_MONITOR_LOG_SAMPLE", "0.25")
    monkeypatch.setenv("HOTGATE_MONITOR_LOG_REDACT", '["a", "b"]')
    if not there:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert _log_settings() == LogSettings(sample=sample, redact=("a", "b"))
    assert ("pip install 'hotgate[monitor]'" in caplog.text) is not there


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("log_sample", 1.5, "log_sample must be 0 to 1, not 1.5"),
        ("log_sample", float("nan"), "log_sample must be 0 to 1, not nan"),
        ("log_keep_days", 0.0, "log_keep_days must be above 0, not 0"),
        ("log_keep_bytes", 1000, "log_keep_bytes must be at least 1048576, not 1000"),
    ],
)
def test_impossible_settings_are_refused(key, value, message):
    """By key, bound and value."""
    with pytest.raises(ValueError, match=message):
        MonitorSettings(**{key: value})


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from converters.modelfile import Column, Signature, Target
from gateway.observe import segments
from gateway.observe.intake import Intake
from gateway.observe.predlog import PredictionKeeper
from gateway.predictionlog import PredictionLog
from gateway.settings import LogSettings
from gateway.store import Entry

root = Path(sys.argv[1])
SIGNATURE = Signature(
    columns=(Column(name="x"),),
    input_name="X",
    targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
    score_output="p",
)
NOW = 1_800_000_000.0

def leave(monitor, at, names):
    log = PredictionLog(monitor, LogSettings(), lambda: at)
    for sha256 in ("a", "b"):
        feed = log.open(Entry(version="1", sha256=sha256 * 64), "m", SIGNATURE)
        feed.append(np.ones((1, 1), np.float32), np.ones((1, 2), np.float32), [names + sha256])
    log.close()

def rows(monitor):
    found = []
    for sha256 in ("a", "b"):
        folder = monitor / "predictions" / (sha256 * 64)
        for name in segments.segments(folder):
            for part in segments.read(folder / str(name), ["request_id"]):
                found += part["request_id"].to_pylist()
    return sorted(found)

def look(monitor, at):
    keeper = PredictionKeeper(monitor, keep_s=1e6, keep_bytes=2**30, clock=lambda: at)
    Intake(monitor, [keeper.take], lambda: at).look()
    keeper.merge()
    keeper.retain()

def kill_at(step):
    seen = 0
    def hook(event, _):
        nonlocal seen
        if event in {"open", "os.rename", "os.remove", "os.mkdir"}:
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
    return hook

for step in range(1, 1000):
    monitor = root / str(step)
    leave(monitor, NOW, "1")
    leave(monitor, NOW + 60, "2")
    look(monitor, NOW)
    leave(monitor, NOW + 120, "3")
    child = os.fork()
    if child == 0:
        sys.addaudithook(kill_at(step))
        look(monitor, NOW + 600)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = rows(monitor)
    assert len(set(found)) == len(found) and {"1a", "1b", "2a", "2b"} <= set(found), (step, found)
    look(monitor, NOW + 600)
    assert rows(monitor) == ["1a", "1b", "2a", "2b", "3a", "3b"], (step, rows(monitor))
    assert len(list(monitor.rglob("*.parquet"))) == 2, step
    if not status:
        print(step)
        break
"""


def test_sigkill_at_every_step_loses_no_row_and_doubles_none(tmp_path):
    """Before each change of the disk, while spool files become segments and these become one; the next pass goes on."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
