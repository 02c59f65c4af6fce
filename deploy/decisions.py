"""The decisions on a registered model: written before the deed, read by `rollback` and `history` from any machine."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from gateway.sync.decision import Decision, decision_key, read_decisions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlflow import MlflowClient

__all__ = ["Decision", "history", "load", "predecessors", "quiet_stages", "withdraw", "write"]


def load(client: MlflowClient, name: str) -> dict[str, Decision]:
    """All decisions on a model by tag key, oldest first."""
    with quiet_stages():
        return dict(read_decisions(client.get_registered_model(name).tags))


def write(client: MlflowClient, name: str, decision: Decision) -> str:
    """Record a decision; returns the tag's key."""
    key = decision_key(decision.when)
    client.set_registered_model_tag(name, key, msgspec.json.encode(decision).decode())
    return key


def withdraw(client: MlflowClient, name: str, key: str) -> None:
    """Remove a decision that did not come to pass."""
    client.delete_registered_model_tag(name, key)


def history(client: MlflowClient, name: str, *, at: datetime | None = None) -> tuple[Decision, ...]:
    """The decisions on a model, oldest first.

    Args:
        at: an aware time; only decisions made until then, so that the last one of each target is what was in force.

    Raises:
        ValueError: `at` has no time zone.
    """
    if at is not None and at.tzinfo is None:
        raise ValueError(f"at must have a time zone, {at.isoformat()} has none")
    return tuple(decision for decision in load(client, name).values() if at is None or decision.when <= at)


def after_all(decisions: Sequence[Decision], now: datetime) -> datetime:
    """`now`, or a moment after the newest decision if this machine's clock is behind: keys tell the order."""
    newest = max((decision.when for decision in decisions), default=datetime.min.replace(tzinfo=UTC))
    return max(now.astimezone(UTC), newest + timedelta(microseconds=1))


def predecessors(decisions: Sequence[Decision], current: str | None) -> tuple[str, ...]:
    """The versions to go back to, the nearest first; empty if no decision tells of one.

    Promotions pile up and a rollback takes one off, so a second rollback goes further back instead of forth again. A
    version that somebody put there by hand, behind the decisions' back, counts as one more on the pile. What has the
    role now is left out wherever it lies: nobody goes back to where he is.

    Args:
        decisions: those of one target, oldest first.
        current: what has the role now.
    """
    pile: list[str] = []
    for decision in decisions:
        if decision.before is not None and pile[-1:] != [decision.before]:
            pile.append(decision.before)
        if decision.action == "rollback" and decision.after in pile:
            while pile[-1] != decision.after:
                pile.pop()
        elif pile[-1:] != [decision.after]:
            pile.append(decision.after)
    if pile and pile[-1] == current:
        pile.pop()
    return tuple(dict.fromkeys(version for version in reversed(pile) if version != current))


@contextmanager
def quiet_stages() -> Iterator[None]:
    """Silence MLflow's deprecation of stages: they are a supported choice here, and aliases are the other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(stages|noload).*")
        yield
