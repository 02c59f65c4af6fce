"""What had a role at some time: by the decisions, and where somebody moved it by hand, what is known of that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from deploy.decisions import Decision
from deploy.fitness import PromotionError, say
from gateway.store import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store import Role
    from gateway.sync.resolve import Selector

__all__ = ["ByHand", "Past", "served_at", "state_at", "tell", "when_of", "why"]


class ByHand(msgspec.Struct, frozen=True, kw_only=True):
    """A change behind the decisions' back; the registry keeps no time of it, so it lies anywhere in between."""

    version: str | None
    """What had the role at the end."""
    after: datetime | None
    """The decision before it; None: there is none."""
    before: datetime | None
    """The decision that found it; None: it was found now."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What had a role at a time."""

    at: datetime
    target: str
    version: str | None
    """None: nothing, as far as the decisions tell."""
    decision: Decision | None
    """Who gave it the role, and why."""
    by_hand: ByHand | None
    """If somebody moved the role by hand around then: possibly before `at`, so that `version` was gone already."""
    served: Change | None = None
    """What this machine's store served then: its own record, which knows of changes by hand too."""
    decisions: tuple[Decision, ...] = ()
    """All until then, of every role."""


def when_of(text: str, now: datetime) -> datetime:
    """A time as people write it: ISO 8601, in UTC unless it names a zone; or how long ago, such as `90s`, `15m`, `2h`.

    Raises:
        ValueError: it is neither, or lies outside what can be reckoned with.
    """
    from gateway.observe.show import seconds_of

    try:
        return now - timedelta(seconds=seconds_of(text))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"a time is like 2026-03-01T14:30, in UTC unless it ends in a zone such as +02:00, or 90s, 15m, 2h, 7d for"
            f" so long ago; not {text!r}"
        ) from None


def state_at(
    decisions: Sequence[Decision], target: Selector, at: datetime, *, current: str | None, now: datetime
) -> Past:
    """What the decisions tell of a role at a time.

    Each decision says what it found, and the registry what is there now. If that is not what the decision before had
    left, somebody moved the role in between.

    Args:
        decisions: on the model, of all roles, oldest first.
        target: the role.
        at: an aware time.
        current: what has the role now.
        now: an aware time.

    Raises:
        PromotionError: that time is still to come.
    """
    newest = max((decision.when for decision in decisions), default=now)
    if at > max(now, newest):
        raise PromotionError(f"{_written(at)} is still to come, it is {_written(now)}")
    own = [decision for decision in decisions if decision.target == str(target)]
    until = [decision for decision in own if decision.when <= at]
    last = until[-1] if until else None
    following = own[len(until)] if len(own) > len(until) else None
    left = last.after if last else None
    found = following.before if following else current
    by_hand = ByHand(
        version=found, after=last.when if last else None, before=following.when if following else None
    )  # fmt: skip
    return Past(
        at=at,
        target=str(target),
        version=left,
        decision=last,
        by_hand=by_hand if found != left else None,
        decisions=tuple(decision for decision in decisions if decision.when <= at),
    )


def served_at(changes: Sequence[Change], name: str, role: Role, at: datetime) -> Change | None:
    """The last change of a store, oldest first, that gave a model's role to what it served at a time."""
    own = [change for change in changes if (change.model, change.role) == (name, role) and change.time <= at]
    return own[-1] if own else None


def tell(name: str, past: Past) -> str:
    """The answer in one line, or two where this machine's store knows something too."""
    head, decision = f"{_written(past.at)}: {past.target} of {name}", past.decision
    if decision is not None:
        text = f"{head} was {say(decision.after)}, by {decision.who}'s {decision.action} of {_written(decision.when)}:"
        text += f" {why(decision)}"
    elif past.by_hand is not None:
        text = f"{head}: no decision until then"
    else:
        text = f"{head} was no version, as far as is known: no decision until then"
    if past.by_hand is not None:
        text += f"; but somebody {_moved(past.by_hand)}"
    if past.served is not None:
        after = past.served.after
        text += f"\nthis machine's store served {say(after.version if after else None)}, since"
        text += f" {_written(past.served.time)}: {past.served.reason} ({past.served.who})"
    return text


def why(decision: Decision) -> str:
    """What a decision's maker said, and what spoke for it; the reason that forced it is not told twice."""
    return f"{decision.why} ({decision.verdict.removesuffix(f': {decision.why}')})"


def _moved(move: ByHand) -> str:
    what = f"put {say(move.version)} there" if move.version else "took it away"
    until = _written(move.before) if move.before else "now"
    since = f"between {_written(move.after)} and {until}" if move.after else f"before {until}"
    return f"{what} by hand, at an unknown time {since}"


def _written(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
