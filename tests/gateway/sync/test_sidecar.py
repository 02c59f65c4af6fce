"""The sidecar follows the registry, and whatever fails, the last good model goes on."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import threading

import msgspec
import pytest
from sync.fakes import NAME, Verdict, World, sha

from gateway.store import ModelStore, Request, StoreLockedError
from gateway.sync.base import RegistryError, RegistryUnavailableError
from gateway.sync.planner import RECHECK_S
from gateway.sync.report import status_path
from gateway.sync.status import read_status


@pytest.fixture
def make_world(tmp_path):
    with contextlib.ExitStack() as stack:

        def make(**settings):
            return World(tmp_path / "store", lambda store: stack.enter_context(store.writer()), **settings)

        yield make


@pytest.fixture
def world(make_world):
    return make_world()


def test_a_stage_change_is_followed_in_the_next_pass(world):
    """The main job."""
    world.registry.add(b"one", stage="Production")
    world.registry.add(b"two")
    world.step()
    assert world.serving() == "1"
    world.registry.promote(2)
    world.step()
    assert world.serving() == "2"
    assert world.store.load(world.store.read().models[NAME].champion.sha256) == b"two"


def test_going_back_needs_neither_download_nor_verification(world):
    """What the store still holds is served at once, even if the artifact store is gone."""
    world.registry.add(b"one", stage="Production")
    world.registry.add(b"two")
    for number in (1, 2):
        world.registry.promote(number)
        world.step()
    world.registry.files[NAME, 1] = RegistryUnavailableError("gone")
    world.registry.promote(1)
    world.step()
    assert world.serving() == "1"
    assert (world.registry.downloads, len(world.verify.seen)) == ([1, 2], 2)


def test_nothing_changes_and_nothing_is_fetched_while_nothing_changes(world):
    """A quiet registry costs one look a pass."""
    world.registry.add(b"one", stage="Production")
    world.step()
    stamp = world.store.stamp()
    for _ in range(5):
        world.step()
    assert (world.store.stamp(), world.registry.downloads, world.registry.connects) == (stamp, [1], 1)


def test_roles_by_alias(make_world):
    """Settings choose the mark; alias names are case-sensitive."""
    world = make_world(champion="alias:champion", challenger="alias:challenger")
    world.registry.add(b"one", aliases=["champion"], stage="Staging")
    world.registry.add(b"two", aliases=["challenger"], stage="Production")
    world.registry.add(b"three", aliases=["Champion"])
    world.step()
    roles = world.store.read().models[NAME]
    assert (roles.champion.version, roles.challenger.version) == ("1", "2")


def test_all_changes_of_a_pass_are_one_generation(world):
    """Workers swap once."""
    for name in ("a", "b", "c"):
        world.registry.add(name.encode(), stage="Production", name=name)
        world.registry.add(name.encode() * 2, stage="Staging", name=name)
    world.step()
    assert world.store.read().generation == 1
    assert len(world.store.history()) == 6


def test_two_versions_in_one_stage_serve_the_highest_and_say_so(world, caplog):
    """Ambiguity is served, shown and its cure told."""
    world.registry.add(b"one", stage="Production")
    world.registry.add(b"two", stage="Production")
    with caplog.at_level(logging.WARNING, "hotgate"):
        state = world.step().models[NAME]["champion"]
        world.step()
    assert (world.serving(), state.state, state.others) == ("2", "serving", (1,))
    assert caplog.text.count("also named: 1; archive all but one") == 1


@pytest.mark.parametrize("loss", ["stage emptied", "version deleted", "model deleted"])
def test_the_last_good_one_goes_on_as_an_orphan_until_unpublished(world, loss):
    """Losing the mark in the registry is no order to stop serving."""
    world.registry.add(b"one", stage="Production")
    world.step()
    if loss == "stage emptied":
        world.registry.change(1, stage="Archived")
    elif loss == "version deleted":
        del world.registry.models[NAME][1]
    else:
        del world.registry.models[NAME]
    assert world.step().models[NAME]["champion"].state == "orphaned"
    assert (world.serving(), world.store.read().models[NAME].orphaned) == ("1", True)
    world.restart()
    world.step()
    assert world.serving() == "1"
    world.store.unpublish(NAME, who="ada")
    world.step()
    assert world.store.read().models == {}
    assert (world.store.history()[-1].who, world.store.history()[-1].after) == ("ada", None)
    assert "champion" not in msgspec.to_builtins(world.step().models).get(NAME, {}) or world.state().state == "empty"


def test_an_orphan_that_is_named_again_is_no_orphan(world):
    """The mark goes, the model is not touched."""
    world.registry.add(b"one", stage="Production")
    for stage in ("Production", "Archived", "Production"):
        world.registry.change(1, stage=stage)
        world.step()
    assert (world.serving(), world.store.read().models[NAME].orphaned) == ("1", False)
    assert (len(world.store.history()), world.registry.downloads) == (1, [1])


def test_a_challenger_that_nobody_names_leaves(world):
    """A shadow protects nobody; promoting it empties its stage."""
    world.registry.add(b"one", stage="Production")
    world.registry.add(b"two", stage="Staging")
    world.step()
    world.registry.promote(2)
    world.step()
    roles = world.store.read().models[NAME]
    assert (roles.champion.version, roles.challenger, roles.orphaned) == ("2", None, False)


def test_unpublishing_what_is_still_named_changes_nothing_but_the_log(world, caplog):
    """No flicker for the clients, and a hint for the operator."""
    world.registry.add(b"one", stage="Production")
    world.step()
    stamp = world.store.stamp()
    world.store.unpublish(NAME)
    world.step()
    assert world.store.stamp() == stamp
    assert "still named in the registry" in caplog.text


def test_a_model_no_longer_wanted_goes_on_as_an_orphan(make_world):
    """Only `unpublish` takes a served model away."""
    world = make_world(models=["a", "b"])
    world.registry.add(b"a", stage="Production", name="a")
    world.registry.add(b"b", stage="Production", name="b")
    world.registry.add(b"c", stage="Production", name="c")
    world.step()
    assert sorted(world.store.read().models) == ["a", "b"]
    world.settings = msgspec.structs.replace(world.settings, models=["a"])
    world.restart()
    world.step()
    assert world.store.read().models["b"].orphaned


@pytest.mark.parametrize(
    ("data", "tag", "reason"),
    [
        (b"other bytes", sha(b"promised"), f"tag hotgate.sha256 says {sha(b'promised')}, its model file has"),
        (b"bad", True, "golden row 3 is off by 0.2"),
    ],
)
def test_complete_bytes_that_fail_are_quarantined_and_the_old_one_serves(world, data, tag, reason):
    """Judged once, remembered over a restart, told with the way out."""
    world.registry.add(b"one", stage="Production")
    world.step()
    world.registry.add(data, tag=tag)
    world.registry.promote(2)
    state = world.step().models[NAME]["champion"]
    assert (state.state, state.version, state.serving) == ("quarantined", "2", "1")
    assert reason in state.reason
    assert f"hotgate release {NAME} 2" in state.reason
    world.restart()
    for _ in range(5):
        world.step(10)
    assert world.serving() == "1"
    assert world.registry.downloads == [1, 2]
    judged = len(world.verify.seen)
    world.step(RECHECK_S)
    assert (world.registry.downloads, len(world.verify.seen)) == ([1, 2, 2], judged)
    assert not world.store.object_path(sha(data)).exists()


def test_other_bytes_under_a_corrected_tag_lift_the_quarantine(world):
    """Another promise earns another look."""
    world.registry.add(b"bad", stage="Production")
    assert world.step().models[NAME]["champion"].state == "quarantined"
    world.registry.files[NAME, 1] = b"good"
    world.registry.change(1, tags={"hotgate.sha256": sha(b"good")})
    status = world.step()
    assert (world.serving(), status.quarantined) == ("1", [])


def test_a_served_version_whose_tag_changes_is_fetched_again(world):
    """The tag is the version's word on its bytes; until the new ones are in, the old ones serve."""
    world.registry.add(b"one", stage="Production")
    world.step()
    world.registry.change(1, tags={"hotgate.sha256": sha(b"new")})
    assert (world.step().models[NAME]["champion"].state, world.serving()) == ("quarantined", "1")
    world.registry.files[NAME, 1] = b"new"
    world.step(RECHECK_S + 1)
    assert world.store.read().models[NAME].champion.sha256 == sha(b"new")


def test_a_release_ends_a_pause_at_once(world):
    """Whoever has mended the cause does not wait for the back-off."""
    world.registry.add(b"one", stage="Production")
    world.verify.busy = True
    for _ in range(10):
        world.step()
    world.verify.busy = False
    world.store.ask(Request(action="release", model=NAME, version="1"))
    world.step(0)
    assert world.serving() == "1"


def test_a_verdict_about_other_bytes_counts_for_nothing(world):
    """What goes into the store is what was judged."""
    world.registry.add(b"one", stage="Production")
    world.sidecar._verify = lambda _: Verdict(ok=True, sha256=sha(b"swapped"))
    state = world.step().models[NAME]["champion"]
    assert (state.state, state.reason) == ("pending", "the file changed while it was verified")
    assert world.serving() is None


def test_other_bytes_under_the_same_tag_are_noticed_in_time(world):
    """A repaired artifact is found without anyone's help; the same bad bytes are not judged twice."""
    world.registry.add(b"half", tag=sha(b"whole"), stage="Production")
    world.step()
    world.step(RECHECK_S + 1)
    assert (world.registry.downloads, world.serving()) == ([1, 1], None)
    world.registry.files[NAME, 1] = b"whole"
    world.step()
    assert world.serving() is None
    world.step(RECHECK_S + 1)
    assert (world.serving(), len(world.verify.seen)) == ("1", 1)


def test_release_has_a_version_judged_anew_at_once(world):
    """For instance after the verifier was wrong."""
    world.registry.add(b"bad", stage="Production")
    world.step()
    world.verify.seen.clear()
    world.store.ask(Request(action="release", model=NAME, version="1", who="ada"))
    world.step()
    assert world.verify.seen == [b"bad"]
    assert world.state().state == "quarantined"


def test_a_missing_tag_is_awaited_then_quarantined_then_lifted_by_the_tag(world):
    """Registering sets the tag a moment after the version; without one nothing vouches for the bytes."""
    world.registry.add(b"one", tag=None, stage="Production")
    state = world.step().models[NAME]["champion"]
    assert (state.state, world.registry.downloads) == ("pending", [])
    assert "hotgate.sha256 is missing, waiting up to 60 s" in state.reason
    assert world.step(58).models[NAME]["champion"].state == "pending"
    state = world.step(3).models[NAME]["champion"]
    assert state.state == "quarantined"
    assert sha(b"one") in state.reason
    world.registry.change(1, tags={"hotgate.sha256": sha(b"one")})
    world.step()
    assert world.serving() == "1"


def test_a_tag_that_comes_in_time_is_followed_at_once(world):
    """No waiting for the end of the wait."""
    world.registry.add(b"one", tag=None, stage="Production")
    world.step()
    world.registry.change(1, tags={"hotgate.sha256": sha(b"one")})
    world.step()
    assert world.serving() == "1"


@pytest.mark.parametrize(
    "failure",
    [
        RegistryUnavailableError("sent 4 of 900 bytes"),
        OSError(errno.ENOSPC, "No space left on device"),
        RegistryError("s3://x is not handed out"),
    ],
    ids=["short read", "no space", "elsewhere"],
)
def test_what_may_pass_is_pending_and_retried_with_growing_pauses(world, failure):
    """Nothing is quarantined for what is not the bytes' fault; the reason is shown; the old one serves."""
    world.registry.add(b"one", stage="Production")
    world.step()
    world.registry.add(b"two")
    world.registry.promote(2)
    world.registry.files[NAME, 2] = failure
    for _ in range(30):
        state = world.step().models[NAME]["champion"]
    assert (state.state, state.serving, world.serving()) == ("pending", "1", "1")
    assert str(failure) in state.reason
    assert world.registry.downloads.count(2) == 4  # after 0, 2, 6 and 14 s
    assert not list((world.store.root / "incoming").iterdir())
    world.registry.files[NAME, 2] = b"two"
    world.step(60)
    assert world.serving() == "2"


def test_a_verifier_without_memory_is_pending_not_quarantine(world):
    """A verdict that another moment would change says nothing about the file."""
    world.registry.add(b"one", stage="Production")
    world.verify.busy = True
    state = world.step().models[NAME]["champion"]
    assert (state.state, state.reason) == ("pending", "no memory")
    world.verify.busy = False
    world.step(60)
    assert world.serving() == "1"


def test_a_full_disk_under_the_store_is_pending(world):
    """Neither the loop nor the manifest suffers."""
    world.registry.add(b"one", stage="Production")
    objects = world.store.root / "objects"
    objects.rmdir()
    objects.symlink_to("/proc")  # takes no file
    state = world.step().models[NAME]["champion"]
    assert state.state == "pending"
    objects.unlink()
    objects.mkdir()
    world.step(60)
    assert world.serving() == "1"


def test_a_version_that_is_not_ready_is_pending(world):
    """It is served when the registry says READY."""
    world.registry.add(b"one", stage="Production", status="PENDING_REGISTRATION")
    state = world.step().models[NAME]["champion"]
    assert (state.state, state.reason) == ("pending", "the registry says PENDING_REGISTRATION")
    assert world.registry.downloads == []
    world.registry.change(1, status="READY")
    world.step()
    assert world.serving() == "1"


def test_a_version_without_a_model_file_is_pending_with_the_cure(world):
    """The operator reads what to run."""
    world.registry.add(None, tag="0" * 64, stage="Production")
    state = world.step().models[NAME]["champion"]
    assert (state.state, "hotgate convert models:/cancer-classifier/1 --register" in state.reason) == ("pending", True)


def test_a_registry_that_is_down_changes_nothing_and_is_told_once(world, caplog):
    """The state stays, the status says since when, the log has one line a change."""
    caplog.set_level(logging.INFO, "hotgate")
    world.registry.add(b"one", stage="Production")
    up = world.step()
    stamp = world.store.stamp()
    world.registry.down = "connection refused"
    downs = [world.step() for _ in range(20)]
    assert world.store.stamp() == stamp
    assert {(status.registry.reachable, status.registry.since) for status in downs} == {
        (False, downs[0].registry.since)
    }
    assert downs[-1].last_poll == up.last_poll
    assert downs[-1].models == up.models
    assert world.sidecar.pause_s() > 10
    world.registry.down = ""
    world.registry.add(b"two")
    world.registry.promote(2)
    back = world.step()
    assert (world.serving(), back.registry.reachable, world.sidecar.pause_s() < 1.2) == ("2", True, True)
    assert caplog.text.count("the registry does not answer, what is served goes on: connection refused") == 1
    assert caplog.text.count("the registry answers again") == 1


def test_a_registry_that_is_down_at_the_start_keeps_what_is_served(world):
    """A restart in an outage serves on, and knows since when."""
    world.registry.add(b"one", stage="Production")
    world.step()
    world.restart()
    world.registry.down = "refused"
    first, later = world.step(), world.step(50)
    assert (world.serving(), later.registry.since, later.last_poll) == ("1", first.registry.since, None)


def test_unpublish_works_while_the_registry_is_down(world):
    """An operator's word needs no registry."""
    world.registry.add(b"one", stage="Production")
    world.step()
    world.registry.down = "refused"
    world.store.unpublish(NAME)
    world.step()
    assert world.serving() is None


def test_one_odd_model_does_not_stop_the_others(world):
    """Its own state says what is wrong with it."""
    world.registry.add(b"a", stage="Production", name="a")
    world.registry.add(b"b", stage="Production", name="b")
    world.registry.failing["a"] = RegistryError("403 for a")
    status = world.step()
    assert (world.serving("b"), status.registry.reachable) == ("1", True)
    assert (status.models["a"]["champion"].state, status.models["a"]["champion"].reason) == ("pending", "403 for a")


def test_a_served_object_that_was_lost_is_fetched_again(world):
    """A damaged store heals with the next change; a new process would not load it otherwise."""
    world.registry.add(b"one", stage="Production")
    world.registry.add(b"two")
    for number in (1, 2):
        world.registry.promote(number)
        world.step()
    world.store.object_path(sha(b"one")).write_bytes(b"rot")
    world.registry.promote(1)
    world.step()
    assert world.store.load(sha(b"one")) == b"one"
    assert world.registry.downloads == [1, 2, 1]


def test_tags_are_written_once_and_a_read_only_token_is_enough(world, caplog):
    """Telling the registry is a courtesy."""
    caplog.set_level(logging.INFO, "hotgate")
    world.registry.add(b"one", stage="Production")
    world.registry.add(b"bad", stage="Staging")
    world.step()
    world.step()
    assert [(number, value.partition(";")[0]) for number, _, value in world.registry.tags_set] == [
        (1, "serving as champion"),
        (2, "quarantined: golden row 3 is off by 0.2"),
    ]
    world.registry.read_only = True
    for number in (3, 4):
        world.registry.add(b"%d" % number)
        world.registry.promote(number)
        world.step()
    assert world.serving() == "4"
    assert caplog.text.count("takes no tags from here, which is fine") == 1


def decision(after, *, target="stage:Production", who="ada", why="better"):
    fields = {"who": who, "when": "2027-01-15T08:00:00Z", "why": why, "action": "promote", "target": target}
    return json.dumps({**fields, "from": "1", "to": after, "verdict": "parity: pass", "sha256": "0" * 64})


def test_history_names_who_decided_or_the_registry(world):
    """A change with a decision behind it carries its author; one by hand says so."""
    world.registry.model_tags = {
        "hotgate.decision.20270101T000000.000000Z.aa": decision("2"),
        "hotgate.decision.20270102T000000.000000Z.aa": decision("1", target="alias:x", who="eve"),
        "hotgate.decision.20270103T000000.000000Z.aa": "{torn",
    }
    world.registry.add(b"one", stage="Production")
    world.registry.add(b"two")
    world.step()
    world.registry.promote(2)
    world.step()
    assert [(line.after.version, line.who, line.reason) for line in world.store.history()] == [
        ("1", "registry", "stage:Production names version 1"),
        ("2", "ada", "better"),
    ]


def test_unnamed_objects_are_collected_after_their_time(make_world):
    """The store does not grow for ever."""
    world = make_world(hold_objects_s=0.0, history_keep=1)
    for number in range(1, 5):
        world.registry.add(b"%d" % number)
        world.registry.promote(number)
        world.wall.now += 10**9  # objects carry the real clock's time
        world.step()
    kept = {path.stem for path in (world.store.root / "objects").iterdir()}
    assert kept == {sha(b"3"), sha(b"4")}


def test_the_status_file_can_be_read_by_others(world):
    """`/health` and metrics read it."""
    assert read_status(status_path(world.store)) is None
    world.registry.add(b"one", stage="Production")
    status = world.step()
    assert read_status(status_path(world.store)) == status
    assert str(status.models[NAME]["champion"]) == "serving 1"
    assert str(status.models[NAME]["challenger"]) == "empty: stage:Staging names no version"


def test_the_loop_survives_a_pass_that_raises_and_stops_when_told(world, caplog):
    """A bug in one pass is logged and does not end the sidecar."""
    stop = threading.Event()
    world.registry.add(b"one", stage="Production")
    passes = []

    def names():
        passes.append(1)
        if len(passes) == 1:
            raise ZeroDivisionError
        stop.set()
        return [NAME]

    world.registry.names = names
    world.settings = msgspec.structs.replace(world.settings, poll_interval_s=0.05)
    world.restart()
    world.sidecar.run(stop)
    assert (len(passes), world.serving()) == (2, "1")
    assert "this pass failed" in caplog.text


def test_a_store_has_one_sidecar(world):
    """The lock belongs to the writer that the sidecar was given."""
    with pytest.raises(StoreLockedError), ModelStore(world.store.root).writer():
        pass
