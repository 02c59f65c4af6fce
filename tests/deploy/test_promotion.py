"""Promoting and rolling back on real registries, and the record that it leaves."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from registries import mlflow_client

from deploy.decisions import Decision, predecessors, withdraw, write
from deploy.promotion import PromotionError, PromotionLostError, history, promote, rollback

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)
MOVE = "transition_model_version_stage"
GOOD = {"hotgate.parity": "pass", "hotgate.sha256": "a" * 64}


@pytest.fixture
def client(admin):
    return admin.client


def register(admin, name, count, tags=None):
    for _ in range(count):
        admin.register(name, {}, tags=GOOD if tags is None else tags)


def holders(client, name, stage="Production"):
    versions = client.search_model_versions(f"name='{name}'")
    return sorted(int(item.version) for item in versions if item.current_stage == stage)


def test_promote_moves_the_stage_archives_the_others_and_leaves_a_decision(both, name):
    """On a database and behind a server alike."""
    _, admin = both
    register(admin, name, 3)
    for number in (1, 2):
        admin.stage(name, number, "Production")
    outcome = promote(admin.client, name, "3", who="ada", reason="better recall", now=NOON)
    assert (holders(admin.client, name), holders(admin.client, name, "Archived")) == ([3], [1, 2])
    assert outcome.archived == ("2", "1")
    tags = admin.client.get_registered_model(name).tags
    ((key, text),) = ((key, text) for key, text in tags.items() if key.startswith("hotgate.decision."))
    assert re.fullmatch(r"hotgate\.decision\.20270115T120000\.000000Z\.[0-9a-f]{8}", key)
    assert json.loads(text) == {
        "who": "ada",
        "when": "2027-01-15T12:00:00Z",
        "why": "better recall",
        "action": "promote",
        "target": "stage:Production",
        "from": "2",
        "to": "3",
        "verdict": "parity: pass",
        "sha256": "a" * 64,
    }
    description = admin.client.get_model_version(name, "3").description
    assert description == "hotgate: promote to stage:Production by ada, 2027-01-15 12:00:00 UTC: better recall"


def test_rollback_goes_back_over_several_promotions(both, name):
    """Three promotions, two rollbacks: 3, then 2, then 1, never forth again."""
    _, admin = both
    register(admin, name, 3)
    for version in ("1", "2", "3"):
        promote(admin.client, name, version, who="ada", reason="better")
    for expected in (2, 1):
        rollback(admin.client, name, who="eve", reason="p99")
        assert holders(admin.client, name) == [expected]
    with pytest.raises(PromotionError, match=rf"no decision on {name} tells what had stage:Production before"):
        rollback(admin.client, name, who="eve", reason="p99")
    assert [(item.action, item.before, item.after) for item in history(admin.client, name)] == [
        ("promote", None, "1"),
        ("promote", "1", "2"),
        ("promote", "2", "3"),
        ("rollback", "3", "2"),
        ("rollback", "2", "1"),
    ]


def test_rollback_passes_over_a_deleted_version_and_says_so(admin, client, name):
    """It goes further back; where nothing is left it says what is gone."""
    register(admin, name, 4)
    for version in ("1", "2", "3", "4"):
        promote(client, name, version, who="ada", reason="r")
    for version in ("2", "3"):
        admin.stage(name, version, "Archived")
        client.delete_model_version(name, version)
    outcome = rollback(client, name, who="eve", reason="p99")
    assert (holders(client, name), outcome.deleted) == ([1], ("3", "2"))
    assert outcome.decision.verdict == "served before; deleted since: 3, 2"
    promote(client, name, "4", who="ada", reason="r")
    client.delete_model_version(name, "1")
    with pytest.raises(PromotionError, match=r"that is still there \(deleted: 1\): promote a version instead"):
        rollback(client, name, who="eve", reason="p99")


def test_roles_by_alias(both, name):
    """The setting decides what moves; stages stay as they are."""
    _, admin = both
    register(admin, name, 2)
    settings = {"champion": "alias:champion", "challenger": "alias:challenger", "who": "ada", "reason": "r"}
    for version in ("1", "2"):
        promote(admin.client, name, version, **settings)
    promote(admin.client, name, "1", to="Staging", **settings)
    rollback(admin.client, name, **settings)
    aliases = admin.client.get_registered_model(name).aliases
    assert ({key: str(value) for key, value in aliases.items()}, holders(admin.client, name)) == (
        {"champion": "1", "challenger": "1"},
        [],
    )


def test_staging_has_a_history_of_its_own(admin, client, name):
    """Rolling back Production is not confused by what happened to Staging."""
    register(admin, name, 3)
    promote(client, name, "1", who="ada", reason="r")
    promote(client, name, "2", who="ada", reason="r", to="Staging")
    promote(client, name, "2", who="ada", reason="r")
    promote(client, name, "3", who="ada", reason="r", to="challenger")
    rollback(client, name, who="ada", reason="r")
    assert (holders(client, name), holders(client, name, "Staging")) == ([1], [3])


def test_history_at_a_time(admin, client, name):
    """Who was in force then is the last of what had been decided by then."""
    register(admin, name, 3)
    for hour, version in enumerate(("1", "2", "3")):
        promote(client, name, version, who="ada", reason="r", now=NOON + timedelta(hours=hour))
    assert [item.after for item in history(client, name, at=NOON + timedelta(hours=1, minutes=30))] == ["1", "2"]
    assert history(client, name, at=NOON - timedelta(seconds=1)) == ()
    with pytest.raises(ValueError, match="must have a time zone"):
        history(client, name, at=NOON.replace(tzinfo=None))


def test_a_clock_that_is_behind_does_not_turn_the_order_round(admin, client, name):
    """Decisions come from any machine."""
    register(admin, name, 3)
    for back, version in enumerate(("1", "2", "3")):
        promote(client, name, version, who="ada", reason="r", now=NOON - timedelta(hours=back))
    assert [item.after for item in history(client, name)] == ["1", "2", "3"]
    rollback(client, name, who="ada", reason="r", now=NOON - timedelta(days=1))
    assert holders(client, name) == [2]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"hotgate.sha256": "a" * 64}, "no passing parity certificate .tag hotgate.parity is missing"),
        ({**GOOD, "hotgate.parity": "fail"}, "tag hotgate.parity says 'fail'"),
        ({"hotgate.parity": "pass"}, "lacks the tag hotgate.sha256"),
    ],
)
def test_a_version_that_would_not_be_served_is_not_promoted(admin, client, name, tags, message):
    """Nothing moves and nothing is recorded."""
    register(admin, name, 1, tags)
    with pytest.raises(PromotionError, match=message):
        promote(client, name, "1", who="ada", reason="r")
    assert (holders(client, name), history(client, name)) == ([], ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"version": "9"}, "version=9"),
        ({"version": "latest"}, "a version is a number, not 'latest'"),
        ({"name": "nobody"}, "nobody"),
        ({"reason": " "}, "needs who and why"),
        ({"reason": "x" * 1001}, "at most 1000 characters, not 1001"),
        ({"to": "Archived"}, "must be stage:Production"),
        ({"expect_champion": "2"}, "held by version 1, not by version 2"),
        ({"version": "1"}, "version 1 of .* has stage:Production already"),
    ],
)
def test_what_makes_no_sense_is_refused(admin, client, name, arguments, message):
    """The message says what would."""
    register(admin, name, 2)
    admin.stage(name, 1, "Production")
    asked = {"name": name, "version": "2", "who": "ada", "reason": "r"} | arguments
    with pytest.raises(PromotionError, match=message):
        promote(client, **asked)
    assert (holders(client, name), history(client, name)) == ([1], ())


def test_promoting_again_clears_an_ambiguous_stage(admin, client, name):
    """The cure that the sidecar's log tells."""
    register(admin, name, 2)
    for number in (1, 2):
        admin.stage(name, number, "Production")
    promote(client, name, "2", who="ada", reason="r")
    assert holders(client, name) == [2]


def test_people_keep_their_words_in_the_description(admin, client, name):
    """Only hotgate's own line is replaced."""
    register(admin, name, 2)
    client.update_model_version(name, "1", "trained on\nclean data")
    promote(client, name, "1", who="ada", reason="first")
    promote(client, name, "2", who="ada", reason="r")
    promote(client, name, "1", who="ada", reason="second")
    lines = client.get_model_version(name, "1").description.splitlines()
    assert (lines[:2], len(lines), lines[2].endswith(": second")) == (["trained on", "clean data"], 3, True)


class Between:
    """A client that lets somebody else act right before or after one of its calls."""

    def __init__(self, client, call, act, *, after=False, nth=1):
        self._client, self._call, self._act, self._after, self._left = client, call, act, after, nth

    def __getattr__(self, item):
        method = getattr(self._client, item)
        if item != self._call:
            return method

        def called(*arguments, **keywords):
            self._left -= 1
            if not self._left and not self._after:
                self._act()
            result = method(*arguments, **keywords)
            if not self._left and self._after:
                self._act()
            return result

        return called


def raced(admin, name, call, *, mine, theirs, **where):
    """Promote 2 at `mine` while somebody promotes 3 at `theirs`, at one point of mine; returns my error's text."""
    client = admin.client
    register(admin, name, 3)
    promote(client, name, "1", who="ada", reason="r", now=NOON)

    def act():
        promote(client, name, "3", who="eve", reason="r", now=NOON + timedelta(seconds=theirs))

    with pytest.raises(PromotionLostError) as lost:
        promote(
            Between(client, call, act, **where), name, "2", who="ada", reason="r", now=NOON + timedelta(seconds=mine)
        )
    assert holders(client, name) == [3]
    assert [item.after for item in history(client, name)] == ["1", "3"]
    return str(lost.value)


@pytest.mark.parametrize("theirs", [1, 3])
def test_a_promotion_overtaken_before_its_decision_is_told_so(admin, name, theirs):
    """Theirs was complete: it stands, whatever the clocks say."""
    text = raced(admin, name, "set_registered_model_tag", mine=2, theirs=theirs)
    assert "somebody else gave stage:Production" in text
    assert "to version 3 meanwhile; yours was not done" in text


def test_the_later_of_two_that_cross_is_told_that_it_lost(admin, client, name):
    """Both have looked, decided and moved before either looks again: the earlier decision stands."""
    register(admin, name, 3)
    promote(client, name, "1", who="ada", reason="r", now=NOON)
    decided, checked, moved = (threading.Barrier(2, timeout=60) for _ in range(3))

    def crossing(version, who, seconds):
        own = Between(mlflow_client(admin.uri), "set_registered_model_tag", decided.wait)
        own = Between(Between(own, MOVE, checked.wait), MOVE, moved.wait, after=True)
        return promote(own, name, version, who=who, reason="r", now=NOON + timedelta(seconds=seconds))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(crossing, "2", "ada", 1)
        second = pool.submit(crossing, "3", "eve", 2)
        assert first.result().decision.after == "2"
        with pytest.raises(
            PromotionLostError, match=r"ada gave .* to version 2 at the same time, and first; yours was"
        ):
            second.result()
    assert holders(client, name) == [2]
    assert [item.after for item in history(client, name)] == ["1", "2"]


def test_of_two_that_cross_one_wins_even_if_the_first_gives_up(admin, client, name):
    """An earlier decision that is withdrawn at the sight of the later one does not take it down too."""
    register(admin, name, 3)
    promote(client, name, "1", who="ada", reason="r", now=NOON)
    rival = msgspec.structs.replace(decided("promote", "1", "2"), when=NOON + timedelta(seconds=1))
    keys = []
    mine = Between(client, MOVE, lambda: keys.append(write(client, name, rival)), after=True)
    mine = Between(mine, MOVE, lambda: withdraw(client, name, keys[0]), after=True, nth=2)
    promote(mine, name, "3", who="eve", reason="r", now=NOON + timedelta(seconds=2))
    assert (len(keys), holders(client, name)) == (1, [3])
    assert [item.after for item in history(client, name)] == ["1", "3"]


def test_a_failed_move_leaves_no_decision(admin, client, name):
    """The record tells what came to pass."""
    register(admin, name, 1)

    def refuse():
        from mlflow.exceptions import MlflowException

        raise MlflowException("no permission")

    with pytest.raises(PromotionError, match="no permission"):
        promote(Between(client, MOVE, refuse), name, "1", who="ada", reason="r")
    assert history(client, name) == ()


def decided(action, before, after):
    return Decision(who="a", when=NOON, why="r", action=action, before=before, after=after, verdict="", sha256="")


@pytest.mark.parametrize(
    ("moves", "current", "back"),
    [
        ("", None, None),
        ("", "5", None),
        ("p-1", "1", None),
        ("p51", "1", "5"),
        ("p-1 p12", "2", "1"),
        ("p-1 p12 r21 p14", "4", "1"),
        ("p-1 p12 p23 r32 p24 r42", "2", "1"),
        ("p-1 p12", "7", "2"),  # 7 was put there by hand
        ("p-1 p72", "2", "7"),  # so was 7, before
        ("p-1 p12 p21", "1", "2"),  # back by promoting is a promotion
        ("p-1 p12", None, "2"),  # the stage was emptied by hand
    ],
)
def test_what_to_go_back_to(moves, current, back):
    """Promotions pile up, rollbacks take off."""
    actions = {"p": "promote", "r": "rollback"}
    decisions = [decided(actions[move[0]], None if move[1] == "-" else move[1], move[2]) for move in moves.split()]
    assert next(iter(predecessors(decisions, current)), None) == back
