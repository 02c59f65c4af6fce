"""What had a role at a time, also where decisions and the registry disagree."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.decisions import Decision
from deploy.past import ByHand, state_at, tell, when_of
from gateway.sync.resolve import Selector

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)
PRODUCTION = Selector.parse("stage:Production")


def minute(number):
    return NOON + timedelta(minutes=number)


def decided(number, before, after, **other):
    fields = {"action": "promote", "target": "stage:Production", "verdict": "gate: pass"} | other
    return Decision(who="ada", when=minute(number), why="recall", before=before, after=after, sha256="", **fields)


def ask(decisions, at, current, now=100):
    return state_at(decisions, PRODUCTION, minute(at), current=current, now=minute(now))


@pytest.mark.parametrize(
    ("at", "version", "by_hand"),
    [
        (9, None, ("5", None, minute(10))),  # what the first decision found there
        (10, "1", None),
        (15, "1", None),
        (20, "2", ("7", minute(20), minute(30))),
        (29, "2", ("7", minute(20), minute(30))),
        (30, "3", ("8", minute(30), None)),
        (99, "3", ("8", minute(30), None)),
    ],
)
def test_a_gap_between_decisions_is_a_move_by_hand(at, version, by_hand):
    """Each decision says what it found; the newest is held against what is there now."""
    decisions = [decided(10, "5", "1"), decided(20, "1", "2"), decided(30, "7", "3")]
    past = ask(decisions, at, current="8")
    found = past.by_hand
    assert (past.version, found and (found.version, found.after, found.before)) == (version, by_hand)
    assert past.decision == next((item for item in reversed(decisions) if item.when <= minute(at)), None)


def test_decisions_on_another_role_have_no_say():
    """They are listed; the challenger is not the champion."""
    decisions = [decided(10, None, "1"), decided(20, None, "2", target="stage:Staging")]
    past = ask(decisions, 25, current="1")
    assert (past.version, past.by_hand, past.decisions) == ("1", None, tuple(decisions))


STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(["1", "2", "3", None])), max_size=12)


@given(STEPS, st.integers(0, 13))
def test_what_was_there_is_the_answer_or_the_move_by_hand(steps, at):
    """Against a record kept from the outside, a step a minute, at most one by hand between two decisions."""
    current, by_hand, truth, decisions, moves = None, False, {0: None}, [], []
    for number, (hand, version) in enumerate(steps, start=1):
        if hand and not by_hand and version != current:
            moves.append(number)
            current, by_hand = version, True
        elif not hand and version is not None and version != current:
            decisions.append(decided(number, current, version))
            current, by_hand = version, False
        truth[number] = current
    past = ask(decisions, at, current)
    real = truth[min(at, len(steps))]
    after = max((item.when for item in decisions if item.when <= minute(at)), default=None)
    before = min((item.when for item in decisions if item.when > minute(at)), default=None)
    moved = [
        number
        for number in moves
        if (after is None or minute(number) > after) and (before is None or minute(number) < before)
    ]
    assert past.by_hand == (ByHand(version=truth[moved[0]], after=after, before=before) if moved else None)
    assert real == past.version or (moved and real == past.by_hand.version and at >= moved[0])


@pytest.mark.parametrize(
    ("decisions", "current", "text"),
    [
        (
            [],
            None,
            "2027-01-15 12:50:00 UTC: stage:Production of m was no version, as far as is known: no decision unti",
        ),
        ([], "4", "m: no decision until then; but somebody put version 4 there by hand, at an unknown time before now"),
        (
            [decided(60, "4", "5")],
            "5",
            "put version 4 there by hand, at an unknown time before 2027-01-15 13:00:00 UTC",
        ),
        ([decided(10, None, "5")], None, "somebody took it away by hand, at an unknown time between 2027-01-15 12:10:"),
        (
            [decided(10, "5", "4", action="rollback")],
            "4",
            "m was version 4, by ada's rollback of 2027-01-15 12:10:00 UTC: recall (gate: pass)",
        ),
    ],
)
def test_the_answer_in_words(decisions, current, text):
    """One line; nothing is claimed that nobody recorded."""
    told = tell("m", ask(decisions, 50, current))
    assert text in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2027-01-15T12:00:00+02:00", NOON - timedelta(hours=2)),
        ("2027-01-15T12:00Z", NOON),
        ("2027-01-15 12:00", NOON),
        ("2027-01-15", NOON - timedelta(hours=12)),
        ("90s", NOON - timedelta(seconds=90)),
        ("7d", NOON - timedelta(days=7)),
    ],
)
def test_times_as_people_write_them(text, when, monkeypatch):
    """In UTC unless a zone is named, wherever this machine is; or counted back from now."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = when_of(text, NOON)
    time.tzset()
    assert found == when
