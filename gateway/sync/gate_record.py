"""The gate's verdict on a version, as its tag `hotgate.gate`: `deploy` writes it, promotion and the sidecar read it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GATE_TAG", "Check", "GateOutcome", "GateRecord", "encode_record", "read_record"]

GATE_TAG = "hotgate.gate"
CHARACTERS_MAX = 5000
"""Of the tag: MLflow has kept no more than this of a tag in some releases."""
_REASON_CHARACTERS = 300

GateOutcome: TypeAlias = Literal["pass", "fail", "inconclusive"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the gate looked at."""

    name: str
    """`integrity`, `parity`, `roc_auc`, `slice sex=f`, `p99`, …"""
    outcome: GateOutcome
    reason: str
    """One sentence with the figures."""


class GateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said of exactly one file."""

    outcome: GateOutcome
    """A fail if one check failed, a pass only if all passed."""
    sha256: str
    """The file that was measured."""
    champion: str | None
    """The version that it was held against; None if nothing was in its place."""
    champion_sha256: str | None
    when: datetime
    machine: str
    checks: tuple[Check, ...]


_DECODER = msgspec.json.Decoder(GateRecord)


def encode_record(record: GateRecord) -> str:
    """The tag's text; reasons are cut, then passed checks left out from the end, until it fits a tag."""
    checks = [msgspec.structs.replace(check, reason=check.reason[:_REASON_CHARACTERS]) for check in record.checks]
    while True:
        text = msgspec.json.encode(msgspec.structs.replace(record, checks=tuple(checks))).decode()
        if len(text) <= CHARACTERS_MAX or not checks:
            return text
        passed = [number for number, check in enumerate(checks) if check.outcome == "pass"]
        del checks[passed[-1] if passed else -1]


def read_record(tags: Mapping[str, str]) -> GateRecord | None:
    """The record among a version's tags; None if there is none that can be read."""
    try:
        return _DECODER.decode(tags[GATE_TAG])
    except (KeyError, msgspec.DecodeError):
        return None
