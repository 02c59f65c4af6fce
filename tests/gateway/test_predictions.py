"""From a batch to frames in the spool: every row once, with whose it is, but for what is not sampled or redacted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.modelfile import Column, Signature, Target
from gateway import predictionlog
from gateway.drift import DriftMonitor
from gateway.predictionlog import PredictionLog
from gateway.predictions import FrameHead, are_sampled, describe, is_sampled, pack_frame, read_frame, read_signature
from gateway.settings import GatewaySettings, LogSettings
from gateway.spool import closed_files, read_spool
from gateway.store import Entry
from gateway.tickets import Share, Ticket
from monitoring import build_reference

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_800_000_000.0
ENTRY = Entry(version="3", sha256="a" * 64)
SIGNATURE = Signature(
    columns=tuple(Column(name=name) for name in "abc"),
    input_name="X",
    targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
    score_output="p",
)


@pytest.fixture(scope="module")
def model():
    """What a monitor is told of one."""
    rng = np.random.default_rng(1)
    reference = build_reference(
        rng.random((500, 3)), rng.random(500), names=["a", "b", "c"], kinds=["float"] * 3, graph_sha256="00"
    )
    return SimpleNamespace(reference=reference, signature=SIGNATURE)


def member(origin):
    ticket = Ticket(0.0)
    ticket.origin = origin
    return ticket


def batch(first, origins):
    """Rows that count on from `first`, their probabilities, and whose they are."""
    count = sum(1 if isinstance(origin, str) else origin.rows for origin in origins)
    rows = np.arange(first, first + count, dtype=np.float32)[:, None] + np.array([0, 0.25, 0.5], np.float32)
    scores = np.column_stack([rows[:, 0], rows[:, 0] + 1])
    return rows, scores, [member(origin) for origin in origins]


def monitor_of(folder, **settings):
    """A worker's monitor with a log, and its clock."""
    return DriftMonitor(folder / "counts", PredictionLog(folder, LogSettings(**settings), lambda: NOW))


def opened(monitor, model):
    return monitor.open(ENTRY, "m", model, GatewaySettings())


def frames(folder):
    """All that closed files hold."""
    spool = folder / "spool" / "predictions"
    return [read_frame(frame) for path in closed_files(spool) for frame in read_spool(path)]


def logged(folder):
    """(request, row): its first value, over all frames; each once."""
    found = [
        ((request_id, number), row[0])
        for frame in frames(folder)
        for request_id, number, row in zip(frame.request_ids, frame.numbers.tolist(), frame.rows, strict=True)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_every_row_is_there_once_with_whose_it_is(tmp_path, model):
    """Single rows, requests that are split over batches, and more than one frame; a stop loses nothing."""
    monitor = monitor_of(tmp_path)
    feed = opened(monitor, model)
    feed.put(*batch(0, ["one", Share("many", 0, 3)]))
    feed.put(*batch(4, [Share("many", 3, 1), "two"]))
    feed.count()
    feed.put(*batch(6, ["three", "four"]))
    monitor.stop()
    first, second = frames(tmp_path)
    assert first.head == FrameHead(
        sha256="a" * 64, model="m", version="3", time=NOW, rows=6, columns=3, width=2, requests=4, single=False
    )
    assert first.request_ids == ["one", "many", "many", "many", "many", "two"]
    assert first.numbers.tolist() == [0, 0, 1, 2, 3, 0]
    np.testing.assert_array_equal(first.rows, batch(0, ["x"] * 6)[0])
    np.testing.assert_array_equal(first.answers, batch(0, ["x"] * 6)[1])
    assert (second.head.single, second.request_ids, second.numbers.tolist()) == (True, ["three", "four"], [0, 0])
    np.testing.assert_array_equal(second.rows[:, 1], [6.25, 7.25])
    assert read_signature(tmp_path / "predictions", "a" * 64) == SIGNATURE
    assert feed.unlogged == 0


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 40)), min_size=1, max_size=30), st.booleans())
def test_a_frame_is_read_as_it_was_packed(places, single):
    """Whatever share of a request each member is."""
    origins = [f"r{i}" if single else Share(f"r{i}", first, rows) for i, (first, rows) in enumerate(places)]
    rows, scores, _ = batch(0, origins)
    head = FrameHead(sha256="b", model="m", version="1", columns=3, width=2, dropped=7, redacted=(4,))
    found = read_frame(b"".join(pack_frame(head, rows, scores, origins)))
    expected = [
        (f"r{i}", row)
        for i, (first, count) in enumerate(places)
        for row in (range(1) if single else range(first, first + count))
    ]
    assert list(zip(found.request_ids, found.numbers.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.answers, scores)
    assert (found.head.dropped, found.head.redacted) == (7, (4,))


@pytest.mark.parametrize("data", [b"", b"abc", b"\x02\x00\x00\x00xx", msgspec.msgpack.encode(["a"] * 20)])
def test_what_is_no_frame_is_refused(data):
    """A file of something else lies in the spool."""
    with pytest.raises(ValueError, match="no frame"):
        read_frame(data)


def test_redacted_columns_leave_no_worker(tmp_path, model, caplog):
    """Not one byte of them is in the spool; a column that this model does not have is told."""
    monitor = monitor_of(tmp_path, redact=("b", "ssn"))
    feed = opened(monitor, model)
    rows, scores, members = batch(0, ["one", "two"])
    rows[:, 1] = 12345.0
    feed.put(rows, scores, members)
    monitor.stop()
    (frame,) = frames(tmp_path)
    assert (frame.head.redacted, frame.head.columns) == ((1,), 2)
    np.testing.assert_array_equal(frame.rows, rows[:, [0, 2]])
    (path,) = closed_files(tmp_path / "spool" / "predictions")
    assert np.float32(12345.0).tobytes() not in path.read_bytes()
    assert "no column ssn" in caplog.text


def test_all_columns_may_be_redacted(tmp_path, model):
    """What was answered is logged all the same."""
    monitor = monitor_of(tmp_path, redact=("a", "b", "c"))
    opened(monitor, model).put(*batch(0, ["one", "two"]))
    monitor.stop()
    (frame,) = frames(tmp_path)
    assert frame.rows.shape == (2, 0)
    assert frame.answers[:, 1].tolist() == [1.0, 2.0]


def test_sampling_keeps_whole_requests_by_their_id(tmp_path, model):
    """Whichever worker scores them; what is left out is not dropped."""
    monitor = monitor_of(tmp_path, sample=0.5)
    feed = opened(monitor, model)
    ids = [f"r{number}" for number in range(200)]
    feed.put(*batch(0, [Share(name, 0, 2) if number % 3 else name for number, name in enumerate(ids)]))
    monitor.stop()
    places = [(name, row) for number, name in enumerate(ids) for row in range(2 if number % 3 else 1)]
    expected = {place: float(value) for value, place in enumerate(places) if is_sampled(place[0], 0.5)}
    assert logged(tmp_path) == expected
    assert 60 < len({name for name, _ in expected}) < 140
    assert feed.unlogged == 0


def test_sampling_is_the_share_that_was_asked_for_and_always_the_same():
    """Over made ids, which count up; a smaller share is part of a larger one."""
    ids = [f"4f0c9a1b2d3e-{number}" for number in range(20_000)]
    tenth, half = ({name for name in ids if is_sampled(name, share)} for share in (0.1, 0.5))
    assert len(tenth) == pytest.approx(2000, abs=150)
    assert len(half) == pytest.approx(10_000, abs=300)
    assert tenth < half
    assert all(is_sampled(name, 1.0) for name in ids)
    assert not any(is_sampled(name, 0.0) for name in ids)
    assert [is_sampled(f"r{number}", 0.5) for number in range(6)] == [True, False, False, False, True, True]


@given(st.lists(st.text("abcXYZ019._:-", min_size=1, max_size=128), max_size=20), st.floats(0, 1))
def test_sampling_of_many_is_that_of_each(ids, share):
    """Truth asks one by one, workers do not."""
    assert are_sampled(ids, share).tolist() == [is_sampled(name, share) for name in ids]


def test_a_share_of_nothing_logs_nothing(tmp_path, model):
    """No frame, no folder."""
    monitor = monitor_of(tmp_path, sample=0.0)
    feed = opened(monitor, model)
    feed.put(*batch(0, ["one"]))
    monitor.stop()
    assert not (tmp_path / "spool").exists()
    assert not (tmp_path / "predictions").exists()
    assert feed.unlogged == 0
    assert feed._predictions is None


def test_what_finds_no_room_is_dropped_counted_and_told_with_the_next_frame(tmp_path, model, monkeypatch):
    """Both in the hand-over and in the spool; drift counts what it can."""
    monkeypatch.setattr(predictionlog, "SPOOL_LIMIT_BYTES", 500_000)
    monitor = monitor_of(tmp_path)
    feed = opened(monitor, model)
    names = ["r"] * 16_384
    assert feed.put(*batch(0, names)) == 0
    assert feed.put(*batch(0, ["late"] * 5)) == 5
    feed.count()
    assert feed.unlogged == 5
    feed.put(*batch(0, names[:10_000]))
    feed.count()
    assert feed.unlogged == 10_005
    feed.put(*batch(0, ["last"]))
    monitor.stop()
    assert [(frame.head.rows, frame.head.dropped) for frame in frames(tmp_path)] == [(16_384, 5), (1, 10_000)]
    assert feed.verdict().drift.n == 26_385


def test_a_disk_that_hangs_holds_up_nobody_who_scores(tmp_path, model, monkeypatch):
    """The thread that writes stands still; rows find room until there is none, and are dropped then."""
    monitor = monitor_of(tmp_path)
    feed = opened(monitor, model)
    writing, may_go_on = threading.Event(), threading.Event()
    original = os.writev

    def hanging(*arguments):
        writing.set()
        assert may_go_on.wait(20)
        return original(*arguments)

    monkeypatch.setattr(os, "writev", hanging)
    monitor.start()
    feed.put(*batch(0, ["first"]))
    try:
        assert writing.wait(20)
        assert feed.put(*batch(1, ["r"] * 16_384)) == 0
        assert feed.put(*batch(1, ["late"] * 7)) == 7
    finally:
        may_go_on.set()
    monitor.stop()
    assert [(frame.head.rows, frame.head.dropped) for frame in frames(tmp_path)] == [(1, 0), (16_384, 7)]


FULL = """
import subprocess, sys
from pathlib import Path
import numpy as np
from converters.modelfile import Column, Signature, Target
from gateway.observe.intake import Intake
from gateway.observe.predlog import PredictionKeeper
from gateway.predictionlog import PredictionLog
from gateway.settings import LogSettings
from gateway.store import Entry

monitor = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", monitor], check=True)
log = PredictionLog(monitor, LogSettings())
signature = Signature(
    columns=(Column(name="x"),),
    input_name="X",
    targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
    score_output="p",
)
feed = log.open(Entry(version="1", sha256="a" * 64), "m", signature)
rng, sent = np.random.default_rng(0), 0

def send():
    global sent
    ids = [f"r{sent + number}" for number in range(100)]
    feed.append(rng.random((100, 1), np.float32), rng.random((100, 2), np.float32), ids)
    sent += 100

while not feed.dropped:
    send()
log.close()
keeper = PredictionKeeper(monitor, keep_s=1e9, keep_bytes=2**30)
intake = Intake(monitor, [keeper.take])
try:
    intake.look()
except OSError as error:
    print(error.errno)
waste = sorted(monitor.rglob("*.new"))
subprocess.run(["mount", "-o", "remount,size=2m", monitor], check=True)
send()
log.close()
intake.look()
import pyarrow.parquet as pq
ids = pq.read_table(monitor / "predictions" / ("a" * 64))["request_id"].to_pylist()
print(len(waste), len(set(ids)) == len(ids), sent - len(ids) == feed.dropped == 100, intake.dropped)
"""


def _can(*command):
    try:
        return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


ISOLATED = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.mark.skipif(not _can(*ISOLATED), reason="no mounts of one's own here")
def test_a_full_file_system_costs_what_is_told_and_no_more(tmp_path):
    """A real one of 256 kB: what finds no room is dropped and counted, what was taken is logged when there is room."""
    done = subprocess.run(
        [*ISOLATED, sys.executable, "-c", FULL, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["28", "0", "True", "True", "100"]
    assert "takes nothing more" in done.stderr


def test_a_frame_that_nobody_could_read_is_not_written(tmp_path, model, caplog):
    """The model's signature finds no room; it is told once."""
    (tmp_path / "predictions").write_bytes(b"")
    monitor = monitor_of(tmp_path)
    feed = opened(monitor, model)
    for _ in range(2):
        feed.put(*batch(0, ["one"]))
        feed.count()
    assert feed.unlogged == 2
    assert caplog.text.count("predictions are dropped") == 1
    monitor.stop()
    assert frames(tmp_path) == []


def test_a_signature_that_was_removed_comes_back(tmp_path, model):
    """Somebody cleared the folder while a worker serves."""
    monitor = monitor_of(tmp_path)
    feed = opened(monitor, model)
    for _ in range(2):
        feed.put(*batch(0, ["one"]))
        feed.count()
        (tmp_path / "predictions" / f"{'a' * 64}.json").unlink()
    with pytest.raises(FileNotFoundError):
        read_signature(tmp_path / "predictions", "a" * 64)
    describe(tmp_path / "predictions", "a" * 64, SIGNATURE)
    assert read_signature(tmp_path / "predictions", "a" * 64) == SIGNATURE


def test_a_count_that_fails_costs_the_log_nothing(tmp_path, model, monkeypatch):
    """And a log that fails costs no count."""
    monitor = monitor_of(tmp_path)
    feed = opened(monitor, model)
    with monkeypatch.context() as patch:
        patch.setattr(feed._counter, "add", lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
        feed.put(*batch(0, ["one"]))
        with pytest.raises(RuntimeError, match="broken"):
            feed.count()
    with monkeypatch.context() as patch:
        patch.setattr(feed._predictions, "append", lambda *_: (_ for _ in ()).throw(RuntimeError("broken too")))
        feed.put(*batch(1, ["two"]))
        with pytest.raises(RuntimeError, match="broken too"):
            feed.count()
    feed.put(*batch(2, ["three"]))
    monitor.stop()
    assert logged(tmp_path) == {("one", 0): 0.0, ("three", 0): 2.0}
    assert feed.verdict().drift.n == 2
