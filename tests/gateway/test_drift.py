"""From the request path to the window: nothing waits, nothing is counted twice, what is dropped is told."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from gateway import drift
from gateway.drift import DriftFeed, DriftMonitor
from monitoring import build_reference


@pytest.fixture
def reference():
    """Of two uniform columns and a uniform score."""
    rng = np.random.default_rng(1)
    return build_reference(
        rng.random((500, 2)), rng.random(500), names=["a", "b"], kinds=["float", "float"], graph_sha256="00"
    )


@pytest.fixture
def feed(reference):
    """With a window that holds all that a test sends."""
    return DriftFeed(reference, classes=2, window_rows=10**9, horizon_s=3600.0)


def block(n, seed=2):
    rng = np.random.default_rng(seed)
    scores = rng.random(n).astype(np.float32)
    return rng.random((n, 2)).astype(np.float32), np.column_stack([1 - scores, scores])


def test_rows_are_copied_so_that_the_batcher_may_reuse_its_block(feed):
    """Three batches through one buffer are three batches, not the last one three times."""
    rows, scores = block(100)
    for shift in (0.0, 10.0, 20.0):
        changed = rows + np.float32(shift)
        buffer = changed.copy()
        assert feed.put(buffer, scores) == 0
        buffer[:] = np.nan
    verdict = feed.verdict()
    assert verdict.n == 300
    assert verdict.features[0].n == 300
    assert verdict.features[0].ks == pytest.approx(2 / 3, abs=0.05)


def test_a_full_chunk_drops_rows_and_says_how_many(feed):
    """Scoring never waits for the monitor; what was dropped is counted, the rest is judged."""
    rows, scores = block(drift._CHUNK_ROWS - 10)
    assert feed.put(rows, scores) == 0
    assert feed.put(*block(25)) == 15
    assert feed.put(*block(3)) == 3
    feed.count()
    assert feed.put(*block(3)) == 0
    assert feed.verdict().n == drift._CHUNK_ROWS + 3


def test_counting_beside_the_traffic_loses_and_doubles_nothing(feed):
    """One thread puts, another counts: the sum is what was put less what was dropped."""
    monitor = DriftMonitor()
    monitor.add(feed)
    monitor.start()
    stop = threading.Event()
    other = threading.Thread(target=lambda: [feed.verdict() for _ in iter(stop.is_set, True)])
    other.start()
    dropped = sum(feed.put(*block(1 + index % 50, index)) for index in range(2000))
    stop.set()
    other.join()
    monitor.stop()
    assert feed.verdict().n == sum(1 + index % 50 for index in range(2000)) - dropped


def test_the_monitor_has_one_thread_and_stops_twice(feed):
    """A second start raises, a second stop does not."""
    monitor = DriftMonitor()
    monitor.start()
    with pytest.raises(RuntimeError, match="runs already"):
        monitor.start()
    monitor.stop()
    monitor.stop()


def test_one_broken_feed_does_not_silence_the_others(feed, monkeypatch, caplog):
    """Its error is logged, and the next feed is counted all the same."""

    class Broken:
        def count(self):
            raise RuntimeError("broken feed")

    counted = threading.Event()
    monkeypatch.setattr(drift, "_INTERVAL_S", 0.001)
    feed.put(*block(10))
    original = feed._window.add
    feed._window.add = lambda *args: (original(*args), counted.set())
    monitor = DriftMonitor()
    monitor.add(Broken())
    monitor.add(feed)
    monitor.start()
    assert counted.wait(10)
    monitor.stop()
    assert "broken feed" in caplog.text
