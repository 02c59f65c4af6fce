"""From the request path to the window: nothing waits, nothing is counted twice, what is dropped is told."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from harness import wait_until

from converters.modelfile import Column, Signature, Target
from gateway import drift, losses
from gateway import feed as feeds
from gateway.counts import ModelCounts
from gateway.drift import DriftMonitor
from gateway.errors import NotFound
from gateway.losses import Losses, LossFile, read_losses
from gateway.settings import GatewaySettings
from gateway.store import Entry
from monitoring import RowCounter, build_reference, judge

ENTRY = Entry(version="1", sha256="a" * 64)


SIGNATURE = Signature(
    columns=(Column(name="a"), Column(name="b")),
    input_name="X",
    targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
    score_output="p",
)


@pytest.fixture
def reference():
    """Of two uniform columns, a uniform score and the class that follows from it."""
    rng = np.random.default_rng(1)
    rows, scores = rng.random((500, 2)), rng.random(500)
    names, kinds = ["a", "b"], ["float", "float"]
    return build_reference(
        rows, scores, names=names, kinds=kinds, graph_sha256="00", labels=scores > 0.5, classes=("no", "yes")
    )


@pytest.fixture
def model(reference):
    """What a monitor is told of one."""
    return SimpleNamespace(reference=reference, signature=SIGNATURE)


@pytest.fixture
def monitor(tmp_path):
    """Of one worker."""
    return DriftMonitor(tmp_path / "counts")


@pytest.fixture
def feed(monitor, model):
    """With a window that holds all that a test sends."""
    return monitor.open(ENTRY, "m", model, GatewaySettings(drift_window_rows=10**9))


def block(n, seed=2):
    rng = np.random.default_rng(seed)
    scores = rng.random(n).astype(np.float32)
    return rng.random((n, 2)).astype(np.float32), np.column_stack([1 - scores, scores]), []


def test_rows_are_copied_so_that_the_batcher_may_reuse_its_block(feed):
    """Three batches through one buffer are three batches, not the last one three times."""
    rows, scores, _ = block(100)
    for shift in (0.0, 10.0, 20.0):
        changed = rows + np.float32(shift)
        buffer = changed.copy()
        assert feed.put(buffer, scores, []) == 0
        buffer[:] = np.nan
    verdict = feed.verdict().drift
    assert verdict.n == 300
    assert verdict.features[0].n == 300
    assert verdict.features[0].ks == pytest.approx(2 / 3, abs=0.05)


def test_predicted_classes_are_judged_with_the_rows(feed):
    """A score that has moved up: other classes are predicted; a row without an answer has none."""
    rows, scores, members = block(400)
    scores = np.sqrt(np.sqrt(scores[:, 1]))
    scores[:40] = np.nan
    feed.put(rows, np.column_stack([1 - scores, scores]), members)
    label = feed.verdict().drift.label
    yes = next(share for share in label.categories if share.name == "yes")
    assert (label.n, label.missing, label.severity) == (360, 0.1, "critical")
    assert yes.current == pytest.approx((scores[40:] > 0.5).mean())
    assert yes.reference == pytest.approx(0.5, abs=0.1)


def test_a_full_chunk_drops_a_batch_and_says_how_many_rows(feed):
    """Scoring never waits for the monitor; what was dropped is counted, the rest is judged."""
    assert feed.put(*block(feeds._CHUNK_ROWS - 10)) == 0
    assert feed.put(*block(25)) == 25
    assert feed.put(*block(10)) == 0
    assert feed.put(*block(3)) == 3
    feed.count()
    assert feed.put(*block(3)) == 0
    assert feed.verdict().drift.n == feeds._CHUNK_ROWS + 3


def test_the_largest_batch_has_room(monitor, model):
    """Whatever `max_batch_rows` is."""
    feed = monitor.open(ENTRY, "m", model, GatewaySettings(max_batch_rows=65_536, queue_limit_rows=65_536))
    assert feed.put(*block(65_536)) == 0


def test_counting_beside_the_traffic_loses_and_doubles_nothing(monitor, feed):
    """One thread puts, another counts: the sum is what was put less what was dropped."""
    monitor.start()
    stop = threading.Event()
    other = threading.Thread(target=lambda: [feed.verdict() for _ in iter(stop.is_set, True)])
    other.start()
    dropped = sum(feed.put(*block(1 + index % 50, index)) for index in range(2000))
    stop.set()
    other.join()
    assert feed.verdict().drift.n == sum(1 + index % 50 for index in range(2000)) - dropped


def test_the_monitor_has_one_thread_and_stops_twice(monitor, feed):
    """A second start raises, a second stop does not."""
    monitor.start()
    with pytest.raises(RuntimeError, match="runs already"):
        monitor.start()
    monitor.stop()
    monitor.stop()


def test_one_broken_feed_does_not_silence_the_others(monitor, feed, monkeypatch, caplog):
    """Its error is logged, and the next feed is counted all the same."""

    class Broken:
        sha256, dropped, unlogged, unshared = "", 0, 0, 0

        def count(self):
            raise RuntimeError("broken feed")

    counted = threading.Event()
    monkeypatch.setattr(drift, "_INTERVAL_S", 0.001)
    feed.put(*block(10))
    original = feed._counter.add
    feed._counter.add = lambda *args: (original(*args), counted.set())
    monitor._feeds = [Broken(), feed]
    monitor.start()
    assert counted.wait(10)
    monitor._feeds = [feed]
    monitor.stop()
    assert "broken feed" in caplog.text


def test_the_verdict_is_that_of_all_processes(monitor, feed, model, reference, tmp_path):
    """Two workers, one of them gone, and one that has just begun: all say the same, and a restart forgets nothing."""
    gone = DriftMonitor(tmp_path / "counts")
    settings = GatewaySettings(drift_window_rows=10**9)
    gone.open(ENTRY, "m", model, settings).put(*block(300, 3))
    gone.stop()
    feed.put(*block(200, 4))
    own = feed.verdict()
    assert own.drift.n == 500
    fresh = DriftMonitor(tmp_path / "counts").open(ENTRY, "m", model, settings)
    assert fresh.verdict() == own
    alone = RowCounter(reference)
    counts = alone.zeros()
    for n, seed in ((300, 3), (200, 4)):
        rows, scores, _ = block(n, seed)
        alone.add(counts, rows, scores[:, 1], scores[:, 1] > 0.5)
    assert judge(reference, counts) == own.drift
    other = monitor.open(Entry(version="2", sha256="b" * 64), "m", model, settings)
    assert other.verdict().drift.n == 0


def test_what_is_counted_is_counted_for_prometheus_too(monitor, model, reference):
    """The same rows, block by block and to the last, also those that the worker counts as it stops."""

    class Columns:
        total = 0

        def add(self, counts):
            self.total = self.total + counts

    columns, rows = Columns(), RowCounter(reference).rows
    feed = monitor.open(ENTRY, "m", model, GatewaySettings(), columns)
    for n in (300, 100, 50):
        feed.put(*block(n, n))
        assert feed.verdict().drift.n == rows(columns.total)
    feed.put(*block(30))
    monitor.stop()
    assert rows(columns.total) == 480


def test_rows_that_come_after_the_last_count_are_counted_at_the_end(monitor, feed, tmp_path):
    """A stop loses nothing."""
    feed.put(*block(30))
    monitor.stop()
    (spans,) = [ModelCounts(tmp_path / "counts" / ("a" * 64)).spans()]
    assert sum(int(span.counts.sum()) for span in spans) == 120  # two columns, the score and the label
    assert feed.unshared == 0


def test_without_room_a_worker_speaks_for_itself_and_says_how_many_rows_nobody_else_sees(feed, tmp_path, monkeypatch):
    """The disk is full: its own rows still count."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    feed.put(*block(120))
    assert feed.verdict().drift.n == 120
    assert feed.unshared == 120
    assert ModelCounts(tmp_path / "counts" / ("a" * 64)).spans() == []


def test_a_count_that_fails_costs_its_rows_and_no_others(feed, monkeypatch):
    """The next ones go into a chunk of their own, as ever."""
    original = feed._counter.add
    with monkeypatch.context() as patch:
        patch.setattr(feed._counter, "add", lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
        feed.put(*block(10))
        with pytest.raises(RuntimeError, match="broken"):
            feed.count()
    assert feed._counter.add == original
    assert feed._filling is not feed._spare
    feed.put(*block(30))
    assert feed.verdict().drift.n == 30


def test_monitoring_can_be_switched_off(monitor, model, tmp_path):
    """Rows are taken and left, nothing is written, and who asks for a verdict is told the setting."""
    feed = monitor.open(ENTRY, "m", model, GatewaySettings(monitoring=False))
    assert feed.put(*block(10)) == 0
    with pytest.raises(NotFound, match="monitoring"):
        feed.verdict()
    monitor.close(feed)
    monitor.stop()
    assert list(tmp_path.iterdir()) == []


def test_what_a_worker_loses_is_told_to_the_observer_while_it_runs(monitor, feed, model, tmp_path, monkeypatch):
    """A generation that is gone still counts; a worker that stops takes its word along."""
    monkeypatch.setattr(losses, "_PAUSE_S", 0.0)
    other = monitor.open(Entry(version="2", sha256="b" * 64), "m", model, GatewaySettings())
    monitor.start()

    def lose(feed, rows):
        with feed._counting:  # the thread waits here, so nothing makes room meanwhile
            feed.put(*block(16_384))
            assert feed.put(*block(rows)) == rows

    def told(dropped):
        found = [losses for _, losses in read_losses(tmp_path / "losses", time.time())]
        return found == [Losses(dropped=dropped)]

    lose(feed, 7)
    wait_until(lambda: told({"a" * 64: 7}), what="a word on 7 lost rows")
    monitor.close(feed)
    lose(other, 2)
    wait_until(lambda: told({"a" * 64: 7, "b" * 64: 2}), what="a word on 9 lost rows")
    monitor.stop()
    assert list((tmp_path / "losses").iterdir()) == []


def test_what_the_last_count_of_a_generation_loses_is_told_too(monitor, tmp_path):
    """The prediction log may refuse the last rows of one that is let go."""

    class Last:
        sha256, dropped, unlogged, unshared = "a" * 64, 0, 0, 0

        def close(self):
            self.unlogged = 5

    monitor._closing.append(Last())
    monitor._close()
    monitor._losses.tell([])
    ((_, found),) = read_losses(tmp_path / "losses", time.time())
    assert found == Losses(unlogged={"a" * 64: 5})


def test_losses_are_written_when_they_change_and_now_and_then(tmp_path):
    """At most every five seconds; what stays so, every minute; none are news only after some."""
    now, one = [1000.0], SimpleNamespace(sha256="a", dropped=0, unlogged=0, unshared=0)
    file = LossFile(tmp_path / "losses", lambda: now[0])

    def tell(seconds):
        now[0] += seconds
        before = {path: path.read_bytes() for path in (tmp_path / "losses").glob("*")}
        for path in before:
            path.write_bytes(b"")
        file.tell([one])
        return next((path.read_bytes() for path in (tmp_path / "losses").glob("*") if path.stat().st_size), None)

    assert tell(60) is None
    one.unshared = 3
    assert msgspec.json.decode(tell(0), type=Losses) == Losses(unshared={"a": 3})
    one.unshared = 0
    assert tell(4) is None
    assert msgspec.json.decode(tell(1), type=Losses) == Losses()
    one.dropped = 2
    assert msgspec.json.decode(tell(5), type=Losses) == Losses(dropped={"a": 2})
    assert tell(59) is None
    assert tell(1) is not None
    one.unlogged = 4
    file.let_go(one)
    one.dropped = one.unlogged = 1
    assert msgspec.json.decode(tell(5), type=Losses) == Losses(dropped={"a": 3}, unlogged={"a": 5})


def test_losses_that_cannot_be_written_stop_nothing(tmp_path):
    """The disk may be what is wrong."""
    (tmp_path / "losses").write_bytes(b"")
    file = LossFile(tmp_path / "losses")
    file.tell([SimpleNamespace(sha256="a", dropped=1, unlogged=0, unshared=0)])
    file.remove()
    assert (tmp_path / "losses").read_bytes() == b""
