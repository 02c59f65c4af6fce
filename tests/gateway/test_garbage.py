"""The collector's pauses are timed where it runs and told where it does no harm."""

from __future__ import annotations

import gc
from itertools import count

import pytest

from gateway.garbage import GarbagePauses
from gateway.metrics import Metrics


@pytest.fixture
def calm():
    """No collection but those that a test asks for."""
    gc.disable()
    yield
    gc.enable()


def shown(metrics):
    lines = [line for line in metrics.render().decode().splitlines() if line.startswith("hotgate_gc_")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_every_pause_is_counted_by_what_was_walked(calm):
    """Half a second each by this clock; until they are carried over, and after the stop, nothing moves."""
    metrics = Metrics({})
    pauses = GarbagePauses(metrics, clock=(tick / 2 for tick in count()).__next__)
    assert shown(metrics)['hotgate_gc_pause_seconds_count{generation="2"}'] == 0
    pauses.start()
    gc.collect(0)
    gc.collect(2)
    gc.collect(2)
    assert shown(metrics)['hotgate_gc_pause_seconds_count{generation="2"}'] == 0
    pauses.stop()
    pauses.stop()
    gc.collect(2)
    pauses.carry()
    found = shown(metrics)
    assert [found[f'hotgate_gc_pause_seconds_count{{generation="{it}"}}'] for it in range(3)] == [1, 0, 2]
    assert found['hotgate_gc_pause_seconds_sum{generation="2"}'] == 1.0
    assert found['hotgate_gc_pause_seconds_bucket{generation="2",le="0.1"}'] == 0
    assert found["hotgate_gc_longest_pause_seconds"] == 0.5


def test_the_longest_pause_stays(calm):
    """A shorter one after it changes nothing."""
    metrics = Metrics({})
    pauses = GarbagePauses(metrics, clock=iter((0.0, 1.0, 4.0, 5.0, 5.5)).__next__)
    pauses.start()
    gc.collect()
    gc.collect()
    pauses.stop()
    pauses.carry()
    assert shown(metrics)["hotgate_gc_longest_pause_seconds"] == 3.0
