"""Our detector over the streams, by the same protocol as the peers'."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from benchmarks.drift.figures import Cost, Verdicts
from monitoring import RowCounter, build_reference, judge
from monitoring.alarm import Alarm, AlarmRule, severities
from monitoring.verdict import ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from benchmarks.drift.streams import Bank, Stream
    from benchmarks.drift.subjects import Subject
    from monitoring import Counts, ModelDrift, Reference

__all__ = [
    "BOTH",
    "HOTGATE",
    "SHORT",
    "SHORTER",
    "TWICE",
    "Detector",
    "Found",
    "Hotgate",
    "ShortHotgate",
    "adjusted",
    "read_rows",
    "survey",
    "window_verdicts",
]

HOTGATE: Final = "hotgate"
TWICE: Final = "hotgate, two windows in a row"
SHORT: Final = "hotgate, shorter windows"
BOTH: Final = "hotgate, both window lengths"
SHORTER: Final = 5
"""How many of the shorter windows one holds."""
CERTAIN: Final = 300.0
"""The statistic of a p-value of 1e-300, and of a share of missing values that has changed."""
WARM_WINDOWS: Final = 2


class Found(NamedTuple):
    """What one detector said."""

    verdicts: dict[str, Verdicts]
    """By name of the stream."""
    failed: dict[str, str]
    """Streams on which it raised, and what."""
    cost: Cost | None


class Detector(Protocol):
    """Judges the streams of one model."""

    names: tuple[str, ...]
    """What it gives verdicts for: it may judge in several ways at once."""

    def fit(self, subject: Subject) -> None:
        """Read the reference; what came before is forgotten."""

    def verdicts(self, rows: NDArray[np.float32], window_rows: int) -> dict[str, Verdicts]:
        """By name."""


class Hotgate:
    """Counts, then `judge` on each closed window, as the observer does."""

    names: tuple[str, ...] = (HOTGATE, TWICE)

    def __init__(self) -> None:
        self._reference: Reference
        self._counter: RowCounter

    def fit(self, subject: Subject) -> None:
        """Profile the reference's rows and scores."""
        *features, _ = subject.columns
        self._reference = build_reference(
            subject.reference[:, :-1],
            subject.reference[:, -1],
            names=features,
            kinds=["float"] * len(features),
            graph_sha256="",
        )
        self._counter = RowCounter(self._reference)

    def verdicts(self, rows: NDArray[np.float32], window_rows: int) -> dict[str, Verdicts]:
        """Without and with hysteresis."""
        return window_verdicts([self.judge(window) for window in np.split(rows, len(rows) // window_rows)])

    def judge(self, window: NDArray[np.float32]) -> ModelDrift:
        """One closed window."""
        return judge(self._reference, self._count(window))

    def cost_of_parts(self, rows: NDArray[np.float32], window_rows: int) -> tuple[float, float]:
        """CPU time of counting, in µs a row, and of judging, in ms a window."""
        windows = np.split(rows, len(rows) // window_rows)
        begin = time.process_time()
        counts = [self._count(window) for window in windows]
        counted = time.process_time()
        for one in counts:
            judge(self._reference, one)
        judged = time.process_time()
        return (counted - begin) / len(rows) * 1e6, (judged - counted) / len(windows) * 1e3

    def _count(self, window: NDArray[np.float32]) -> Counts:
        counts = self._counter.zeros()
        self._counter.add(counts, window[:, :-1], window[:, -1])
        return counts


class ShortHotgate(Hotgate):
    """The same on windows of a fifth of the rows, quicker and blinder, and on windows of both lengths."""

    names: tuple[str, ...] = (SHORT, BOTH)

    def verdicts(self, rows: NDArray[np.float32], window_rows: int) -> dict[str, Verdicts]:
        """Without hysteresis."""
        short, long = (
            super(ShortHotgate, self).verdicts(rows, n)[HOTGATE] for n in (window_rows // SHORTER, window_rows)
        )
        return {SHORT: short, BOTH: _both(short, long)}


def _both(short: Verdicts, long: Verdicts) -> Verdicts:
    """By short window: what it says, or where a long one ends, the louder of the two."""
    statistic, alarm = list(short.statistic), list(short.alarm)
    for number, (value, alarmed) in enumerate(zip(long.statistic, long.alarm, strict=True), start=1):
        last = number * SHORTER - 1
        statistic[last] = max((one for one in (statistic[last], value) if one is not None), default=None)
        alarm[last] |= alarmed
    return Verdicts(statistic=tuple(statistic), alarm=tuple(alarm))


def window_verdicts(judged: Iterable[ModelDrift]) -> dict[str, Verdicts]:
    """From the verdicts on closed windows, in order, to what is compared."""
    alarm, firing = dict.fromkeys(("data_drift", "score_drift", "data_quality"), Alarm()), []
    statistic, breach = [], []
    for number, verdict in enumerate(judged):
        found = severities(verdict)
        statistic.append(_statistic(verdict))
        breach.append(any(severity not in {None, "none"} for severity in found.values()))
        alarm = {kind: state.next(found[kind], float(number), AlarmRule()) for kind, state in alarm.items()}
        firing.append(any(state.firing for state in alarm.values()))
    twice = [_lower(before, now) for before, now in zip([0.0, *statistic[:-1]], statistic, strict=True)]
    return {
        HOTGATE: Verdicts(statistic=tuple(statistic), alarm=tuple(breach)),
        TWICE: Verdicts(statistic=tuple(twice), alarm=tuple(firing)),
    }


def adjusted(verdict: ModelDrift) -> float | None:
    """The smallest level at which Benjamini and Hochberg's procedure names any column; None if none was judged."""
    p_values = sorted(one.p_value for one in (*verdict.features, verdict.score) if one.p_value is not None)
    if not p_values:
        return None
    return min(p * len(p_values) / rank for rank, p in enumerate(p_values, start=1))


def survey(detector: Detector, bank: Bank) -> dict[str, Found]:
    """All streams of a bank; a detector that raises here is wrong, and ends it."""
    found: dict[str, dict[str, Verdicts]] = {name: {} for name in detector.names}
    model, cost = "", None
    for stream in bank.streams:
        if stream.model != model:
            detector.fit(bank.subjects[stream.model])
            model = stream.model
        rows = read_rows(bank, stream)
        if stream.shift == "cost":
            cost = _cost(detector, rows, stream.window_rows)
            continue
        for name, verdicts in detector.verdicts(rows, stream.window_rows).items():
            found[name][stream.name] = verdicts
    return {name: Found(verdicts, {}, cost) for name, verdicts in found.items()}


def read_rows(bank: Bank, stream: Stream) -> NDArray[np.float32]:
    """What a monitor sees of a stream."""
    with np.load(bank.folder / "streams" / f"{stream.name}.npz") as found:
        rows: NDArray[np.float32] = found["rows"]
    return rows


def _cost(detector: Detector, rows: NDArray[np.float32], window_rows: int) -> Cost:
    detector.verdicts(rows[: WARM_WINDOWS * window_rows], window_rows)
    begin = time.process_time()
    detector.verdicts(rows, window_rows)
    return Cost(cpu_s=time.process_time() - begin, rows=len(rows))


def _statistic(verdict: ModelDrift) -> float | None:
    """-log10 of `adjusted` by that of the level: 1 at the default; no column's effect is asked for."""
    p_value = adjusted(verdict)
    if any(feature.missing_drift for feature in verdict.features):
        return CERTAIN
    return None if p_value is None else np.log10(max(p_value, 10**-CERTAIN)) / np.log10(ALPHA) + 0.0


def _lower(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else min(before, now)
