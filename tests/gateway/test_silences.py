"""Silences: nobody is told, all is recorded, and what outlasts a silence is told then."""

from __future__ import annotations

import json
import threading

import msgspec
import pytest
from alarm_world import BEGIN, WINDOW, Says, World
from click.testing import CliRunner

from gateway.alerts import Alert
from gateway.observe.alert_file import AlertFile
from gateway.observe.silences import LONGEST_S, SILENCES_MAX, Silences
from hotgate import main


@pytest.fixture
def world(tmp_path):
    """Whose first window is calm, with a record beside the sink."""
    made = World(tmp_path)
    made.restart(AlertFile(tmp_path / "alerts.jsonl"), made)
    made.pass_window(0.0)
    return made


def recorded(world):
    """State and whether it was silenced, of all alerts."""
    lines = (world.folder / "alerts.jsonl").read_bytes().splitlines()
    return [(alert.state, alert.silenced) for alert in (msgspec.json.decode(line, type=Alert) for line in lines)]


def silence(world, model="cancer", *, windows=8, **options):
    """One that lasts for so many windows from now."""
    given = {"kind": None, "feature": None, "who": "ann", "reason": "known", **options}
    return world.silences.add(model, for_s=windows * WINDOW, **given)


def test_a_silenced_breach_is_recorded_and_told_to_nobody(world):
    """Neither its begin nor its end."""
    silence(world)
    for shift in (1.0, 1.0, 0.0, 0.0):
        world.pass_window(shift)
    assert world.told == []
    assert recorded(world) == [("firing", True), ("resolved", True)]


def test_a_breach_that_outlasts_its_silence_is_told_then(world):
    """Once, under its own id and since when it began; and so is its end. A restart in between changes nothing."""
    silence(world, windows=4)
    for shift in (1.0, 1.0, 1.0):
        world.pass_window(shift)
        world.restart()
    assert world.told == []
    for shift in (1.0, 1.0, 0.0, 0.0):
        world.pass_window(shift)
        world.restart()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]
    assert recorded(world) == [("firing", True), ("firing", False), ("resolved", False)]
    assert {(alert.id, alert.started_at) for alert in world.delivered} == {
        (world.delivered[0].id, BEGIN + WINDOW),
    }


def test_an_end_is_told_also_under_a_silence_that_came_after_the_begin(world):
    """Who was told that it fires is told that it is over."""
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    silence(world)
    for shift in (0.0, 0.0):
        world.pass_window(shift)
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]


def test_ending_a_silence_tells_what_still_fires(world):
    """At the next look."""
    made = silence(world)
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert world.told == []
    assert world.silences.end(made.id)
    assert not world.silences.end(made.id)
    world.look()
    assert [state for state, _, _ in world.told] == ["firing"]


@pytest.mark.parametrize(
    ("model", "options", "silenced"),
    [
        ("cancer", {"kind": "data_drift"}, True),
        ("can*", {}, True),
        ("*", {"feature": "a"}, True),
        ("wine", {}, False),
        ("cancer", {"kind": "score_drift"}, False),
        ("cancer", {"feature": "b"}, False),
    ],
)
def test_a_silence_holds_for_what_it_names(world, model, options, silenced):
    """By model, kind and feature."""
    silence(world, model, **options)
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert (world.told == []) == silenced


def test_a_silence_of_one_feature_ends_where_another_one_joins(world):
    """Only what rests wholly on silenced features is silenced, by one silence or by several."""
    says = Says("a")
    world.sources = [says]
    world.restart()
    for feature in ("a", "b*"):
        silence(world, "*", feature=feature)
    world.look()
    says.names = ("a", "b1")
    world.look()
    assert world.told == []
    says.names = ("a", "b1", "c")
    world.look()
    assert [state for state, _, _ in world.told] == ["firing"]


def test_a_damaged_file_silences_nothing(world, caplog):
    """And says so."""
    (world.folder / "silences.json").write_bytes(b"{")
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert [state for state, _, _ in world.told] == ["firing"]
    assert "nothing is silenced" in caplog.text
    assert "is damaged, remove it" in caplog.text


def test_the_file_is_bounded_and_what_is_over_leaves_it(tmp_path):
    """No more than so many at once, none for ever."""
    now = [BEGIN]
    silences = Silences(tmp_path / "silences.json", lambda: now[0])
    add = lambda for_s=60.0: silences.add("m", kind=None, feature=None, for_s=for_s, who="ann", reason="r")  # noqa: E731
    for _ in range(SILENCES_MAX):
        add()
    with pytest.raises(ValueError, match="there are 200 silences already"):
        add()
    now[0] += 60
    add()
    assert len(json.loads((tmp_path / "silences.json").read_bytes())) == 1
    for wrong in (0.0, LONGEST_S + 1):
        with pytest.raises(ValueError, match="a silence lasts up to 90d"):
            add(wrong)
    with pytest.raises(ValueError, match="up to 500 characters"):
        silences.add("m" * 501, kind=None, feature=None, for_s=60.0, who="ann", reason="r")


def test_two_who_add_at_once_both_count(tmp_path):
    """Whoever comes second waits."""

    def add():
        silences = Silences(tmp_path / "silences.json")
        for _ in range(10):
            silences.add("m", kind=None, feature=None, for_s=60.0, who="ann", reason="r")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Silences(tmp_path / "silences.json").active()) == 40


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`hotgate silence` in a home of its own."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(main, ["silence", *arguments])


def test_silences_are_made_listed_and_ended_by_command(run):
    """Who, why and until when are shown; as JSON too."""
    assert run("--list").output == "nothing is silenced\n"
    made = run("cancer", "--kind", "data_drift", "--feature", "id_*", "--for", "3h", "--reason", "new source", "--json")
    assert made.exit_code == 0, made.output
    (shown,) = json.loads(made.output)
    assert (shown["model"], shown["kind"], shown["feature"], shown["reason"]) == (
        "cancer",
        "data_drift",
        "id_*",
        "new source",
    )
    assert shown["until"] - shown["since"] == 3 * 3600
    assert shown["who"]
    listed = run("--list").output
    assert f"{shown['id']}  cancer data_drift id_*  until 2" in listed
    assert f"by {shown['who']}: new source" in listed
    assert json.loads(run("--list", "--json").output) == [shown]
    assert run("--end", shown["id"]).exit_code == 0
    assert json.loads(run("--list", "--json").output) == []


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "give one of NAME, --list and --end ID"),
        (("cancer", "--list"), 2, "give one of NAME"),
        (("cancer",), 2, "a silence needs a --reason"),
        (("cancer", "--reason", "r", "--kind", "drift"), 2, "'drift' is not one of"),
        (("cancer", "--reason", "r", "--for", "soon"), 1, "a duration is a number and one of s, m, h, d"),
        (("cancer", "--reason", "r", "--for", "91d"), 1, "a silence lasts up to 90d, not 91d"),
        (("--end", "abc"), 1, "no silence 'abc' is active"),
    ],
)
def test_what_cannot_be_silenced_is_told(run, arguments, code, text):
    """With what is allowed."""
    done = run(*arguments)
    assert (done.exit_code, text in done.output) == (code, True), done.output
