"""The model store holds its promises to readers whatever happens to its writer."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from fakes import Clock

from gateway.store import Cause, Entry, Manifest, ModelRoles, ModelStore, ObjectError, StoreError, StoreLockedError

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def store(tmp_path, clock):
    return ModelStore(tmp_path / "store", clock)


def publish(store, data, *, name="cancer-classifier", version="1", cause=None):
    with store.writer() as writer:
        entry = Entry(version=version, sha256=writer.put(data))
        causes = {(name, "champion"): cause} if cause else None
        writer.publish({**store.read().models, name: ModelRoles(champion=entry)}, causes)
    return entry


def test_a_store_that_nobody_wrote_reads_as_generation_zero(store):
    """Reading needs no folder and makes none."""
    assert store.read() == Manifest(generation=0, models={})
    assert store.stamp() == (0, 0, 0)
    assert store.history() == []
    assert not store.root.exists()


def test_manifest_has_the_documented_shape(store):
    """Other programs read serving.json too."""
    with store.writer() as writer:
        one, two = writer.put(b"one"), writer.put(b"two")
        roles = ModelRoles(champion=Entry(version="3", sha256=one), challenger=Entry(version="4", sha256=two))
        writer.publish({"cancer-classifier": roles, "plain": ModelRoles(champion=Entry(version="1", sha256=one))})
    assert json.loads(store.manifest_path.read_bytes()) == {
        "generation": 1,
        "models": {
            "cancer-classifier": {
                "champion": {"version": "3", "sha256": one},
                "challenger": {"version": "4", "sha256": two},
            },
            "plain": {"champion": {"version": "1", "sha256": one}},
        },
    }


def test_every_publish_changes_the_stamp_and_the_generation(store):
    """A worker that polls the stamp misses nothing, even equal sizes within one clock tick."""
    seen = set()
    for number in range(20):
        publish(store, b"a" if number % 2 else b"b")
        seen.add(store.stamp())
    assert len(seen) == 20
    assert store.read().generation == 20


def test_a_reader_in_the_middle_of_a_publish_keeps_the_whole_old_manifest(store):
    """The manifest is replaced, never written over."""
    publish(store, b"one")
    with store.manifest_path.open("rb") as file:
        publish(store, b"two", version="2")
        assert json.loads(file.read())["generation"] == 1
    assert store.read().generation == 2


def test_publishing_the_same_again_changes_nothing(store):
    """The sidecar may publish in every pass."""
    publish(store, b"model")
    before = store.stamp(), store.read(), store.history()
    publish(store, b"model")
    assert (store.stamp(), store.read(), store.history()) == before


def test_load_returns_the_bytes_that_were_put(store):
    """What goes in comes out, under its own hash."""
    entry = publish(store, b"model")
    assert entry.sha256 == hashlib.sha256(b"model").hexdigest()
    assert store.load(entry.sha256) == b"model"
    assert store.object_path(entry.sha256).name == f"{entry.sha256}.onnx"


def test_load_refuses_other_bytes_and_names_both_hashes(store):
    """A damaged disk is noticed before a session is made."""
    entry = publish(store, b"model")
    store.object_path(entry.sha256).write_bytes(b"m0del")
    got = hashlib.sha256(b"m0del").hexdigest()
    with pytest.raises(ObjectError, match=f"{entry.sha256}.onnx: wanted SHA-256 {entry.sha256}, got {got}"):
        store.load(entry.sha256)
    store.object_path(entry.sha256).unlink()
    with pytest.raises(ObjectError, match="is missing"):
        store.load(entry.sha256)


def test_put_heals_a_damaged_object(store):
    """The same bytes again cost nothing, unless what lies there is not them."""
    entry = publish(store, b"model")
    path = store.object_path(entry.sha256)
    inode = path.stat().st_ino
    with store.writer() as writer:
        writer.put(b"model")
        assert path.stat().st_ino == inode
        path.write_bytes(b"")
        writer.put(b"model")
    assert store.load(entry.sha256) == b"model"


def test_a_manifest_cannot_name_what_is_not_there(store):
    """Publishing checks first, so that a reader never meets a dangling name."""
    with store.writer() as writer, pytest.raises(ObjectError, match="put it before publishing"):
        writer.publish({"m": ModelRoles(champion=Entry(version="1", sha256="0" * 64))})
    assert store.read() == Manifest()


@pytest.mark.parametrize("name", ["../../etc/passwd", "0" * 63, "0" * 64 + "\n", "G" * 64])
def test_a_manifest_whose_hash_is_a_path_is_refused(store, name):
    """A hash becomes part of a path: nothing else may stand there."""
    store.root.mkdir(parents=True)
    content = {"generation": 1, "models": {"m": {"champion": {"version": "1", "sha256": name}}}}
    store.manifest_path.write_bytes(msgspec.json.encode(content))
    with pytest.raises(StoreError, match=r"serving\.json.*sha256"):
        store.read()


def test_history_tells_time_model_role_from_to_reason_and_who(store, clock):
    """One line for every entry that changed, in the documented words."""
    one = publish(store, b"one", cause=Cause(reason="first", who="ada"))
    clock.now += 60
    two = publish(store, b"two", version="2")
    lines = [json.loads(line) for line in store.history_path.read_text().splitlines()]
    assert [(line["from"], line["to"]) for line in lines] == [
        (None, {"version": "1", "sha256": one.sha256}),
        ({"version": "1", "sha256": one.sha256}, {"version": "2", "sha256": two.sha256}),
    ]
    assert [(line["who"], line["reason"]) for line in lines] == [
        ("ada", "first"),
        ("registry", "changed in the registry"),
    ]
    assert lines[1]["time"] == datetime.fromtimestamp(NOW + 60, UTC).isoformat().replace("+00:00", "Z")
    assert {(line["model"], line["role"]) for line in lines} == {("cancer-classifier", "champion")}


def test_an_orphans_mark_is_published_but_is_no_change_of_what_serves(store):
    """The mark stands beside the entry; the entry stays equal, so no worker swaps."""
    entry = publish(store, b"model")
    with store.writer() as writer:
        writer.publish({"cancer-classifier": ModelRoles(champion=entry, orphaned=True)})
    assert store.read().models["cancer-classifier"].orphaned
    assert store.read().generation == 2
    assert len(store.history()) == 1


@pytest.mark.parametrize("torn", [b'{"time": "2027', b"\0" * 40])
def test_a_torn_last_line_breaks_neither_reading_nor_appending(store, torn):
    """A power loss may leave half a line."""
    publish(store, b"one")
    with store.history_path.open("ab") as file:
        file.write(torn)
    assert [change.after.version for change in store.history()] == ["1"]
    publish(store, b"two", version="2")
    assert [change.after.version for change in store.history()] == ["1", "2"]
    assert torn not in store.history_path.read_bytes()


def test_a_damaged_line_in_the_middle_costs_only_itself(store):
    """What a disk did to one line is not held against the others."""
    publish(store, b"one")
    with store.history_path.open("ab") as file:
        file.write(b"\0\0\0\n")
    publish(store, b"two", version="2")
    assert [change.after.version for change in store.history()] == ["1", "2"]


def test_removing_the_manifest_does_not_disown_the_history(store):
    """The advice in the error message must be safe to follow."""
    for number in range(1, 4):
        publish(store, b"%d" % number, version=str(number))
    store.manifest_path.unlink()
    publish(store, b"4", version="4")
    assert [change.after.version for change in store.history()] == ["1", "2", "3", "4"]
    assert store.read().generation == 4


def test_a_publish_without_space_leaves_the_old_state_and_can_be_repeated(store):
    """No space is no reason to lose a served model or to write a history of what never was."""
    publish(store, b"one")
    with store.writer() as writer:
        new = {"cancer-classifier": ModelRoles(champion=Entry(version="2", sha256=writer.put(b"two")))}
        blocker = store.manifest_path.with_name(f".serving.json.{os.getpid()}.tmp")
        blocker.symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            writer.publish(new)
        assert store.read().generation == 1
        assert len(store.history()) == 1
        writer.publish(new)
    assert [change.after.version for change in store.history()] == ["1", "2"]


KILLED = """
    import os, sys
    from pathlib import Path
    from gateway.store import Entry, ModelRoles, ModelStore
    from tests.gateway.killing import kill_at

    root = Path(sys.argv[1])

    def attempt(store):
        with store.writer() as writer:
            entry = Entry(version="2", sha256=writer.put(b"two"))
            writer.publish({"m": ModelRoles(champion=entry)})

    def seed(store):
        with store.writer() as writer:
            writer.publish({"m": ModelRoles(champion=Entry(version="1", sha256=writer.put(b"one")))})

    step = 0
    while True:
        step += 1
        store = ModelStore(root / str(step))
        seed(store)
        child = os.fork()
        if not child:
            sys.settrace(kill_at(step, "gateway/store"))
            attempt(store)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not status:
            print(step)
            break
        versions = [change.after.version for change in store.history()]
        served = store.read().models["m"].champion
        store.load(served.sha256)
        assert versions[-1] == served.version, (step, versions, served)
        attempt(store)
        assert [change.after.version for change in store.history()] == ["1", "2"], step
        assert len(store.history_path.read_bytes().splitlines()) == 2, step
        assert not list(root.joinpath(str(step)).rglob(".*.tmp")), step
"""


def test_sigkill_at_every_step_of_a_publish_leaves_a_readable_store(tmp_path):
    """At each line, history and manifest agree, and the next writer carries on."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


HOLDING = """
import sys
from pathlib import Path
from gateway.store import ModelStore
with ModelStore(Path(sys.argv[1])).writer():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_the_lock(store):
    """One writer; the message names the process to stop."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDING,
            str(store.root),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreLockedError, match=f"held by process {holder.pid}") as caught, store.writer():
            pass
        assert caught.value.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with store.writer():  # the lock died with its process
            assert (store.root / "lock").read_text() == f"{os.getpid()}\n"


def test_collect_keeps_what_is_served_what_history_may_need_and_what_is_young(store, clock):
    """Rollback finds its bytes for `keep` changes; a fresh download survives until it is named."""
    entries = [publish(store, b"%d" % number, version=str(number)) for number in range(5)]
    for entry in entries:
        os.utime(store.object_path(entry.sha256), (NOW, NOW))
    clock.now += 100
    with store.writer() as writer:
        young = writer.put(b"young")
        os.utime(store.object_path(young), (clock.now, clock.now))
        assert writer.collect(keep=1, hold_s=200) == []
        removed = writer.collect(keep=2, hold_s=50)
        assert set(removed) == {entry.sha256 for entry in entries[:2]}
        assert store.object_path(young).exists()
        assert set(writer.collect(keep=0, hold_s=50)) == {entry.sha256 for entry in entries[2:4]}
    assert store.load(entries[4].sha256) == b"4"


def test_collect_counts_history_per_model(store, clock):
    """A model that flaps does not take another one's way back."""
    calm = [publish(store, b"calm-%d" % number, name="calm", version=str(number)) for number in range(2)]
    for number in range(6):
        publish(store, b"flap-%d" % number, name="flapping", version=str(number))
    clock.now += 10**9
    with store.writer() as writer:
        writer.collect(keep=1, hold_s=0)
    assert store.load(calm[0].sha256) == b"calm-0"


def test_unpublish_takes_the_model_away_and_says_who(store):
    """With nobody else writing it is done at once."""
    entry = publish(store, b"model")
    assert store.unpublish("cancer-classifier", who="ada", reason="retired") is None
    assert store.read().models == {}
    last = store.history()[-1]
    assert (last.before, last.after, last.who, last.reason) == (entry, None, "ada", "retired")


def test_unpublish_hands_over_to_the_process_that_holds_the_lock(store):
    """The holder finds the request, once, in the order they were made."""
    publish(store, b"model")
    with store.writer() as writer:
        assert store.unpublish("cancer-classifier", who="ada") == os.getpid()
        assert store.unpublish("other") == os.getpid()
        assert list(store.read().models) == ["cancer-classifier"]
        (store.requests_path / "0-torn.json").write_bytes(b"{")
        taken = writer.take_requests()
        assert sorted((item.action, item.model, item.who) for item in taken) == [
            ("unpublish", "cancer-classifier", "ada"),
            ("unpublish", "other", "unknown"),
        ]
        assert writer.take_requests() == []


def test_the_readers_half_imports_nothing_heavy():
    """A worker pays for the store in microseconds and kilobytes."""
    code = "import sys, gateway.store; print(sorted({'gateway.store_writer', 'mlflow', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
