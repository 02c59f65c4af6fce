"""Which version has a role: pure decisions over what the registry says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.sync.base import RegisteredVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store import Entry

__all__ = ["Resolution", "Selector", "resolve"]

_STAGES = ("Production", "Staging")


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """What marks a role in the registry: a stage, or an alias."""

    kind: Literal["stage", "alias"]
    value: str

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read `stage:Production` or `alias:champion`.

        Raises:
            ValueError: it is neither, or the stage is none that serves; the message says what is wanted.
        """
        kind, _, value = text.partition(":")
        if kind == "alias" and value:
            return cls(kind="alias", value=value)
        if kind == "stage" and value.capitalize() in _STAGES:
            return cls(kind="stage", value=value.capitalize())
        raise ValueError(f"must be stage:Production, stage:Staging or alias:NAME, not {text!r}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    def names(self, version: RegisteredVersion) -> bool:
        """Whether the registry gives this version the mark; stages know no case, aliases do."""
        if self.kind == "alias":
            return self.value in version.aliases
        return version.stage.capitalize() == self.value


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one role."""

    version: RegisteredVersion | None = None
    """What the registry names: the highest number if it names several."""
    others: tuple[int, ...] = ()
    """The further versions it names: not empty means ambiguous."""
    orphaned: bool = False
    """It names none, but one was served before: the last good one goes on."""


def resolve(versions: Sequence[RegisteredVersion], selector: Selector, previous: Entry | None) -> Resolution:
    """Find the version that has a role."""
    named = sorted((item for item in versions if selector.names(item)), key=lambda item: item.version)
    if not named:
        return Resolution(orphaned=previous is not None)
    return Resolution(version=named[-1], others=tuple(item.version for item in named[:-1]))
