"""From verdicts to figures: false alarms, thresholds of equal false-alarm rate, recall and delay."""

from __future__ import annotations

import math
from statistics import mean, median
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.drift.figures import Point, Recall, Share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchmarks.drift.figures import Verdicts
    from benchmarks.drift.streams import Stream

__all__ = [
    "CURVE",
    "Scored",
    "at_default",
    "calibrate",
    "calibrated",
    "curve",
    "delay_of",
    "false_alarms",
    "recall",
    "recalls",
    "window_maxima",
]

CURVE: Final = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""False-alarm rates at which the curve has a point."""


class Scored(NamedTuple):
    """A stream, what was said of it block by block, and which blocks were alarms at some setting."""

    stream: Stream
    alarms: tuple[bool, ...]

    @property
    def block_rows(self) -> int:
        """How many rows a verdict speaks of."""
        return self.stream.rows // len(self.alarms)


def window_maxima(stream: Stream, verdicts: Verdicts) -> list[float]:
    """The largest statistic of each window; what cannot say says nothing."""
    values = [-math.inf if value is None or math.isnan(value) else value for value in verdicts.statistic]
    per_window = len(values) * stream.window_rows // stream.rows
    return [max(values[at : at + per_window]) for at in range(0, len(values), per_window)]


def calibrate(quiet: Sequence[float], target: float) -> float:
    """The value that is passed with probability `target` by the next window of the same kind.

    The j-th largest of n is passed by one more with probability j / (n + 1): the largest j that keeps to the target.

    Raises:
        ValueError: there are too few windows to say.
    """
    rank = math.floor(target * (len(quiet) + 1) + 1e-9)
    if rank < 1:
        raise ValueError(f"{len(quiet)} windows without drift do not show what happens in {target:.2%} of them")
    return sorted(quiet, reverse=True)[rank - 1]


def at_threshold(stream: Stream, verdicts: Verdicts, threshold: float) -> Scored:
    """Alarms above a threshold."""
    return Scored(stream, tuple(value is not None and value > threshold for value in verdicts.statistic))


def at_default(stream: Stream, verdicts: Verdicts) -> Scored:
    """Alarms as the detector comes."""
    return Scored(stream, verdicts.alarm)


def false_alarms(scored: Iterable[Scored]) -> Share:
    """Windows with an alarm, of all that end before the stream's change."""
    total = Share(hits=0, of=0)
    for one in scored:
        per_window = one.stream.window_rows // one.block_rows
        quiet = one.stream.rows if one.stream.change is None else one.stream.change
        for window in range(quiet // one.stream.window_rows):
            part = one.alarms[window * per_window : (window + 1) * per_window]
            total += Share(hits=int(any(part)), of=1)
    return total


def delay_of(one: Scored) -> float:
    """Rows from the change to the end of the first block after it with an alarm; infinite if there is none."""
    assert one.stream.change is not None  # noqa: S101 - only such streams are asked about
    for block, alarm in enumerate(one.alarms):
        end = (block + 1) * one.block_rows
        if alarm and end > one.stream.change:
            return end - one.stream.change
    return math.inf


def recall(scored: Iterable[Scored]) -> Recall:
    """Of streams that change."""
    delays = [delay_of(one) for one in scored]
    found = Share(hits=sum(map(math.isfinite, delays)), of=len(delays))
    middle = median(delays) if delays else math.inf
    return Recall(found=found, delay_rows=middle if math.isfinite(middle) else None)


def recalls(scored: Iterable[Scored], key: Callable[[Stream], str]) -> dict[str, Recall]:
    """The same by a property of the stream."""
    groups: dict[str, list[Scored]] = {}
    for one in scored:
        groups.setdefault(key(one.stream), []).append(one)
    return {name: recall(group) for name, group in groups.items()}


def thresholds(streams: Mapping[str, Stream], verdicts: Mapping[str, Verdicts], target: float) -> dict[str, float]:
    """By source, from its streams without drift."""
    quiet: dict[str, list[float]] = {}
    for name, found in verdicts.items():
        if streams[name].kind == "quiet":
            quiet.setdefault(streams[name].source, []).extend(window_maxima(streams[name], found))
    return {source: calibrate(values, target) for source, values in quiet.items()}


def calibrated(streams: Mapping[str, Stream], verdicts: Mapping[str, Verdicts], target: float) -> list[Scored]:
    """The streams that change, at thresholds of equal false-alarm rate; none of them was calibrated on."""
    limits = thresholds(streams, verdicts, target)
    changing = [(streams[name], found) for name, found in verdicts.items() if streams[name].change is not None]
    return [at_threshold(stream, found, limits[stream.source]) for stream, found in changing if stream.source in limits]


def curve(streams: Mapping[str, Stream], verdicts: Mapping[str, Verdicts]) -> tuple[Point, ...]:
    """Delay at several false-alarm rates, over the streams whose rows change."""
    points = []
    for target in CURVE:
        try:
            scored = calibrated(streams, verdicts, target)
        except ValueError:
            continue
        delays = [
            min(delay_of(one), one.stream.rows - (one.stream.change or 0))
            for one in scored
            if one.stream.kind != "concept"
        ]
        if delays:
            points.append(Point(false_alarms=false_alarms(scored), delay_rows=mean(delays)))
    return tuple(points)
