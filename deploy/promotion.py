"""Promote and roll back: move a role's mark in the registry, leave a decision, and notice when two do it at once.

The gateway is not touched: its sidecar follows the registry.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from deploy.decisions import Decision, after_all, history, load, predecessors, withdraw, write
from deploy.fitness import (
    Expectation,
    PromotionError,
    PromotionLostError,
    demand_gate,
    fit_tags,
    say,
    sha256_of,
)
from deploy.past import Past, state_at
from deploy.roles import give, holders_of, role_target, versions_of
from gateway.sync.base import SHA256_TAG
from gateway.sync.resolve import Selector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

__all__ = ["Outcome", "PromotionError", "PromotionLostError", "history", "past", "promote", "rollback"]

_NOTE = "hotgate: "
_REASON_CHARACTERS = 1000


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    name: str
    decision: Decision
    archived: tuple[str, ...] = ()
    """Versions that lost the stage by it."""
    deleted: tuple[str, ...] = ()
    """Versions that a rollback would have gone to, the nearest first, were they still there."""


def promote(  # noqa: PLR0913 - each is one word of the decision
    client: MlflowClient,
    name: str,
    version: str,
    *,
    who: str,
    reason: str,
    to: str = "Production",
    champion: str = "stage:Production",
    challenger: str = "stage:Staging",
    expect_champion: str | None = None,
    forced: bool = False,
    now: datetime | None = None,
) -> Outcome:
    """Give a version a role, and take it from the others; the champion's only after a passed gate.

    Args:
        to: `Production` or `champion`, `Staging` or `challenger`: the role, through its setting; or a mark such as
            `alias:blue` itself.
        champion: the role's setting.
        challenger: the role's setting.
        expect_champion: refuse unless this version has the role now; without it, the one that the gate held the
            version against.
        forced: do not ask what the gate says; the decision records that, with the reason.

    Raises:
        PromotionLostError: somebody else was first.
        PromotionError: the version is not fit to serve, or the role is not held by whom it was expected of.
    """
    _check_words(who, reason)
    target, version = role_target(to, champion, challenger), str(version)
    expected = Expectation(champion=expect_champion) if expect_champion is not None else None
    verdict = f"forced: {reason}" if forced else "parity: pass"
    with _mapped(name):
        tags = fit_tags(client, name, version)
    if target == role_target("champion", champion, challenger) and not forced:
        with _mapped(name):
            decisions = [item for item in load(client, name).values() if item.target == str(target)]
        record = demand_gate(name, version, tags, decisions)
        expected = expected or Expectation(
            champion=record.champion,
            sha256=record.champion_sha256,
            cure=f"the gate compared with that one, so run `hotgate gate {name} {version}` anew",
        )
        verdict = f"gate: pass, against {say(record.champion)}"
    wanted = _Wanted(action="promote", version=version, sha256=tags[SHA256_TAG], target=target, verdict=verdict)
    return _move(client, name, wanted, who, reason, expected, now)


def rollback(  # noqa: PLR0913 - each is one word of the decision
    client: MlflowClient,
    name: str,
    *,
    who: str,
    reason: str,
    to: str = "Production",
    champion: str = "stage:Production",
    challenger: str = "stage:Staging",
    expect_champion: str | None = None,
    now: datetime | None = None,
) -> Outcome:
    """Give a role back to the version that had it before, by the decisions; repeated, it goes further back.

    A version that was deleted is passed over. No gate is asked: what served before is safer than what serves.

    Arguments as for `promote`.

    Raises:
        PromotionLostError: somebody else was first.
        PromotionError: there is nothing to go back to, or it is not fit to serve.
    """
    _check_words(who, reason)
    target = role_target(to, champion, challenger)
    with _mapped(name):
        decisions = [item for item in load(client, name).values() if item.target == str(target)]
        current = holders_of(client, name, target)[:1]
        there = {str(item.version) for item in versions_of(client, name)}
    earlier = predecessors(decisions, current[0] if current else None)
    before = next((version for version in earlier if version in there), None)
    if before is None:
        lost = f" that is still there (deleted: {', '.join(earlier)})" if earlier else ""
        raise PromotionError(f"no decision on {name} tells what had {target} before{lost}: promote a version instead")
    deleted = earlier[: earlier.index(before)]
    verdict = f"served before; deleted since: {', '.join(deleted)}" if deleted else "served before"
    with _mapped(name):
        sha256 = fit_tags(client, name, before)[SHA256_TAG]
    expected = Expectation(champion=expect_champion or (current[0] if current else None))
    wanted = _Wanted(action="rollback", version=before, sha256=sha256, target=target, verdict=verdict)
    return msgspec.structs.replace(_move(client, name, wanted, who, reason, expected, now), deleted=deleted)


def past(
    client: MlflowClient,
    name: str,
    at: datetime,
    *,
    to: str = "Production",
    champion: str = "stage:Production",
    challenger: str = "stage:Staging",
    now: datetime | None = None,
) -> Past:
    """What had a role at a time, who put it there and why.

    Args:
        at: an aware time.
        to: see `promote`, as for the rest.

    Raises:
        PromotionError: that time is still to come, or the registry refuses.
    """
    target = role_target(to, champion, challenger)
    with _mapped(name):
        holders = holders_of(client, name, target)
        decisions = history(client, name)
    return state_at(decisions, target, at, current=holders[0] if holders else None, now=now or datetime.now(UTC))


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, and what speaks for it."""

    action: Literal["promote", "rollback"]
    version: str
    sha256: str
    target: Selector
    verdict: str


def _move(
    client: MlflowClient,
    name: str,
    wanted: _Wanted,
    who: str,
    reason: str,
    expected: Expectation | None,
    now: datetime | None,
) -> Outcome:
    """Check, decide, move, and look whether somebody else did the same meanwhile.

    A decision is written before anything moves, and the role is looked at once more after that. So of two that cross,
    at least one sees the other: the one that finds the role changed gives up, and if both have moved, both see both
    decisions and the later one gives way.
    """
    version, target = wanted.version, wanted.target
    with _mapped(name):
        known = load(client, name)
        holders = holders_of(client, name, target)
        before = holders[0] if holders else None
        if holders == [version]:
            raise PromotionError(f"version {version} of {name} has {target} already")
        if expected is not None:
            expected.check(name, str(target), before, sha256_of(client, name, before) if before else None)
        decision = Decision(
            who=who,
            when=after_all(list(known.values()), now or datetime.now(UTC)),
            why=reason,
            action=wanted.action,
            target=str(target),
            before=before,
            after=version,
            verdict=wanted.verdict,
            sha256=wanted.sha256,
        )
        key = write(client, name, decision)
        try:
            _give_unless_changed(client, name, decision, target, holders)
        except BaseException:
            withdraw(client, name, key)
            raise
        _give_way(client, name, key, decision, known, target)
        _describe(client, name, decision)
    return Outcome(name=name, decision=decision, archived=tuple(item for item in holders if item != version))


def _give_unless_changed(
    client: MlflowClient, name: str, decision: Decision, target: Selector, holders: list[str]
) -> None:
    found = holders_of(client, name, target)
    if found != holders:
        raise PromotionLostError(
            f"somebody else gave {target} of {name} to {say(found[0] if found else None)} meanwhile; yours was not done"
        )
    give(client, name, decision.after, target)


def _give_way(
    client: MlflowClient, name: str, key: str, mine: Decision, known: dict[str, Decision], target: Selector
) -> None:
    """If another decision on the target was made meanwhile and is the earlier one, let that one stand."""

    def rival() -> Decision | None:
        for other, decision in load(client, name).items():  # oldest first
            if other not in known and other < key and decision.target == mine.target:
                return decision
        return None

    winner = rival()
    if winner is None:
        return
    give(client, name, winner.after, target)
    if rival() is None:  # it gave up at the sight of this one
        give(client, name, mine.after, target)
        return
    withdraw(client, name, key)
    raise PromotionLostError(
        f"{winner.who} gave {target} of {name} to version {winner.after} at the same time, and first; yours was undone"
    )


def _describe(client: MlflowClient, name: str, decision: Decision) -> None:
    """Put the decision into the version's description, under what people wrote there; the deed is done without it."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        _note(client, name, decision)


def _note(client: MlflowClient, name: str, decision: Decision) -> None:
    old = client.get_model_version(name, decision.after).description or ""
    kept = [line for line in old.splitlines() if not line.startswith(_NOTE)]
    note = (
        f"{_NOTE}{decision.action} to {decision.target} by {decision.who}, {decision.when:%Y-%m-%d %H:%M:%S} UTC:"
        f" {decision.why}"
    )
    client.update_model_version(name, decision.after, "\n".join([*kept, note]).lstrip("\n"))


def _check_words(who: str, reason: str) -> None:
    if not who.strip() or not reason.strip():
        raise PromotionError("a decision needs who and why")
    if len(reason) > _REASON_CHARACTERS:
        raise PromotionError(f"a reason has at most {_REASON_CHARACTERS} characters, not {len(reason)}")


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    """Turn MLflow's exceptions into this module's."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise PromotionError(f"the registry refuses, for {name}: {error.message}") from error
