"""Retraining: what each brake holds, what an attempt comes to, and that a killed one is gone on with."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrain_world import BEGIN, HOUR, Killed, World, alert

from deploy.retraining.retrainer import RESUMES_MAX
from deploy.retraining.settings import RetrainSettings
from deploy.retraining.state import ATTEMPTS_KEPT, Attempt, BusyError, State, StateError, StateFile, sole


@pytest.fixture
def world(tmp_path):
    """In which a version that passes is promoted."""
    return World(tmp_path / "retrain")


def test_a_breach_is_answered_by_a_promoted_version(world):
    """Every step in order; the report says what was made and what the gate said."""
    result = world.handle()
    assert world.did == ["pull", "build", "judge", "promote"]
    assert (result.outcome, result.version, result.sha256) == ("promoted", "2", "new")
    assert world.promotions == [("2", "retrained on alert b1 at 2027-01-15T08:00:00+00:00")]
    text = Path(result.report).read_text()
    assert text.startswith("# Retraining m: promoted\n")
    assert "| auc | pass | 0.91   0.90 |" in text
    assert "firing: critical data drift of m version 1" in text
    assert "hotgate rollback m" in text


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"state": "resolved"}, "state"),
        ({"silenced": True}, "silenced"),
        ({"kind": "data_quality"}, "kind"),
        ({"kind": "ops", "model": ""}, "model"),
        ({"model": "other"}, "model"),
        ({"model": ""}, "model"),
        ({"severity": "warning"}, "severity"),
    ],
)
def test_an_alert_that_training_does_not_answer_is_held(tmp_path, changes, name):
    """And leaves no trace."""
    world = World(tmp_path / "retrain", models=("m*", ""), severity="critical")
    result = world.handle(**changes)
    assert (result.outcome, result.brake) == ("braked", name)
    assert world.did == []
    assert not (world.folder / "state.json").exists()


@pytest.mark.parametrize(
    ("verdict", "fail_at", "outcome", "todo"),
    [
        ("pass", "", "promoted", "hotgate rollback m"),
        ("fail", "", "no_improvement", "Bring data"),
        ("inconclusive", "", "inconclusive", "hotgate gate m 2"),
        ("pass", "pull", "failed", "Mend"),
        ("pass", "build", "failed", "Mend"),
        ("pass", "judge", "failed", "Mend"),
        ("pass", "promote", "failed", "Mend"),
    ],
)
def test_a_breach_is_answered_once_whatever_came_of_it(world, verdict, fail_at, outcome, todo):
    """Until it is released; the report says what to do."""
    world.verdict, world.fail_at = verdict, fail_at
    first = world.handle()
    assert first.outcome == outcome
    assert todo in Path(first.report).read_text()
    assert fail_at in first.why
    done = list(world.did)
    world.now += 30 * 24 * HOUR
    second = world.handle()
    assert (second.outcome, second.brake) == ("braked", "breach")
    assert first.report in second.why
    assert world.did == done

    world.fail_at = ""
    assert world.retrainer.release("b1", "ann: mended")
    assert world.handle().outcome == (outcome if verdict != "pass" else "promoted")


def test_promotion_is_left_to_people_unless_the_settings_say_otherwise(tmp_path):
    """The report and the answer name the command."""
    world = World(tmp_path / "retrain", promote=False)
    result = world.handle()
    assert (result.outcome, world.promotions) == ("passed", [])
    assert "hotgate promote m 2" in result.why
    assert "hotgate promote m 2" in Path(result.report).read_text()


def test_a_model_rests_after_an_attempt_and_others_do_not(world):
    """The cool-down counts from the end, to the second, for one model."""
    world.settings = RetrainSettings(cool_down_s=HOUR)
    world.handle("b1")
    ended = world.now
    world.now = ended + HOUR - 1
    assert world.handle("b2").brake == "cool_down"
    assert world.handle("b3", model="other").outcome == "passed"
    world.now = ended + HOUR
    assert world.handle("b2").outcome == "passed"


def test_a_day_has_its_budget_over_all_models(world):
    """Free again 24 hours after the oldest of them began."""
    world.settings = RetrainSettings(cool_down_s=0, daily_max=2)
    world.handle("b1")
    world.handle("b2", model="other")
    world.now = BEGIN + 24 * HOUR - 1
    held = world.handle("b3")
    assert (held.brake, held.why) == (
        "budget",
        "2 attempts within 24 hours; the next is free at 2027-01-16T08:00:00+00:00",
    )
    world.now = BEGIN + 24 * HOUR
    assert world.handle("b3").outcome == "passed"


def test_data_that_was_no_improvement_is_not_judged_again_until_it_changes(world):
    """Another breach on the same data builds, which rebuilds nothing, and stops there; new data is judged."""
    world.verdict = "fail"
    first = world.handle("b1")
    world.now += 7 * HOUR
    second = world.handle("b2")
    assert second.outcome == "no_improvement"
    assert first.report in second.why
    assert "--release b1 --reason TEXT" in second.why  # as the command takes it
    assert "--release b1 --reason TEXT" in Path(first.report).read_text()
    assert "--release b1 --reason TEXT" in world.handle("b1").why
    assert world.did.count("judge") == 1
    world.now += 7 * HOUR
    world.data, world.verdict = "newer", "pass"
    assert world.handle("b3").outcome == "promoted"


def test_released_data_is_judged_again(world):
    """As when the gate's settings were changed."""
    world.verdict = "fail"
    world.handle("b1")
    assert world.retrainer.release("b1", "ann: the gate was too strict")
    assert not world.retrainer.release("b9", "ann: typing")
    world.now += 7 * HOUR
    world.verdict = "pass"
    assert world.handle("b2").outcome == "promoted"
    (freed, _) = StateFile(world.folder / "state.json").read().attempts
    assert freed.released == "ann: the gate was too strict"


def test_what_was_known_is_in_the_report_of_a_step_that_failed(world):
    """The version, and what the gate said of it."""
    world.fail_at = "promote"
    text = Path(world.handle().report).read_text()
    assert "- Made: version 2 of m, sha256 `new`" in text
    assert "| auc | pass |" in text


def test_a_breach_of_a_version_that_was_replaced_is_not_answered(world):
    """Score drift beside data drift: both are the old version's; what begins later, or of another model, counts."""
    world.handle("b1")
    world.now += 7 * HOUR
    held = world.handle("b2", kind="score_drift")
    assert (held.brake, held.why) == (
        "superseded",
        "it is about version 1; version 2 was promoted since it began",
    )
    world.data = "newer"
    assert world.handle("b3", model="other").outcome == "promoted"
    assert world.handle("b4", started_at=world.now).outcome == "promoted"


def test_the_file_that_serves_is_no_improvement_on_itself(world):
    """Nothing is judged; later, when another serves, it may be."""
    world.data = "served"
    assert world.handle("b1").outcome == "no_improvement"
    assert world.did == ["pull", "build"]
    world.now += 7 * HOUR
    assert world.handle("b2", sha256="another").outcome == "promoted"


@pytest.mark.parametrize("where", ["pull", "build", "judge", "before promote", "promote"])
@pytest.mark.parametrize("same", [True, False])
def test_an_attempt_that_was_killed_is_gone_on_with(world, where, same):
    """By whatever comes next, from the step it stood at; what is promoted is not promoted twice."""
    world.kill_at = where
    with pytest.raises(Killed):
        world.handle("b1")
    done, world.kill_at = len(world.did), ""
    result = world.handle("b1" if same else "b2")
    assert (result.outcome, result.brake) == (("promoted", None) if same else ("braked", "cool_down"))
    order = ["pull", "build", "judge", "promote"]
    begin = {"pull": 0, "build": 0, "judge": 2, "before promote": 3, "promote": 4}[where]
    assert world.did[done:] == order[begin:]
    assert len(world.promotions) == 1
    (attempt,) = StateFile(world.folder / "state.json").read().attempts
    assert (attempt.alert.id, attempt.outcome, attempt.resumed) == ("b1", "promoted", 1)


def test_what_is_broken_off_again_and_again_is_given_up(world):
    """It may be what kills its process."""
    world.kill_at = "build"
    for _ in range(1 + RESUMES_MAX):
        with pytest.raises(Killed):
            world.handle("b1")
    result = world.retrainer.finish()
    assert (result.outcome, result.why) == ("failed", "it was broken off 4 times: what kills it?")
    assert world.did.count("build") == 1 + RESUMES_MAX
    assert world.retrainer.finish() is None


def test_one_at_a_time(world):
    """The second is told which process is at it, and changes nothing."""
    with sole(world.folder):
        held = world.handle()
        assert (held.brake, held.why) == (
            "busy",
            f"process {os.getpid()}, or a step that it left running, is retraining here",
        )
        assert world.retrainer.finish() is None
        with pytest.raises(BusyError):
            world.retrainer.release("b1", "ann: now")
    assert world.did == []
    assert world.handle().outcome == "promoted"


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"attempts": 3}', b"\xff\xfe", b'{"attempts": [{"alert": {"id": "\xff']
)
def test_a_damaged_state_stops_everything_and_says_so(world, damage):
    """Else all would be tried again; the file is left for people."""
    world.folder.mkdir()
    (world.folder / "state.json").write_bytes(damage)
    with pytest.raises(StateError, match=r"state\.json is damaged .* until you move it away"):
        world.handle()
    assert world.did == []
    assert (world.folder / "state.json").read_bytes() == damage


def test_nothing_is_begun_that_cannot_be_kept(world, tmp_path):
    """A file stands where the folder should be."""
    world.folder.write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        world.handle()
    assert world.did == []


def test_a_state_that_cannot_be_replaced_stops_before_the_first_step(world):
    """A folder stands in the place of the file's predecessor: what is not kept would be tried again."""
    world.folder.mkdir()
    (world.folder / f".state.json.{os.getpid()}.tmp").mkdir()
    with pytest.raises(StateError, match="cannot be written"):
        world.handle()
    assert world.did == []


def test_old_attempts_are_forgotten():
    """The state stays small."""
    state = State()
    for number in range(ATTEMPTS_KEPT + 5):
        state = state.and_then(Attempt(alert=alert(f"b{number}"), started_at=float(number)))
    assert len(state.attempts) == ATTEMPTS_KEPT
    assert state.attempts[0].started_at == 5.0


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["b1", "b2", "b3", "b4", "b5", "b6"]),
        st.sampled_from(["m", "n"]),
        st.integers(min_value=0, max_value=20),
        st.sampled_from(["pass", "fail", "inconclusive"]),
        st.sampled_from(["", "", "", "pull", "judge", "promote"]),
    ),
    max_size=30,
)


@settings(max_examples=40)
@given(events=EVENTS, daily_max=st.integers(min_value=1, max_value=4))
def test_brakes_hold_over_any_sequence_of_alerts(tmp_path_factory, events, daily_max):
    """Never two attempts at one breach, more than the budget in 24 hours, or no rest between two; kills included."""
    world = World(tmp_path_factory.mktemp("home") / "retrain", cool_down_s=5 * HOUR, daily_max=daily_max)
    for breach, model, hours, world.verdict, world.kill_at in events:
        world.now += hours * HOUR
        world.data = f"data of {world.now}"
        try:
            world.handle(breach, model=model, started_at=world.now)
        except Killed:
            continue
    world.kill_at = ""
    world.retrainer.finish()
    attempts = StateFile(world.folder / "state.json").read().attempts
    breaches = [attempt.alert.id for attempt in attempts]
    assert len(set(breaches)) == len(breaches)
    begins = [attempt.started_at for attempt in attempts]
    for begin in begins:
        assert sum(begin - 24 * HOUR < other <= begin for other in begins) <= daily_max
    for model in "mn":
        mine = [attempt for attempt in attempts if attempt.alert.model == model]
        for before, after in itertools.pairwise(mine):
            assert after.started_at - before.ended_at >= 5 * HOUR
    reasons = [reason for _, reason in world.promotions]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cool_down_s", -1, "cool_down_s must be 0 to 2592000, not -1"),
        ("daily_max", 0, "daily_max must be 1 to 1000, not 0"),
        ("step_timeout_s", 0.5, "step_timeout_s must be 1 to 604800, not 0.5"),
        ("poll_s", 0, "poll_s must be 0.1 to 3600, not 0"),
        ("pull", ("git 'pull",), 'pull holds a command that cannot be read (No closing quotation): "git \'pull"'),
        ("pull", (" ",), "pull holds an empty command: ' '"),
        (
            "kinds",
            ("ops",),
            "kinds must not hold 'ops': those alerts are about the server, which training does not mend",
        ),
    ],
)
def test_an_impossible_setting_is_refused(key, value, said):
    """Key, bound and value."""
    with pytest.raises((ValueError, msgspec.ValidationError)) as refused:
        RetrainSettings(**{key: value})
    assert str(refused.value) == said
