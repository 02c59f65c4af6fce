"""Decisions: the record that promoting and rolling back leave on a registered model, as tags.

A tag `hotgate.decision.<UTC>.<random>` holds one decision as JSON. `deploy` writes them; the sidecar reads who decided.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DECISION_PREFIX", "Decision", "decision_key", "matching", "read_decisions"]

DECISION_PREFIX = "hotgate.decision."


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Who put which version where, when and why."""

    who: str
    when: datetime
    why: str
    action: Literal["promote", "rollback"]
    target: str = "stage:Production"
    """The role setting that it acted through."""
    before: str | None = msgspec.field(name="from")
    after: str = msgspec.field(name="to")
    verdict: str
    """What spoke for it: `parity: pass`, a gate's verdict, or `forced`."""
    sha256: str


_DECODER = msgspec.json.Decoder(Decision)


def decision_key(when: datetime) -> str:
    """A tag's key: sorted as text, keys are sorted by time; two of one moment differ."""
    return f"{DECISION_PREFIX}{when.astimezone(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}.{secrets.token_hex(4)}"


def read_decisions(tags: Mapping[str, str]) -> list[tuple[str, Decision]]:
    """Decisions among a registered model's tags, as (key, decision), oldest first; others' text is left out."""
    found = []
    for key in sorted(key for key in tags if key.startswith(DECISION_PREFIX)):
        try:
            found.append((key, _DECODER.decode(tags[key])))
        except msgspec.DecodeError:
            continue
    return found


def matching(tags: Mapping[str, str], target: str, version: str) -> Decision | None:
    """The decision behind a version's taking a role: the role's newest one, if it names that version."""
    newest = [decision for _, decision in read_decisions(tags) if decision.target == target][-1:]
    return newest[0] if newest and newest[0].after == version else None
