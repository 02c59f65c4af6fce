"""Works out from joined labels how good each version is, and writes it where every worker finds it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from gateway.observe.truth_store import EPOCH_S
from gateway.performance import FILE, Horizon, PerformanceReport, Performances
from gateway.store import replace_file
from monitoring.performance.estimate import estimate, learn_worth, no_estimate
from monitoring.performance.measure import Measured, measure, measure_classes, measure_numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from gateway.observe.error_streams import ErrorStreams
    from gateway.observe.scored import Version
    from gateway.observe.truth import Truth
    from monitoring import Counts
    from monitoring.performance.estimate import Estimated

__all__ = ["FIRST_ROWS", "HORIZONS_S", "Judging"]

HORIZONS_S: Final = (3600, 86_400, 7 * 86_400)
"""An hour, a day, a week."""
ROWS_MAX: Final = 50_000
"""Newest labelled rows of a version that are judged: their accuracy is known to half a percent, in about 0.3 s."""
FIRST_ROWS: Final = 1000
"""Labels that tell what is usual for a version."""
REPORT_S: Final = 2.0
"""Least time between two reports, which are made while something is new."""
REPORT_SHARE: Final = 0.05
"""Of a core, which reports may take."""
REFRESH_S: Final = 60.0
"""Longest time between two: horizons move on while nothing comes."""
VERSIONS_MAX: Final = 50
"""Most versions that are reported on."""

_JOINED: Final = "SELECT predicted, truth, answer FROM labels WHERE version = ? AND state = 'joined'"
_NEWEST: Final = f"{_JOINED} ORDER BY predicted DESC LIMIT ?"
_EARLIEST: Final = f"{_JOINED} ORDER BY place LIMIT ?"


class Judging:
    """Reports on all versions.

    Args:
        folder: `monitor/`.
        truth: what is joined.
        streams: what is known of its errors.
        clock: wall time.
    """

    def __init__(
        self, folder: Path, truth: Truth, streams: ErrorStreams, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = folder / FILE
        self._truth = truth
        self._streams = streams
        self._clock = clock
        self._reports: dict[int, PerformanceReport] = {}
        self._made_at = float("-inf")
        self._pause_s = REPORT_S

    @property
    def reports(self) -> list[PerformanceReport]:
        """The newest ones."""
        return list(self._reports.values())

    def look(self) -> None:
        """Make new reports if it is time, and write them.

        Raises:
            OSError: they cannot be written.
            sqlite3.Error: what they are made of cannot be read.
        """
        now = self._clock()
        age = now - self._made_at
        if 0 <= age < (self._pause_s if self._truth.touched else REFRESH_S):
            return
        self._made_at, began = now, time.perf_counter()
        touched = set(self._truth.touched)
        asked = [version for version in self._active() if version in touched or version in self._reports]
        reports = {version: self._report(version, now) for version in asked}
        self._reports = {version: report for version, report in reports.items() if _has_rows(report)}
        found = Performances(time=now, feedback=self._truth.feedback(), models=self.reports)
        replace_file(self._path, msgspec.json.encode(found), durable=False)
        self._truth.touched -= touched
        self._pause_s = max(REPORT_S, (time.perf_counter() - began) / REPORT_SHARE)

    def _active(self) -> list[int]:
        """The versions that scored last, by number; the oldest of very many are left out."""
        store = self._truth.store
        scored = dict.fromkeys(store.versions, 0.0)
        for segment in store.segments.values():
            scored[segment.version] = max(scored[segment.version], segment.until)
        return sorted(sorted(scored, key=lambda version: (scored[version], version))[-VERSIONS_MAX:])

    def _report(self, number: int, now: float) -> PerformanceReport:
        version = self._truth.store.versions[number]
        times, truth, answers = self._joined(number, _NEWEST, ROWS_MAX)
        expected = _estimator(version, truth, answers)
        horizons = []
        for horizon_s in HORIZONS_S:
            n = int(np.searchsorted(-times, horizon_s - now))
            begin = (now - horizon_s) // EPOCH_S * EPOCH_S
            horizons.append(
                Horizon(
                    horizon_s=horizon_s,
                    since=float(times[n - 1]) if n else None,
                    realised=_measure(version, truth[:n], answers[:n]),
                    estimated=expected(self._truth.store.scores(number, begin)),
                )
            )
        standing = self._streams.standing(self._truth.store, number)
        return PerformanceReport(
            model=version.model,
            version=version.version,
            sha256=version.sha256,
            judged=version.judged,
            labels=list(version.labels),
            horizons=horizons,
            first=self._first(number),
            concept_drift=standing.drift,
            error_rate=standing.rate,
            changes=standing.changes,
        )

    def _joined(
        self, version: int, question: str, most: int
    ) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.float32]]:
        """When rows were predicted [n], what came true of them [n] and their answers, as `Scored` has them."""
        found = self._truth.store.ask(question, version, most)
        packed = b"".join(answer for _, _, answer in found)
        judged, width = self._truth.store.versions[version].judged, len(self._truth.store.versions[version].classes)
        return (
            np.array([predicted for predicted, _, _ in found], dtype=np.float64),
            np.array([truth for _, truth, _ in found], dtype=np.float64 if judged == "number" else np.int64),
            np.frombuffer(packed, dtype="<f4").reshape(-1, width if judged == "probabilities" else 1),
        )

    def _first(self, version: int) -> Measured | None:
        """How good the first labelled rows were; worked out once, since they are dropped in time."""
        store = self._truth.store
        known = store.ask("SELECT report FROM first WHERE version = ?", version)
        if known:
            return msgspec.json.decode(known[0][0], type=Measured)
        _, truth, answers = self._joined(version, _EARLIEST, FIRST_ROWS)
        if truth.size < FIRST_ROWS:
            return None
        first = _measure(store.versions[version], truth, answers)
        store.tell("INSERT INTO first VALUES (?, ?)", [(version, msgspec.json.encode(first).decode())])
        return first


def _measure(version: Version, truth: NDArray[Any], answers: NDArray[np.float32]) -> Measured:
    if version.judged == "number":
        return measure_numbers(truth, answers[:, 0])
    if version.judged == "class":
        return measure_classes(truth, answers[:, 0].astype(np.int64), len(version.classes))
    return measure(truth, answers)


def _estimator(version: Version, truth: NDArray[Any], answers: NDArray[np.float32]) -> Callable[[Counts], Estimated]:
    """What tells of counted scores how good they probably are."""
    if version.judged == "probabilities":
        return partial(estimate, worth=learn_worth(truth, answers))
    return lambda counts: no_estimate(int(counts.sum()))


def _has_rows(report: PerformanceReport) -> bool:
    return any(horizon.realised.n or horizon.estimated.n for horizon in report.horizons)
