"""What a version must have to be given a role: parity and hash for any, the gate's pass for the champion's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.sync.base import SHA256_TAG
from gateway.sync.gate_record import GATE_TAG, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from mlflow import MlflowClient

    from gateway.sync.decision import Decision
    from gateway.sync.gate_record import GateRecord

__all__ = [
    "PARITY_TAG",
    "Expectation",
    "PromotionError",
    "PromotionLostError",
    "demand_gate",
    "fit_tags",
    "say",
    "sha256_of",
]

PARITY_TAG = "hotgate.parity"
"""The version's tag that registering sets to `pass`: the model file answers as scikit-learn did."""


class PromotionError(Exception):
    """Nothing was moved; the text says why and what would help."""


class PromotionLostError(PromotionError):
    """Somebody else decided at the same time, and first; theirs stands."""


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """Who must have a role for it to be given to another."""

    champion: str | None
    """None: nobody."""
    sha256: str | None = None
    """Which file it must have; None: whichever."""
    cure: str = ""
    """What to do if it is not so."""

    def check(self, name: str, target: str, found: str | None, sha256: str | None) -> None:
        """Refuse unless it is as expected.

        Args:
            name: the registered model.
            target: the role.
            found: who has the role now.
            sha256: which file that one has now.

        Raises:
            PromotionError: it is not.
        """
        text = ""
        if found != self.champion:
            text = f"{target} of {name} is held by {say(found)}, not by {say(self.champion)}"
        elif self.sha256 not in {None, sha256}:
            was, now = str(self.sha256)[:12], str(sha256)[:12]
            text = f"{say(found)}, which holds {target} of {name}, has another file than it had ({was}, now {now})"
        if text:
            raise PromotionError(f"{text}: {self.cure}" if self.cure else text)


def fit_tags(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    """The version's tags, if they say that the gateway would serve it."""
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
    return tags


def sha256_of(client: MlflowClient, name: str, version: str) -> str | None:
    """The hash of a version's file, as its tag says; None without one."""
    tags: dict[str, str] = client.get_model_version(name, version).tags
    return tags.get(SHA256_TAG)


def demand_gate(name: str, version: str, tags: Mapping[str, str], decisions: Iterable[Decision]) -> GateRecord:
    """The gate's record of a version, if it passed with exactly the file that the version has now.

    Args:
        name: the registered model.
        version: to be promoted.
        tags: of that version.
        decisions: on the role. Whoever rolled the version back since knew more than the gate.

    Raises:
        PromotionError: there is none, it did not pass, it speaks of another file, or is older than a rollback.
    """
    record = read_record(tags)
    if record is None:
        told = "cannot be read" if GATE_TAG in tags else "is missing"
        why = f"has not passed the gate (tag {GATE_TAG} {told})"
    elif record.sha256 != tags[SHA256_TAG]:
        why = f"was gated with another file ({record.sha256[:12]}, now {tags[SHA256_TAG][:12]})"
    elif record.outcome != "pass":
        word = "failed the gate" if record.outcome == "fail" else "was not decided by the gate"
        failed = [f"{check.name}: {check.reason}" for check in record.checks if check.outcome == record.outcome]
        why = f"{word} ({'; '.join(failed)})" if failed else word
    elif back := _rolled_back(version, record.when, decisions):
        why = f"was rolled back after it passed the gate, by {back.who}: {back.why}"
    else:
        return record
    raise PromotionError(
        f"version {version} of {name} {why}: run `hotgate gate {name} {version}`,"
        " or promote with --force --reason TEXT, which is recorded"
    )


def _rolled_back(version: str, since: datetime, decisions: Iterable[Decision]) -> Decision | None:
    away = [one for one in decisions if one.action == "rollback" and one.before == version and one.when > since]
    return away[-1] if away else None


def say(version: str | None) -> str:
    """A version, or that there is none, in words."""
    return f"version {version}" if version else "no version"
