"""Alarms: one alert when a breach begins and one when it ends, whatever the observer and its disk do meanwhile."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest
from alarm_world import BEGIN, WINDOW, Says, World

from gateway.alerts import Alert
from gateway.counts import ModelCounts, Served
from gateway.observe.alarms import KEEP_S, UNHEARD_S
from gateway.observe.alert_file import FILE_BYTES, AlertFile
from gateway.observe.breach import SILENT_S
from gateway.observe.folding import Folding


@pytest.fixture
def world(tmp_path):
    """Whose first window is calm."""
    made = World(tmp_path)
    made.pass_window(0.0)
    return made


def test_a_breach_is_told_once_when_it_begins_and_once_when_it_ends(world):
    """However many windows it lasts; with who, since when, and what it rests on."""
    for shift in (0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0):
        world.pass_window(shift)
    assert world.told == [("firing", "data_drift", "critical"), ("resolved", "data_drift", "critical")]
    firing, resolved = world.delivered
    assert firing.id == resolved.id
    assert (firing.model, firing.version, firing.sha256) == ("cancer", "3", "a" * 64)
    assert (firing.started_at, firing.ended_at) == (BEGIN + 2 * WINDOW, None)
    assert (resolved.started_at, resolved.ended_at) == (BEGIN + 2 * WINDOW, BEGIN + 8 * WINDOW)
    (column,) = firing.evidence
    assert (column.name, column.statistic, column.threshold, column.n, column.window_s) == (
        "a",
        "psi",
        0.2,
        400,
        WINDOW,
    )
    assert column.value > 0.5


def test_one_drifted_window_is_no_breach_and_a_quiet_night_ends_none(world):
    """Hysteresis, and silence is no news."""
    for shift in (1.0, 0.0, 1.0, 0.0):
        world.pass_window(shift)
    assert world.told == []
    for shift in (1.0, None, None, 1.0, None, None, None):
        world.pass_window(shift)
    assert world.told == [("firing", "data_drift", "critical")]


def test_a_version_that_is_heard_of_no_more_ends_its_breach(world):
    """After a day."""
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    for _ in range(int(SILENT_S / WINDOW) + 1):
        world.pass_window()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]


def test_a_breach_of_a_version_that_was_replaced_ends_with_its_traffic(world, tmp_path):
    """After two windows, as with any calm ones; what scores still is judged as ever, and so is the new one itself."""
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    ModelCounts(tmp_path / "counts" / ("b" * 64)).tell_served(Served(model="cancer", version="4", since=world.now))
    world.pass_window(1.0)
    assert [state for state, _, _ in world.told] == ["firing"]
    world.pass_window()
    assert [state for state, _, _ in world.told] == ["firing"]
    world.pass_window()
    assert [(alert.state, alert.version) for alert in world.delivered] == [("firing", "3"), ("resolved", "3")]


def test_counts_that_do_not_say_whose_they_are_are_judged_too(world, tmp_path):
    """The disk was full when they began; silence ends nothing there."""
    for path in (tmp_path / "counts" / ("a" * 64)).glob("served*"):
        path.unlink()
    for shift in (1.0, 1.0, None, None):
        world.pass_window(shift)
    assert [(alert.state, alert.model) for alert in world.delivered] == [("firing", "?")]


def test_a_breach_goes_on_while_the_version_that_came_last_is_quiet(world, tmp_path):
    """A version before it, or one of another model, has replaced nothing."""
    others = ModelCounts(tmp_path / "counts" / ("b" * 64))
    others.tell_served(Served(model="cancer", version="2", since=BEGIN - 900))
    others.tell_served(Served(model="other", version="9", since=BEGIN + 900))
    for shift in (1.0, 1.0, None, None, None):
        world.pass_window(shift)
    assert [state for state, _, _ in world.told] == ["firing"]


def test_an_observer_that_takes_over_tells_nothing_twice_and_forgets_nothing(world):
    """Restarted before every pass, and away for a part of the breach: its windows are judged later, if folded too."""
    for number, shift in enumerate((0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0)):
        world.restart()
        world.pass_window(shift, look=number not in {2, 3})
        Folding(world.counts).look(world.now)
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]
    assert len({alert.id for alert in world.delivered}) == 1
    assert world.delivered[0].started_at == BEGIN + 2 * WINDOW


def test_what_cannot_be_delivered_waits_also_through_a_restart(world):
    """And comes in order."""
    world.fails = True
    problems = []
    for shift in (1.0, 1.0, 0.0, 0.0):
        world.pass_window(shift, look=False)
        problems.append(world.look())
        world.restart()
    assert (world.told, problems) == ([], [{}, *[{"world": "nobody listens"}] * 3])
    world.fails = False
    world.look()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]
    world.restart()
    world.look()
    assert len(world.delivered) == 2


def test_a_crash_behind_the_delivery_delivers_the_same_alert_again_and_the_file_has_it_once(world, tmp_path):
    """At least once to a sink; the file leaves out what it has, also behind a line that was torn."""
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b'{"torn')
    world.restart(AlertFile(path), world)
    world.pass_window(1.0)
    saved = (tmp_path / "alarms.json").read_bytes()
    world.pass_window(1.0)
    (tmp_path / "alarms.json").write_bytes(saved)
    world.restart(AlertFile(path), world)
    world.look()
    assert len(world.delivered) == 2
    assert world.delivered[0] == world.delivered[1]
    torn, line = path.read_bytes().splitlines()
    assert torn == b'{"torn'
    assert msgspec.json.decode(line, type=Alert) == world.delivered[0]


def test_a_damaged_state_begins_anew(world, tmp_path, caplog):
    """It is told; what fires still fires again after two windows."""
    (tmp_path / "alarms.json").write_bytes(b"{")
    world.restart()
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert "alarms begin anew" in caplog.text
    assert [state for state, _, _ in world.told] == ["firing"]


def test_a_sink_that_fails_holds_up_no_other_and_is_left_alone_for_a_while(world, tmp_path):
    """The file has the alert at once; the other is tried again after 5, 10, 20 seconds."""
    path = tmp_path / "alerts.jsonl"
    world.restart(world, AlertFile(path))
    world.fails = True
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert len(path.read_bytes().splitlines()) == 1
    tries = []
    world.deliver = lambda _: tries.append(world.now) or _raise()
    begin = world.now
    for _ in range(40):
        world.look()
        world.now += 1
    assert [round(at - begin) for at in tries] == [5 + 5, 15 + 5, 35 + 5][: len(tries)]
    assert len(tries) >= 2


def _raise():
    raise OSError("nobody listens")


def test_the_alert_that_ends_names_the_version_of_the_one_that_began(world):
    """Whatever the same bytes are called by then: a receiver knows it by its name."""
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    world.counts.tell_served(Served(model="cancer", version="4", since=world.now))
    for shift in (0.0, 0.0):
        world.pass_window(shift)
    assert [alert.version for alert in world.delivered] == ["3", "3"]


def test_an_end_is_told_to_those_who_were_told_of_the_begin(world, tmp_path):
    """A sink that came between the two hears nothing."""
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    path = tmp_path / "alerts.jsonl"
    world.restart(world, AlertFile(path))
    for shift in (0.0, 0.0):
        world.pass_window(shift)
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]
    assert not path.exists()


def test_a_source_that_has_made_sure_is_believed_at_once(world, tmp_path):
    """What it says again is no news and costs no write; not to know is no news either."""
    says = Says("registry")
    world.sources = [says]
    world.restart()
    world.look()
    kept = (tmp_path / "alarms.json").stat().st_ino
    for names in (("registry",), None, ("registry",)):
        world.now += 60
        says.names = names
        world.look()
    assert (tmp_path / "alarms.json").stat().st_ino == kept
    assert world.told == [("firing", "ops", "warning")]
    world.restart()
    says.names = ()
    for _ in range(2):
        world.look()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]
    firing, resolved = world.delivered
    assert (firing.id, firing.started_at, firing.text) == (resolved.id, firing.started_at, "Mend it.")
    assert firing.evidence == resolved.evidence
    assert "registry" not in (tmp_path / "alarms.json").read_text()


def test_what_no_source_speaks_of_any_more_is_over(world):
    """After two days, and not because an observer was away."""
    world.sources = [Says("registry")]
    world.restart()
    world.look()
    world.now += UNHEARD_S
    world.sources = []
    world.restart()
    world.look()
    assert [state for state, _, _ in world.told] == ["firing"]
    world.now += UNHEARD_S
    world.look()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]


def test_a_source_that_fails_silences_no_other(world):
    """It is told, and asked again."""
    broken = Says()
    broken.names = ValueError("no such column")
    world.sources = [broken, *world.sources]
    world.restart()
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert [state for state, _, _ in world.told] == ["firing"]
    assert world.look() == {"says": "cannot be asked: ValueError('no such column')"}
    broken.names = ()
    assert world.look() == {}


def test_a_state_that_cannot_be_written_keeps_nobody_from_being_told(world, tmp_path):
    """A full disk is what one wants to hear of; it is written as soon as that is possible."""
    says = Says("disk")
    world.sources = [says]
    world.restart()
    path = tmp_path / "alarms.json"
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    problems = world.look()
    assert "are kept in memory only" in problems["alarms"]
    assert [state for state, _, _ in world.told] == ["firing"]
    (path / "in the way").rmdir()
    path.rmdir()
    assert world.look() == {}
    world.restart()
    says.names = ()
    world.look()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]


def test_an_alarm_of_counts_that_are_gone_is_forgotten(world, tmp_path):
    """Not before its counts would be."""
    shutil.rmtree(world.counts.folder)
    world.now += KEEP_S - WINDOW
    world.look()
    assert len(json.loads((tmp_path / "alarms.json").read_bytes())["breaches"]) == 3
    world.now += WINDOW
    world.look()
    assert json.loads((tmp_path / "alarms.json").read_bytes())["breaches"] == {}
    assert world.alerter._heard == {}


def test_the_record_is_cut_and_still_leaves_out_what_it_has(tmp_path):
    """One older file is kept beside it."""
    path = tmp_path / "alerts.jsonl"
    file = AlertFile(path)
    alert = Alert(
        id="a", state="firing", model="m", version="1", sha256="", kind="data_drift", severity="warning",
        started_at=0.0, ended_at=None, evidence=[],
    )  # fmt: skip
    file.deliver(alert)
    with path.open("ab") as full:
        full.truncate(FILE_BYTES)
    file.deliver(msgspec.structs.replace(alert, id="b"))
    file.deliver(alert)
    assert [msgspec.json.decode(line)["id"] for line in path.read_bytes().splitlines()] == ["b"]
    assert sorted(child.name for child in tmp_path.iterdir()) == ["alerts.jsonl", "alerts.jsonl.1"]
