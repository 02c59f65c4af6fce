"""Promote and roll back: move a role's mark in the registry, leave a decision, and notice when two do it at once.

The gateway is not touched: its sidecar follows the registry.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from deploy.decisions import Decision, after_all, history, load, predecessors, quiet_stages, withdraw, write
from gateway.sync.base import SHA256_TAG
from gateway.sync.resolve import Selector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["PARITY_TAG", "Outcome", "PromotionError", "PromotionLostError", "history", "promote", "rollback"]

PARITY_TAG = "hotgate.parity"
"""The version's tag that registering sets to `pass`: the model file answers as scikit-learn did."""

_NOTE = "hotgate: "
_REASON_CHARACTERS = 1000


class PromotionError(Exception):
    """Nothing was moved; the text says why and what would help."""


class PromotionLostError(PromotionError):
    """Somebody else decided at the same time, and first; theirs stands."""


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
    verdict: str = "parity: pass",
    now: datetime | None = None,
) -> Outcome:
    """Give a version a role, and take it from the others.

    Args:
        to: `Production` or `champion`, `Staging` or `challenger`: the role, through its setting; or a mark such as
            `alias:blue` itself.
        champion: the role's setting.
        challenger: the role's setting.
        expect_champion: refuse unless this version has the role now.
        verdict: what speaks for it, for the record.

    Raises:
        PromotionLostError: somebody else was first.
        PromotionError: the version is not fit to serve, or the role is not held by whom it was expected of.
    """
    target = _target(to, champion, challenger)
    return _move(client, name, str(version), target, "promote", who, reason, expect_champion, verdict, now)


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

    A version that was deleted is passed over.

    Arguments as for `promote`.

    Raises:
        PromotionLostError: somebody else was first.
        PromotionError: there is nothing to go back to, or it is not fit to serve.
    """
    target = _target(to, champion, challenger)
    with _mapped(name):
        decisions = [item for item in load(client, name).values() if item.target == str(target)]
        current = _holders(client, name, target)[:1]
        there = {str(item.version) for item in _versions(client, name)}
    earlier = predecessors(decisions, current[0] if current else None)
    before = next((version for version in earlier if version in there), None)
    if before is None:
        lost = f" that is still there (deleted: {', '.join(earlier)})" if earlier else ""
        raise PromotionError(f"no decision on {name} tells what had {target} before{lost}: promote a version instead")
    deleted = earlier[: earlier.index(before)]
    verdict = f"served before; deleted since: {', '.join(deleted)}" if deleted else "served before"
    expected = expect_champion or (current[0] if current else None)
    outcome = _move(client, name, before, target, "rollback", who, reason, expected, verdict, now)
    return msgspec.structs.replace(outcome, deleted=deleted)


def _move(  # noqa: PLR0913, PLR0917 - the two callers name them
    client: MlflowClient,
    name: str,
    version: str,
    target: Selector,
    action: Literal["promote", "rollback"],
    who: str,
    reason: str,
    expected: str | None,
    verdict: str,
    now: datetime | None,
) -> Outcome:
    """Check, decide, move, and look whether somebody else did the same meanwhile.

    A decision is written before anything moves, and the role is looked at once more after that. So of two that cross,
    at least one sees the other: the one that finds the role changed gives up, and if both have moved, both see both
    decisions and the later one gives way.
    """
    _check_words(who, reason)
    with _mapped(name):
        known = load(client, name)
        sha256 = _fit(client, name, version)
        holders = _holders(client, name, target)
        before = holders[0] if holders else None
        if expected is not None and before != expected:
            raise PromotionError(f"{target} of {name} is held by {_say(before)}, not by version {expected}")
        if holders == [version]:
            raise PromotionError(f"version {version} of {name} has {target} already")
        decision = Decision(
            who=who,
            when=after_all(list(known.values()), now or datetime.now(UTC)),
            why=reason,
            action=action,
            target=str(target),
            before=before,
            after=version,
            verdict=verdict,
            sha256=sha256,
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
    found = _holders(client, name, target)
    if found != holders:
        raise PromotionLostError(
            f"somebody else gave {target} of {name} to {_say(found[0] if found else None)} meanwhile;"
            " yours was not done"
        )
    _give(client, name, decision.after, target)


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
    _give(client, name, winner.after, target)
    if rival() is None:  # it gave up at the sight of this one
        _give(client, name, mine.after, target)
        return
    withdraw(client, name, key)
    raise PromotionLostError(
        f"{winner.who} gave {target} of {name} to version {winner.after} at the same time, and first; yours was undone"
    )


def _give(client: MlflowClient, name: str, version: str, target: Selector) -> None:
    """One call of the registry, so that the role is never empty: a stage is taken from the others by the same call."""
    if target.kind == "alias":
        client.set_registered_model_alias(name, target.value, version)
        return
    with quiet_stages():
        client.transition_model_version_stage(name, version, target.value, archive_existing_versions=True)


def _holders(client: MlflowClient, name: str, target: Selector) -> list[str]:
    """Who has a role now, the one that is served first."""
    if target.kind == "alias":
        aliases: dict[str, str] = client.get_registered_model(name).aliases
        return [str(aliases[target.value])] if target.value in aliases else []
    versions = [int(item.version) for item in _versions(client, name) if item.current_stage == target.value]
    return [str(number) for number in sorted(versions, reverse=True)]


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    quote = '"' if "'" in name else "'"
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name={quote}{name}{quote}", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _fit(client: MlflowClient, name: str, version: str) -> str:
    """The version's hash, if its tags say that the gateway would serve it."""
    if not version.isdigit():
        raise PromotionError(f"a version is a number, not {version!r}")
    tags: dict[str, str] = client.get_model_version(name, version).tags
    parity = tags.get(PARITY_TAG)
    if parity != "pass":
        told = f"says {parity!r}" if parity else "is missing"
        raise PromotionError(
            f"version {version} of {name} has no passing parity certificate (tag {PARITY_TAG} {told}):"
            f" run `hotgate convert models:/{name}/{version} --register`"
        )
    if SHA256_TAG not in tags:
        raise PromotionError(f"version {version} of {name} lacks the tag {SHA256_TAG}: it would not be served")
    return tags[SHA256_TAG]


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


def _target(to: str, champion: str, challenger: str) -> Selector:
    settings = {"production": champion, "champion": champion, "staging": challenger, "challenger": challenger}
    try:
        return Selector.parse(settings.get(to.lower(), to))
    except ValueError as error:
        raise PromotionError(f"to: {error}") from None


def _check_words(who: str, reason: str) -> None:
    if not who.strip() or not reason.strip():
        raise PromotionError("a decision needs who and why")
    if len(reason) > _REASON_CHARACTERS:
        raise PromotionError(f"a reason has at most {_REASON_CHARACTERS} characters, not {len(reason)}")


def _say(version: str | None) -> str:
    return f"version {version}" if version else "no version"


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    """Turn MLflow's exceptions into this module's."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise PromotionError(f"the registry refuses, for {name}: {error.message}") from error
