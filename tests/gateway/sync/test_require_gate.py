"""`[sync] require_gate`: what somebody moved in the registry itself needs the gate's word for its file."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import msgspec
import pytest
from sync.fakes import NAME, World, sha

from gateway.store import Request
from gateway.sync.base import SHA256_TAG
from gateway.sync.decision import Decision, decision_key
from gateway.sync.gate_record import GATE_TAG, GateRecord, encode_record
from gateway.sync.planner import RECHECK_S

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def make_world(tmp_path):
    """A world that serves version 1; version 2 is there."""
    with contextlib.ExitStack() as stack:

        def make(**settings):
            world = World(tmp_path / "store", lambda store: stack.enter_context(store.writer()), **settings)
            world.registry.add(b"one", stage="Production")
            world.registry.change(1, tags={SHA256_TAG: sha(b"one"), GATE_TAG: record(b"one", champion=None)})
            world.registry.add(b"two")
            world.step()
            return world

        yield make


def record(data, outcome="pass", champion="1"):
    return encode_record(
        GateRecord(
            outcome=outcome,
            sha256=sha(data),
            champion=champion,
            champion_sha256=None,
            when=NOON,
            machine="b",
            checks=(),
        )
    )


def decide(world, data, after="2"):
    made = Decision(
        who="a", when=NOON, why="r", action="promote", before="1", after=after, verdict="", sha256=sha(data)
    )
    world.registry.model_tags = {decision_key(NOON): msgspec.json.encode(made).decode()}


@pytest.mark.parametrize(
    "gate",
    [
        None,
        record(b"two", "fail"),
        record(b"two", "inconclusive"),
        record(b"one"),
        record(b"two", champion=None),  # gated after it was moved: there was no champion beside itself
    ],
)
def test_what_was_promoted_by_hand_without_a_pass_is_quarantined(make_world, gate):
    """No record, no pass, or another file's: the old one goes on, nothing is fetched, the cure is told."""
    world = make_world(require_gate=True)
    world.registry.change(2, tags={SHA256_TAG: sha(b"two")} | ({GATE_TAG: gate} if gate else {}))
    world.registry.promote(2)
    state = world.step().models[NAME]["champion"]
    world.step(RECHECK_S + 1)
    assert (state.state, state.version, world.serving(), world.registry.downloads) == ("quarantined", "2", "1", [1])
    assert f"without a passed gate for {sha(b'two')[:12]} ([sync] require_gate): `hotgate rollback {NAME}`" in (
        state.reason
    )
    world.registry.change(2, tags={SHA256_TAG: sha(b"two"), GATE_TAG: record(b"two")})
    world.step()
    assert world.serving() == "2"


def test_what_lacks_a_gate_is_among_the_quarantined_until_it_passes(make_world):
    """Where `/health` and the metric look, since when it was first seen so; it is off the list as soon as it serves."""
    world = make_world(require_gate=True)
    world.registry.promote(2)
    (seen,) = world.step().quarantined
    (again,) = world.step(60).quarantined
    assert (seen.name, seen.version, seen.sha256, again.since) == (NAME, 2, sha(b"two"), seen.since)
    assert "without a passed gate" in seen.reason
    world.registry.down = "no route"
    assert world.step().quarantined == [again]
    world.registry.down = ""
    world.registry.change(2, tags={SHA256_TAG: sha(b"two"), GATE_TAG: record(b"two")})
    assert (world.step().quarantined, world.serving()) == ([], "2")


def test_what_lacks_a_gate_leaves_the_quarantined_when_it_loses_the_role(make_world):
    """By a rollback, or with its model; whose bytes were judged bad stays, once."""
    world = make_world(require_gate=True)
    world.registry.add(b"bad", stage="Staging")
    world.registry.promote(2)
    assert [item.version for item in world.step().quarantined] == [2, 3]
    world.registry.promote(1)
    assert [item.version for item in world.step().quarantined] == [3]


def release(world, version):
    world.store.ask(Request(action="release", model=NAME, version=version, who="ada"))


@pytest.mark.parametrize("asked", ["while it runs", "before it starts"])
def test_a_release_lets_one_file_through_without_a_gate(make_world, asked):
    """The operator's word, as for any quarantine; other bytes under the same number need a gate again."""
    world = make_world(require_gate=True)
    world.registry.promote(2)
    if asked == "before it starts":
        release(world, "2")
        world.restart()
    else:
        assert world.step().quarantined
        release(world, "2")
    assert (world.step().quarantined, world.serving()) == ([], "2")
    world.registry.files[NAME, 2] = b"three"
    world.registry.change(2, tags={SHA256_TAG: sha(b"three")})
    assert [item.sha256 for item in world.step().quarantined] == [sha(b"three")]


def test_a_release_of_what_has_no_gate_to_pass_yet_is_no_waiver(make_world):
    """Lifting a quarantine of bytes says nothing of a later move by hand."""
    world = make_world(require_gate=True)
    release(world, "2")
    world.step()
    world.registry.promote(2)
    assert [item.version for item in world.step().quarantined] == [2]


def test_a_recorded_decision_stands_for_the_gate(make_world):
    """Promote has asked it, or was forced with a reason; for that file only, and that version."""
    world = make_world(require_gate=True)
    world.registry.promote(2)
    for data, after, serving in ((b"one", "2", "1"), (b"two", "1", "1"), (b"two", "2", "2")):
        decide(world, data, after)
        world.step()
        assert world.serving() == serving


def test_a_challenger_needs_no_gate(make_world):
    """A shadow answers nobody."""
    world = make_world(require_gate=True)
    world.registry.promote(2, stage="Staging")
    assert world.step().models[NAME]["challenger"].state == "serving"


def test_without_the_setting_no_gate_is_asked(make_world):
    """Moving a stage in MLflow is as good as promote."""
    world = make_world()
    world.registry.promote(2)
    world.step()
    assert world.serving() == "2"


def test_what_serves_already_goes_on(make_world):
    """Setting it takes nothing away from a client, also after a new start."""
    world = make_world()
    world.registry.promote(2)
    world.step()
    world.settings = msgspec.structs.replace(world.settings, require_gate=True)
    world.restart()
    assert (world.step().models[NAME]["champion"].state, world.serving()) == ("serving", "2")
