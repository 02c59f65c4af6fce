"""The slot: one assignment swaps, the held generation comes back without a load and is let go in time."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace

import pytest
from fakes import Clock, FakeEngine

from converters.errors import GoldenMismatch
from gateway.drift import DriftMonitor
from gateway.engine import CostModel, prepare
from gateway.errors import NotFound, NotReady
from gateway.generation import Generation, Slot
from gateway.metrics import Metrics
from gateway.models import LAST_COUNTS_S, Models
from gateway.series import KEEP_PAST
from gateway.settings import GatewaySettings
from gateway.store import Entry, Manifest, ModelRoles, ModelStore


def generation(version, sha256, *, idle=True):
    batcher = SimpleNamespace(idle=idle)
    return Generation("cancer", version, sha256, FakeEngine(), batcher, SimpleNamespace(feed=None))


def test_a_slot_swaps_holds_and_lets_go():
    """The previous generation stays for its hold time, and longer if rows of it still wait."""
    slot = Slot("cancer")
    first, second = generation("1", "a" * 64, idle=False), generation("2", "b" * 64)
    slot.publish(first, now=0.0, hold_s=30.0)
    assert slot.expire(100.0) is None
    slot.publish(second, now=100.0, hold_s=30.0)
    assert slot.current is second
    assert slot.held("a" * 64) is first
    assert slot.expire(129.0) is None
    assert slot.expire(131.0) is None
    first.batcher.idle = True
    assert slot.expire(131.0) is first
    assert slot.held("a" * 64) is None


def test_going_back_to_the_held_bytes_keeps_the_other_one_held():
    """A rollback within the hold time swaps the two."""
    slot = Slot("cancer")
    first, second, again = generation("1", "a" * 64), generation("2", "b" * 64), generation("1", "a" * 64)
    slot.publish(first, now=0.0, hold_s=30.0)
    slot.publish(second, now=1.0, hold_s=30.0)
    slot.publish(again, now=2.0, hold_s=30.0)
    assert slot.current is again
    assert slot.held("b" * 64) is second
    assert slot.expire(33.0) is second


def test_the_repr_tells_an_operator_what_serves():
    """Version, start of the hash, and what is held."""
    slot = Slot("cancer")
    slot.publish(generation("1", "a" * 64), now=0.0, hold_s=1.0)
    assert "version='1'" in repr(slot)
    assert "aaaaaaaaaaaa" in repr(slot)
    assert "held=None" in repr(slot)


def models(store, **options):
    return Models(
        store, GatewaySettings(**options), Metrics({}), DriftMonitor(store.root / "counts"), wanted=("wanted",)
    )


def test_models_follow_the_manifest_and_say_what_is_missing(tmp_path, linear, forest):
    """Load, swap, roll back without a load, drop; unknown and unloaded names have their own errors."""
    store = ModelStore(tmp_path / "store")
    with store.writer() as writer:
        writer.put(linear.file.data)
        writer.put(forest.file.data)
    one = ModelRoles(champion=Entry(version="1", sha256=linear.file.sha256))
    two = ModelRoles(champion=Entry(version="2", sha256=forest.file.sha256))

    async def main():
        under_test = models(store)
        with pytest.raises(NotReady, match="'wanted' is not loaded yet"):
            under_test.find("wanted")
        with pytest.raises(NotFound, match="no model 'other'; none is published"):
            under_test.find("other")
        await under_test.follow(Manifest(generation=1, models={"cancer": one}))
        assert under_test.find(None if len(under_test.slots) == 1 else "cancer").version == "1"
        assert under_test.missing == ["wanted"]
        loaded = under_test.find("cancer").engine
        await under_test.follow(Manifest(generation=2, models={"cancer": two}))
        assert under_test.find("cancer").version == "2"
        store.object_path(linear.file.sha256).unlink()
        await under_test.follow(Manifest(generation=3, models={"cancer": one}))
        assert under_test.find("cancer").version == "1"
        assert under_test.find("cancer").engine is loaded
        gone = Entry(version="9", sha256="0" * 64)
        await under_test.follow(Manifest(generation=4, models={"cancer": ModelRoles(champion=gone)}))
        assert under_test.find("cancer").version == "1"
        assert "version 9 cannot be loaded" in under_test.slots["cancer"].problem
        await under_test.follow(Manifest(generation=5, models={"cancer": one}))
        assert under_test.slots["cancer"].problem is None
        await under_test.follow(Manifest(generation=6, models={}))
        with pytest.raises(NotFound):
            under_test.find("cancer")
        under_test.close()

    asyncio.run(main())


def test_what_is_swapped_out_is_let_go_however_fast_the_swaps_come(tmp_path, linear, forest):
    """A hundred swaps within the hold time leave two generations to be monitored; a model that goes, none."""
    store = ModelStore(tmp_path / "store")
    with store.writer() as writer:
        writer.put(linear.file.data)
        writer.put(forest.file.data)
    hashes = (linear.file.sha256, forest.file.sha256)

    async def main():
        clock, monitor = Clock(100.0), DriftMonitor(tmp_path / "counts")
        under_test = Models(store, GatewaySettings(), Metrics({}), monitor, clock=clock)
        for swap in range(100):
            roles = ModelRoles(champion=Entry(version=str(swap), sha256=hashes[swap % 2]))
            await under_test.follow(Manifest(generation=swap, models={"cancer": roles}))
            under_test.expire()
            clock.now += LAST_COUNTS_S / 2
            assert len(monitor._feeds) <= 2 + 2  # of two more the last counts may come yet
        await under_test.follow(Manifest(generation=100, models={}))
        for _ in range(2):
            under_test.expire()
            clock.now += 2 * LAST_COUNTS_S
        assert monitor._feeds == []
        under_test.close()

    asyncio.run(main())


def test_what_a_request_counts_just_after_its_generation_was_let_go_is_shown(tmp_path, linear, forest):
    """It found the generation before the swap; the last counts are waited for, and then nothing is kept of it."""
    store = ModelStore(tmp_path / "store")
    with store.writer() as writer:
        hashes = [writer.put(linear.file.data), writer.put(forest.file.data)]

    async def main():
        clock, metrics, served = Clock(100.0), Metrics({}), []
        under_test = Models(
            store, GatewaySettings(hold_previous_s=0.0), metrics, DriftMonitor(store.root / "counts"), clock=clock
        )
        for version, sha256 in enumerate(hashes, 1):
            roles = ModelRoles(champion=Entry(version=str(version), sha256=sha256))
            await under_test.follow(Manifest(generation=version, models={"cancer": roles}))
            served.append(under_test.find("cancer"))
        under_test.expire()
        served[0].observer.failed(3)
        clock.now += LAST_COUNTS_S
        under_test.expire()
        assert b'hotgate_failed_rows_total{model="cancer",role="champion",version="1"} 3.0' in metrics.render()
        assert under_test._ending == []
        under_test.close()

    asyncio.run(main())


def test_metrics_of_a_thousand_swaps_are_those_of_the_last_ones(tmp_path, linear, forest):
    """In the text and in the worker's memory; what serves is among them, and said to be loaded."""
    store = ModelStore(tmp_path / "store")
    with store.writer() as writer:
        hashes = [writer.put(linear.file.data), writer.put(forest.file.data)]

    async def main():
        clock, metrics = Clock(100.0), Metrics({})
        under_test = Models(store, GatewaySettings(), metrics, DriftMonitor(store.root / "c"), clock=clock)
        for swap in range(1000):
            roles = ModelRoles(champion=Entry(version=str(swap), sha256=hashes[swap % 2]))
            await under_test.follow(Manifest(generation=swap, models={"cancer": roles}))
            clock.now += LAST_COUNTS_S
            under_test.expire()
        text = metrics.render().decode()
        versions = {int(found) for found in re.findall(r'hotgate_rows_total{.*version="(\d+)"}', text)}
        assert 999 in versions
        assert versions <= set(range(1000 - KEEP_PAST - 3, 1000))
        assert len(metrics.versions._open) <= 3
        assert [
            line for line in text.splitlines() if line.startswith("hotgate_model_loaded{") and line.endswith(" 1.0")
        ] == [f'hotgate_model_loaded{{model="cancer",role="champion",sha256="{hashes[1]}",version="999"}} 1.0']
        under_test.close()

    asyncio.run(main())


def test_the_default_model_is_the_setting_or_the_only_one(tmp_path, linear):
    """Two models and no setting: 404 with both names and the cure."""
    store = ModelStore(tmp_path / "store")
    with store.writer() as writer:
        writer.put(linear.file.data)
    roles = ModelRoles(champion=Entry(version="1", sha256=linear.file.sha256))

    async def main():
        under_test = models(store)
        await under_test.follow(Manifest(generation=1, models={"a": roles, "b": roles}))
        with pytest.raises(NotFound, match=r"there are a, b: name one as /predict/NAME or set"):
            under_test.find(None)
        chosen = models(store, default_model="b")
        await chosen.follow(Manifest(generation=1, models={"a": roles, "b": roles}))
        assert chosen.find(None).name == "b"
        under_test.close()
        chosen.close()

    asyncio.run(main())


def test_a_prepared_engine_has_run_its_golden_rows_and_learned_its_cost(linear):
    """One path for first load and swap; golden rows that do not come out stop it."""
    engine = prepare(linear.file.data, max_rows=256, threads=1)
    assert 0 < engine.cost.predict_us(1) < engine.cost.predict_us(256)
    text = b'"answers":[[0.'
    at = linear.file.data.index(text) + len(text)
    damaged = linear.file.data[:at] + b"55" + linear.file.data[at + 2 :]
    with pytest.raises(GoldenMismatch):
        prepare(damaged, max_rows=256, threads=1)


def test_the_cost_model_learns_both_terms_and_forgets_neither():
    """After full batches and a thousand single rows it still knows what a full batch costs."""
    cost = CostModel(256)
    for _ in range(300):
        cost.observe(256, 20.0 + 256 * 3.0)
        cost.observe(1, 20.0 + 3.0)
    for _ in range(1000):
        cost.observe(1, 23.0)
    assert cost.predict_us(1) == pytest.approx(23.0, rel=0.1)
    assert cost.predict_us(256) == pytest.approx(788.0, rel=0.1)
    cost.observe(1, 1e6)
    assert cost.predict_us(256) < 788.0 + 0.11 * 1e6
