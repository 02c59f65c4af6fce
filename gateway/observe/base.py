"""Where alarms come from, and where alerts go."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.alerts import Evidence, Kind
from monitoring.verdict import SEVERITIES, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.alerts import Alert

__all__ = ["Condition", "Sink", "Source", "key_of"]


def key_of(kind: Kind, *, about: str = "", model: str = "", version: str = "", sha256: str = "") -> str:
    """Under which an alarm is known, and its alerts' ids begin; the same in every process."""
    subject = sha256 or hashlib.sha256(f"{model}\0{version}".encode()).hexdigest()
    return "-".join(filter(None, (subject[:16], kind, about)))


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What a source says of one period and one kind of trouble.

    Either the period is a closed window, and windows in a row are counted before an alarm begins or ends; or the source
    has made sure by itself, says `at_once` and may say the same again at every look.
    """

    kind: Kind
    about: str = ""
    """Which of several alarms of that kind: letters, digits, `.`, `_` and `-`."""
    model: str = ""
    version: str = ""
    sha256: str = ""
    since: float
    """Begin of the period, or of the trouble; Unix time."""
    until: float
    """End of the period; what ends no later than one that was taken into account before is left out."""
    evidence: tuple[Evidence, ...] | None
    """What is wrong, the most important first; empty: nothing is; None: that cannot be said, which changes nothing."""
    text: str = ""
    """What it means and what to do, if that is not the same for all of its kind."""
    at_once: bool = False

    @property
    def key(self) -> str:
        """As `key_of`."""
        return key_of(self.kind, about=self.about, model=self.model, version=self.version, sha256=self.sha256)

    @property
    def severity(self) -> Severity | None:
        """The worst of the evidence; None if it cannot be said."""
        if self.evidence is None:
            return None
        return max((found.severity for found in self.evidence), key=SEVERITIES.index, default="none")


class Source(Protocol):
    """Where conditions come from."""

    @property
    def name(self) -> str:
        """For operators."""

    def look(self, seen: Mapping[str, float], now: float) -> list[Condition]:
        """What there is to say, in the order of time.

        Args:
            seen: by key, the end of the last window that was taken into account, also over a restart.
            now: wall clock, in seconds.

        Raises:
            OSError: not now; it is asked again.
        """


class Sink(Protocol):
    """Where alerts go."""

    @property
    def name(self) -> str:
        """What its outbox is kept under; the same after a restart."""

    @property
    def takes_silenced(self) -> bool:
        """Whether it is a record, which holds also what nobody is to be told."""

    @property
    def repeat_s(self) -> float | None:
        """After how many seconds what still fires is delivered again; None: never."""

    def deliver(self, alert: Alert) -> None:
        """Hand one over; the same one may come again.

        Raises:
            OSError: not now; it is tried again.
        """
