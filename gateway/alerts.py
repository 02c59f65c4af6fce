"""What an alert says: the begin or the end of a breach, as it is kept, sent and shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, get_args

import msgspec

__all__ = ["KINDS", "Alert", "Evidence", "Kind", "words"]

Kind: TypeAlias = Literal["data_drift", "score_drift", "data_quality", "performance", "concept_drift", "ops"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an alert rests on: a column, a measure of performance, a part of the server."""

    name: str
    statistic: str
    value: float
    threshold: float
    """Of the value less what chance gives; for missing values, of its change."""
    n: int = 0
    """Rows behind the value; 0 where it is not of rows."""
    window_s: int = 0
    """Seconds behind the value; 0 where it is of this moment."""
    severity: Literal["warning", "critical"] = "warning"
    impact: float | None = None
    """Of a feature: by how much its shift alone changes the mean score; None: not known."""

    def __str__(self) -> str:
        effect = "" if self.impact is None else f", score {self.impact:+.2g}"
        return f"{self.name} ({self.statistic} {self.value:.3g}, limit {self.threshold:.3g}{effect})"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One begin or end of a breach."""

    id: str
    """The same from firing to resolved."""
    state: Literal["firing", "resolved"]
    model: str
    """Empty, like version and sha256, where it is about no model."""
    version: str
    sha256: str
    kind: Kind
    about: str = ""
    """Which of several alarms of that kind: `registry`, `disk`."""
    severity: str
    started_at: float
    """Unix time at which the first window of the breach began."""
    ended_at: float | None
    evidence: list[Evidence]
    """The most important first; of many, the first five."""
    text: str = ""
    """What it means and what to do, where that is not the same for all of its kind."""
    silenced: bool = False
    """Kept, but sent to nobody."""


def words(alert: Alert) -> str:
    """Say it in one line, for people."""
    who = f" of {alert.model}" + (f" version {alert.version}" if alert.version else "") if alert.model else ""
    kind = alert.kind.replace("_", " ") + (f" ({alert.about})" if alert.about else "")
    since = datetime.fromtimestamp(alert.started_at, UTC).isoformat(timespec="seconds")
    rests_on = ", ".join(map(str, alert.evidence))
    line = f"{alert.state}: {alert.severity} {kind}{who} since {since}" + (f": {rests_on}" if rests_on else "")
    return f"{line}. {alert.text}" if alert.text else line
