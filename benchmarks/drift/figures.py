"""What `hotgate bench drift` finds out."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from benchmarks.figures import Machine
from monitoring.performance.proportion import wilson

__all__ = [
    "Cost",
    "DetectorFigures",
    "DriftFigures",
    "Kind",
    "NullFigures",
    "Point",
    "Recall",
    "Series",
    "Share",
    "Verdicts",
]

Kind: TypeAlias = Literal["quiet", "abrupt", "gradual", "recurring", "concept", "annotated"]
"""How a stream changes; `concept` leaves the distribution of the rows as it was and changes what their labels are."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """So many of so many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """NaN of none."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Of the probability behind it, at 95 %: Wilson's."""
        return wilson(self.value, self.of) if self.of else (0.0, 1.0)

    @property
    def percent(self) -> str:
        """With the interval, in %; a dash of none."""
        if not self.of:
            return "-"
        low, high = self.interval
        return f"{self.value:.1%} ({low:.1%} to {high:.1%})".replace("%", "")

    def __add__(self, other: Share) -> Share:
        """Both together."""
        return Share(hits=self.hits + other.hits, of=self.of + other.of)


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector says of one stream, a value for each block of rows."""

    statistic: tuple[float | None, ...]
    """The larger, the more it looks like drift; None where the detector says that it cannot say."""
    alarm: tuple[bool, ...]
    """With the detector as it comes."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """CPU time over some rows of 30 features and a score, after imports and after the reference was read."""

    cpu_s: float
    rows: int

    @property
    def us_per_row(self) -> float:
        """In µs."""
        return self.cpu_s / self.rows * 1e6


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """How a detector does on streams that change."""

    found: Share
    """Streams with an alarm after the change."""
    delay_rows: float | None
    """From the change to the end of the first block with an alarm: the median over all streams, a missed one counting
    as never; None if that is never."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a detector."""

    false_alarms: Share
    """Of the windows without drift."""
    delay_rows: float
    """Mean over the streams that change; a missed one counts as all its rows after the change."""


class DetectorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One detector over all its streams."""

    name: str
    versions: dict[str, str] = {}
    default: str
    """Its settings as it comes."""
    knob: str
    """What is turned until it alarms as rarely as the others."""
    labels: bool = False
    """It looks at whether predictions were right, so it needs the truth."""
    streams: int = 0
    """How many streams it was given."""
    failure: str | None = None
    """Why it has no figures."""
    errors: tuple[str, ...] = ()
    """Streams on which it failed: they are in no other figure."""
    false_default: Share | None = None
    """Windows with an alarm, of those without drift."""
    false_equal: Share | None = None
    """The same with the thresholds of the calibration, on windows that were not calibrated on."""
    by_default: dict[str, Recall] = {}
    """By kind of change, at default settings."""
    at_equal: dict[str, Recall] = {}
    """By kind of change, at equal false-alarm rate."""
    shifts: dict[str, Recall] = {}
    """By what was changed, at equal false-alarm rate."""
    curve: tuple[Point, ...] = ()
    common: Recall | None = None
    """At equal false-alarm rate, on the streams that every detector was given."""
    cost: Cost | None = None


class NullFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Windows of one size without drift, judged by hotgate."""

    name: str
    how: str
    rows: int
    windows: Share
    """Windows with any alarm."""
    firing: Share
    """Windows in which an alarm fires, by the two-in-a-row rule."""
    significant: Share
    """Windows with a column that is significant, whatever its effect."""
    silent: int
    """Windows too small to be judged."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A detector at its defaults on a series whose changes people have marked."""

    name: str
    rows: int
    change: int
    verdicts: dict[str, str]
    """By detector: a mark for each window."""


class DriftFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, with what is needed to measure it again."""

    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    seed: int
    window_rows: int
    reference_rows: int
    target: float
    """The false-alarm rate a window that all are brought to."""
    streams: dict[str, int]
    """How many by kind."""
    sources: tuple[str, ...]
    seconds: float
    parts: tuple[float, float]
    """CPU time of hotgate's counting, in µs a row of 30 features, and of its judging, in ms a window."""
    nulls: tuple[NullFigures, ...]
    detectors: tuple[DetectorFigures, ...]
    series: tuple[Series, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Detectors without figures."""
        return tuple(one.name for one in self.detectors if one.failure is not None)
