import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import RowCounter, build_reference, judge
from monitoring.alarm import Alarm, AlarmRule, evidence, severities

RULE = AlarmRule()
FOUND = st.sampled_from([None, "none", "warning", "critical"])


def after(*found, rule=RULE):
    """What is known after windows of 900 s."""
    alarm = Alarm()
    for number, severity in enumerate(found):
        alarm = alarm.next(severity, 900.0 * number, rule)
    return alarm


def test_one_bad_window_is_no_alarm_two_in_a_row_are():
    """And the alarm began with the first of them."""
    assert not after("warning").firing
    assert not after("warning", "none", "warning").firing
    alarm = after("none", "warning", "critical")
    assert (alarm.firing, alarm.severity, alarm.breach_since) == (True, "critical", 900.0)


def test_one_calm_window_does_not_end_it_two_in_a_row_do():
    """Its severity is the worst of the breach, and the next breach starts anew."""
    firing = ("critical", "warning")
    assert after(*firing, "none").firing
    assert after(*firing, "none", "warning", "none").firing
    assert after(*firing, "none", "warning").severity == "critical"
    assert after(*firing, "none", "none") == Alarm()
    assert after(*firing, "none", "none", "warning", "warning").severity == "warning"


def test_a_window_that_cannot_be_judged_changes_nothing():
    """Too few rows are no news: neither does a breach end with the night, nor begin with it."""
    assert after("warning", None, "warning").firing
    assert after("warning", "warning", None, None, None).firing
    assert not after(None, None, "none", None).firing


def test_a_rule_for_critical_leaves_warnings_alone():
    """They also count as calm."""
    rule = AlarmRule(severity="critical", raise_after=1, clear_after=1)
    assert not after("warning", "warning", "warning", rule=rule).firing
    assert after("critical", rule=rule).firing
    assert not after("critical", "warning", rule=rule).firing


@given(st.lists(FOUND, max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_it_fires_only_behind_so_many_breaches_in_a_row_and_stops_only_behind_so_much_calm(found, up, down):
    """Checked against the windows that could be judged, counted by hand."""
    rule = AlarmRule(raise_after=up, clear_after=down)
    alarm, judged = Alarm(), []
    for number, severity in enumerate(found):
        before, alarm = alarm, alarm.next(severity, float(number), rule)
        judged += [severity != "none"] if severity is not None else []
        if alarm.firing and not before.firing:
            assert judged[-up:] == [True] * up
        if before.firing and not alarm.firing:
            assert judged[-down:] == [False] * down
        if severity is None:
            assert alarm == before


@pytest.mark.parametrize("wrong", [{"severity": "none"}, {"raise_after": 0}, {"clear_after": 0}])
def test_rules_that_always_or_never_fire_are_refused(wrong):
    """With what they need."""
    with pytest.raises(ValueError, match="an alarm needs"):
        AlarmRule(**wrong)


def test_of_drifted_features_the_one_that_moves_the_score_most_comes_first():
    """Whatever its PSI; where that is not known, PSI decides."""
    rng = np.random.default_rng(0)
    reference = build_reference(
        rng.normal(size=(1000, 2)), rng.random(1000), names=["large", "heavy"], kinds=["float"] * 2, graph_sha256="00"
    )
    counter = RowCounter(reference)
    counts = counter.zeros()
    counter.add(counts, rng.normal([2.0, -1.0], 1.0, size=(600, 2)), rng.random(600))
    assert [column.name for column in evidence(judge(reference, counts), "data_drift")] == ["large", "heavy"]
    effects = (np.linspace(0.5, 0.51, 10), np.linspace(0.2, 0.8, 10))
    features = [
        msgspec.structs.replace(column, effects=effect.tolist())
        for column, effect in zip(reference.features, effects, strict=True)
    ]
    found = evidence(judge(msgspec.structs.replace(reference, features=features), counts), "data_drift")
    assert [column.name for column in found] == ["heavy", "large"]
    assert found[0].impact < -0.1 < 0 < found[1].impact < 0.01


def test_kinds_of_alarms_speak_of_their_own_columns():
    """A feature that moved, one that lost its values, one with a few impossible ones, a score that did not."""
    rng = np.random.default_rng(0)
    names = ["calm", "moved", "gone", "odd"]
    reference = build_reference(
        rng.normal(size=(1000, 4)), rng.random(1000), names=names, kinds=["float"] * 4, graph_sha256="00"
    )
    counter = RowCounter(reference)
    counts = counter.zeros()
    rows = rng.normal(size=(600, 4))
    rows[:, 1] += 1
    rows[:200, 2] = np.nan
    rows[:60, 3] = -999
    counter.add(counts, rows, rng.random(600))
    verdict = judge(reference, counts)
    assert severities(verdict) == {"data_drift": "critical", "score_drift": "none", "data_quality": "warning"}
    assert [column.name for column in evidence(verdict, "data_drift")] == ["moved"]
    assert [column.name for column in evidence(verdict, "data_quality")] == ["gone", "odd"]
    assert [column.name for column in evidence(verdict, "score_drift")] == ["score"]
    nothing = judge(reference, counter.zeros())
    assert severities(nothing) == {"data_drift": None, "score_drift": None, "data_quality": None}


def test_other_predictions_are_a_drift_of_the_score():
    """Also while the score, the largest probability of three, stays what it was."""
    rng = np.random.default_rng(0)
    reference = build_reference(
        np.zeros((900, 1)), rng.random(900), names=["x"], kinds=["float"], graph_sha256="00",
        labels=np.arange(900) % 3, classes=("a", "b", "c"),
    )  # fmt: skip
    counter = RowCounter(reference)
    counts = counter.zeros()
    counter.add(counts, np.zeros((300, 1)), rng.random(300), np.zeros(300))
    verdict = judge(reference, counts)
    assert (verdict.score.severity, verdict.label.severity, verdict.severity) == ("none", "critical", "critical")
    assert severities(verdict)["score_drift"] == "critical"
    assert [column.name for column in evidence(verdict, "score_drift")] == ["label"]
