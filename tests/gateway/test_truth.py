"""Every label is joined once with what was predicted, or is counted under the reason why not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from truth_world import VERSION, World

from gateway.observe.labels import labels_for
from gateway.observe.scored import Version
from gateway.observe.truth import WAIT_S
from gateway.observe.truth_store import SEGMENT_ROWS, TruthStore, keys_of
from gateway.predictions import is_sampled
from gateway.spool import Spool


@pytest.fixture
def world(tmp_path):
    """An empty home."""
    return World(tmp_path)


def test_a_label_is_joined_whether_it_comes_after_its_prediction_or_before(world):
    """And not while the other one is missing."""
    world.predict(["late", "never-labelled"])
    world.tell(("late", 1), ("early", 0))
    assert world.feedback == {"joined": 1, "waiting": 1}
    world.predict(["early"])
    assert world.feedback == {"joined": 2}
    assert world.joined() == [("early", 0, 0), ("late", 0, 1)]


def test_a_file_of_before_there_were_numbers_is_read_on(world):
    """Its labels and predictions were all of classes with probabilities."""
    world.predict(["a", "b"])
    world.tell(("a", 1))
    world.truth.close()
    with contextlib.closing(sqlite3.connect(world.folder / "truth.sqlite")) as before:
        before.executescript(
            "ALTER TABLE labels RENAME COLUMN answer TO probabilities; ALTER TABLE versions DROP COLUMN judged;"
        )
    world.restart()
    world.tell(("b", 0))
    world.restart()
    assert world.joined() == [("a", 0, 1), ("b", 0, 0)]
    assert list(world.truth.store.versions.values()) == [VERSION]


def test_rows_of_one_request_are_told_apart(world):
    """By their number."""
    world.predict(["r"] * 3, rows=[0, 1, 2])
    world.tell(("r", 2, 1), ("r", 0, 0), ("r", 3, 1))
    assert world.joined() == [("r", 0, 0), ("r", 2, 1)]
    assert world.feedback == {"joined": 2, "waiting": 1}


def test_the_same_label_again_is_nothing_and_another_one_takes_its_place(world):
    """Before and after the join, in one delivery and in several."""
    world.tell(("a", 1), ("a", 1), ("a", 0))
    assert world.feedback == {"waiting": 1, "duplicate": 1, "contradictory": 1}
    world.predict(["a"])
    assert world.joined() == [("a", 0, 0)]
    world.tell(("a", 1))
    world.tell(("a", 1))
    assert world.joined() == [("a", 0, 1)]
    assert world.feedback == {"joined": 1, "duplicate": 2, "contradictory": 2}


def test_of_two_labels_the_one_that_was_received_last_wins(world):
    """Whichever worker's file the observer comes to first; the same label again counts as received again."""
    world.predict(["a", "b"])
    world.now += 10
    world.tell(("a", 1), ("b", 0))
    world.now -= 5
    world.tell(("a", 0))
    world.now += 10
    world.tell(("b", 0))
    world.now -= 3
    world.tell(("b", 1))
    assert world.joined() == [("a", 0, 1), ("b", 0, 0)]
    assert world.feedback == {"joined": 2, "duplicate": 1, "contradictory": 2}


@pytest.mark.parametrize("when", ["before", "between", "after", "at once"])
def test_an_id_that_two_predictions_have_is_left_out(world, when):
    """Whenever the label comes."""
    if when == "before":
        world.tell(("twice", 1), ("once", 1))
    world.predict(["twice", "once"])
    if when == "between":
        world.tell(("twice", 1), ("once", 1))
        assert world.feedback == {"joined": 2}
    world.predict(["twice"])
    if when == "after":
        world.tell(("twice", 1), ("once", 1))
    if when == "at once":
        world.predict(["thrice", "thrice"])
        world.tell(("twice", 1), ("once", 1), ("thrice", 0))
    assert world.joined() == [("once", 0, 1)]
    assert world.feedback["ambiguous"] == 2 if when == "at once" else 1
    world.tell(("twice", 0))
    assert world.joined() == [("once", 0, 1)]


def test_a_label_of_nobody_waits_for_an_hour_and_is_then_unknown(world):
    """It is joined after all if its prediction comes: the observer may have been away."""
    world.tell(("x", 1))
    world.now += WAIT_S - 1
    world.truth.look()
    assert world.feedback == {"waiting": 1}
    world.now += 2
    world.truth.look()
    assert world.feedback == {"unknown": 1}
    world.predict(["x"])
    assert world.feedback == {"joined": 1}


def test_a_label_of_a_prediction_that_is_not_kept_any_more_is_expired(tmp_path):
    """By number and by age; what was joined before stays; beyond twice the rows it is of nobody."""
    world = World(tmp_path, keep_rows=1000)
    world.predict(["old", "joined"])
    world.tell(("joined", 1))
    world.predict([f"a{index}" for index in range(999)])
    world.tell(("old", 1))
    assert world.feedback == {"joined": 1, "expired": 1}
    world.predict([f"b{index}" for index in range(999)])
    world.predict([f"c{index}" for index in range(999)])
    world.tell(("a3", 1), ("b3", 1), ("c3", 1))
    assert world.feedback == {"joined": 2, "expired": 2, "waiting": 1}
    world.now += 31 * 86_400
    world.predict(["new"])
    world.tell(("c4", 1), ("new", 1))
    assert world.feedback["expired"] == 3
    assert ("new", 0, 1) in world.joined()


def test_a_label_of_a_request_that_is_not_logged_is_told_from_one_of_nobody(tmp_path):
    """By the same hash that the log leaves it out by."""
    world = World(tmp_path, sampled=0.5)
    ids = [f"request-{index}" for index in range(100)]
    kept = [name for name in ids if is_sampled(name, 0.5)]
    assert 30 < len(kept) < 70
    world.predict(kept)
    world.tell(*((name, 1) for name in ids))
    assert world.feedback == {"joined": len(kept), "not_sampled": 100 - len(kept)}


def test_a_label_may_be_a_class_or_its_display_name_and_else_is_unusable(world):
    """It is told at the join, and mended by another label."""
    world.predict(["value", "name", "neither", "number"])
    world.tell(("value", 1), ("name", "malignant"), ("neither", "bening"), ("number", 1.0))
    assert world.joined() == [("name", 0, 0), ("number", 0, 1), ("value", 0, 1)]
    assert world.feedback == {"joined": 3, "unusable": 1}
    world.tell(("neither", "benign"), ("value", 7))
    assert world.joined() == [("name", 0, 0), ("neither", 0, 1), ("number", 0, 1)]
    assert world.feedback == {"joined": 3, "unusable": 1, "contradictory": 2}


def test_the_oldest_labels_are_dropped_beyond_those_that_are_kept(tmp_path):
    """And counted."""
    world = World(tmp_path, keep_rows=1000)
    world.tell(*((f"a{index}", 1) for index in range(600)))
    world.now += 1
    world.tell(*((f"b{index}", 1) for index in range(600)))
    assert world.feedback == {"waiting": 1000, "dropped": 200}
    world.predict(["b0", "a0"])
    assert len(world.truth.store.ask("SELECT 1 FROM labels WHERE request_id LIKE 'b%'")) == 600


def test_a_row_without_a_finite_answer_is_no_prediction(world):
    """The caller had an error."""
    world.predict(["nan", "fine"], p=[np.nan, 0.5])
    world.tell(("nan", 1), ("fine", 1))
    assert world.feedback == {"joined": 1, "waiting": 1}


def test_versions_are_told_apart(world):
    """Each label goes to the one that answered, also if both are of one file."""
    other = Version(**{**{name: getattr(VERSION, name) for name in VERSION.__struct_fields__}, "version": "2"})
    world.predict(["a", "b"])
    world.predict(["c"], version=other)
    world.tell(("a", 1), ("b", 1), ("c", 1))
    found = world.truth.store.ask("SELECT version, count(*) FROM labels GROUP BY version")
    assert [(world.truth.store.versions[number].version, n) for number, n in found] == [("1", 2), ("2", 1)]


def test_a_spool_file_counts_once(world):
    """Also if it is offered again, by this process or the next."""
    world.predict(["a"], source="one")
    world.predict(["a"], source="one")
    world.restart()
    world.predict(["a"], source="one")
    world.tell(("a", 1))
    assert world.feedback == {"joined": 1}


def test_a_frame_that_is_none_of_ours_is_put_aside_and_stops_nothing(world, caplog):
    """What is in the other files is joined."""
    spool = Spool(world.folder / "spool" / "feedback", limit_bytes=10**6, rotate_s=1, rotate_bytes=10**6)
    spool.append(b"nonsense")
    spool.close()
    world.predict(["a"])
    world.tell(("a", 1))
    assert world.feedback == {"joined": 1}
    assert "no labels" in caplog.text
    assert list((world.folder / "spool" / "feedback").glob("*.spool")) == []


def test_labels_of_several_workers_are_joined_in_the_order_in_which_they_came(world):
    """Whatever their files are called; so are the errors that detectors see."""
    world.predict([f"r{index}" for index in range(20)], at=world.now)
    for index in range(20):
        world.now += 0.01
        world.tell((f"r{index}", 1), look=False)
    world.truth.look()
    found = world.truth.store.ask("SELECT received FROM labels ORDER BY place")
    assert found == sorted(found)
    assert len(found) == 20


@settings(max_examples=25)
@given(st.data())
def test_what_is_found_does_not_depend_on_how_predictions_were_put_together(tmp_path_factory, data):
    """Any split over spool files, with restarts in between: every label finds its own row."""
    world = World(tmp_path_factory.mktemp("truth"))
    ids = [f"id-{index}" for index in range(40)]
    chance = np.linspace(0.01, 0.99, 40, dtype=np.float32)
    at = 0
    while at < 40:
        step = data.draw(st.integers(1, 20))
        world.predict(ids[at : at + step], chance[at : at + step])
        at += step
        if data.draw(st.booleans()):
            world.restart()
    world.tell(*((name, 1) for name in ids))
    found = world.truth.store.ask("SELECT request_id, answer FROM labels WHERE state = 'joined'")
    assert {name: np.frombuffer(p, "<f4")[1] for name, p in found} == dict(zip(ids, chance, strict=True))
    assert world.truth.store.scores(1, 0)[:, 0].sum(axis=1).tolist() == [40, 40]
    world.truth.close()


def test_segments_are_few_whatever_the_files_are(tmp_path):
    """A thousand files of a row each are about ten segments; none is larger than it may be."""
    store = TruthStore(tmp_path / "truth.sqlite")
    with store.transaction():
        version = store.version_id(VERSION)
        p = np.full((1, 2), 0.5, dtype=np.float32)
        for index in range(1000):
            store.add_segment(version, np.array([index]), np.array([float(index)]), p)
    sizes = [segment.keys.size for segment in store.segments.values()]
    assert sum(sizes) == 1000
    assert len(sizes) < 15
    with store.transaction():
        for start in range(0, 3 * SEGMENT_ROWS, SEGMENT_ROWS // 2):
            keys = np.arange(start, start + SEGMENT_ROWS // 2)
            store.add_segment(version, keys, keys.astype(float), np.tile(p, (keys.size, 1)))
    assert max(segment.keys.size for segment in store.segments.values()) == SEGMENT_ROWS
    store.close()


def test_keys_of_rows_and_requests_do_not_meet():
    """A million of them, of few requests with many rows and of many with one."""
    many = keys_of([f"boot-{index}" for index in range(100_000)], np.zeros(100_000, dtype=np.int64))
    rows = keys_of(["boot-x"] * 900_000, np.arange(900_000))
    assert np.unique(np.concatenate([many, rows])).size == 1_000_000


def test_a_full_disk_takes_nothing_in_by_halves(world, monkeypatch):
    """What failed is taken in later, once, and what is in memory is what is in the file."""
    world.predict(["a", "b"])
    world.tell(("a", 1), look=False)
    tell = TruthStore.tell

    def full(self, statement, rows):
        if "wrong = ?" in statement or "INSERT INTO segments" in statement:
            raise sqlite3.OperationalError("database or disk is full")
        tell(self, statement, rows)

    with monkeypatch.context() as patch:
        patch.setattr(TruthStore, "tell", full)
        with pytest.raises(sqlite3.OperationalError):
            world.truth.look()
        with pytest.raises(sqlite3.OperationalError):
            world.predict(["c", "d"], source="c")
    assert world.feedback == {}
    assert sum(segment.keys.size for segment in world.truth.store.segments.values()) == 2
    world.predict(["c", "d"], source="c")
    world.tell(("c", 1), ("b", 1))
    assert world.feedback == {"joined": 3}


def test_labels_for_export_are_classes_and_only_those_that_are_sure(world):
    """By request and row, as the model tells its classes."""
    path = world.folder / "truth.sqlite"
    assert labels_for(world.folder / "nothing.sqlite", ["a"], [0]) == [None]
    world.predict(["a", "b", "b2", "r", "r"], rows=[0, 0, 0, 0, 1])
    world.predict(["b2"])
    world.tell(("a", "benign"), ("b", "nonsense"), ("b2", 1), ("r", 1, 0))
    assert labels_for(path, ["a", "b", "b2", "r", "r", "x"], [0, 0, 0, 0, 1, 0]) == [1, None, None, None, 0, None]
    assert labels_for(path, [], []) == []
    (world.folder / "damaged.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match="cannot be read"):
        labels_for(world.folder / "damaged.sqlite", ["a"], [0])


KILLED = """
import os, sys
from pathlib import Path
from truth_world import World
from tests.gateway.killing import kill_at

STEPS = {"look", "predictions", "transaction", "_given", "_predicted"}

def session(world):
    world.predict(["a", "b", "c"], source="first")
    world.truth.look()
    world.predict(["d", "a"], source="second")
    world.truth.look()

EXPECTED = {"joined": 2, "ambiguous": 1, "duplicate": 1, "contradictory": 1, "waiting": 1}
root = Path(sys.argv[1])
for step in range(1, 5000, 2):
    folder = root / str(step)
    folder.mkdir()
    world = World(folder)
    world.tell(("a", 1), ("b", 1), ("b", 0), look=False)
    world.now += 1
    world.tell(("b", 0), ("d", 1), ("nobody", 1), look=False)
    world.truth.close()
    child = os.fork()
    if child == 0:
        world = World(folder)
        sys.settrace(kill_at(step, "/observe/truth", functions=STEPS))
        session(world)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    world = World(folder)
    session(world)
    assert world.feedback == EXPECTED, (step, world.feedback)
    assert world.joined() == [("b", 0, 0), ("d", 0, 1)], (step, world.joined())
    assert world.truth.store.scores(1, 0)[0, 0].sum() == 5, step
    assert list(folder.glob("spool/feedback/*.spool")) == [], step
    world.truth.close()
    if not status:
        print(step)
        break
"""


def test_sigkill_at_every_step_loses_no_label_and_doubles_none(tmp_path):
    """A child is killed at every second line around a commit; the next one ends where an undisturbed one does."""
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [here.parents[2], here.parent]))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60
