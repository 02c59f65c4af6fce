"""Concept drift: has the error rate changed? ADWIN and Page-Hinkley over the errors, in the order in which labels came.

After a change both begin anew, so that what they know follows from the errors since then: a restart reads those again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from gateway.performance import Change
from monitoring.performance.proportion import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.observe.truth_store import TruthStore

__all__ = ["Detector", "ErrorStreams", "Standing", "river_detectors"]

RECENT: Final = 200
"""Newest labels whose error rate is told, and has to be back for a drift to be over."""
AFTER: Final = 50
"""Newest labels whose error rate stands for what comes after a change: most of them are behind it."""
SURE: Final = 30
"""Labels after a change below which they say nothing of its end."""
REPLAY: Final = 200_000
"""Most errors that are read again after a restart, in about 0.6 s."""
CHANGES: Final = 10


class Detector(Protocol):
    """One of river's."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last value told a change."""

    def update(self, x: float) -> Any:
        """Take one more value."""


def river_detectors() -> dict[str, Detector]:
    """New detectors, by name.

    ADWIN cuts its window where the means of the two parts differ by more than chance: river's own settings, a false cut
    with probability 0.002. Page-Hinkley sums what errors exceed their mean by 0.02 and tells when that sum has risen by
    50: smaller changes are not looked for, and 0.1 more errors take about 600 labels.

    Source: Bifet and Gavaldà, Learning from time-changing data with adaptive windowing, SDM 2007; Page, Continuous
    inspection schemes, Biometrika 41, 1954.

    Raises:
        ImportError: river is not installed.
    """
    from river.drift import ADWIN, PageHinkley

    adwin = ADWIN()  # type: ignore[no-untyped-call]  # river annotates no __init__ there
    return {"adwin": adwin, "page_hinkley": PageHinkley(delta=0.02, threshold=50.0, alpha=1.0, mode="up")}


class Standing(NamedTuple):
    """What is known of one version's errors now; nothing of numbers, which are never quite right."""

    drift: bool | None
    rate: float | None
    changes: list[Change]


class _Stream:
    """The errors of one version since its last change."""

    def __init__(self, detectors: dict[str, Detector]) -> None:
        self.detectors = detectors
        self.recent: deque[int] = deque(maxlen=AFTER)
        self.labels = self.wrong = 0

    def add(self, wrong: int) -> str | None:
        """Take one more; returns the detector that tells a change."""
        self.labels += 1
        self.wrong += wrong
        self.recent.append(wrong)
        for detector in self.detectors.values():
            detector.update(wrong)
        return next((name for name, detector in self.detectors.items() if detector.drift_detected), None)

    def rates(self) -> tuple[float, float]:
        """Error rate of all but the newest, and of the newest."""
        newest = list(self.recent)[-min(AFTER, max(self.labels // 2, 1)) :]
        before = (self.wrong - sum(newest)) / max(self.labels - len(newest), 1)
        return before, sum(newest) / len(newest)


class ErrorStreams:
    """The errors of all versions.

    Args:
        detectors: makes new ones; raises ImportError where there are none.
    """

    def __init__(self, detectors: Callable[[], dict[str, Detector]] = river_detectors) -> None:
        self._detectors = detectors
        self._streams: dict[int, _Stream] = {}
        self.problem: str | None = None
        """Why nobody looks for concept drift."""

    def forget(self) -> None:
        """Read everything again when it is needed."""
        self._streams.clear()

    def add(self, store: TruthStore, version: int, place: int, at: float, wrong: int) -> None:
        """Take one error or right answer, which the store has, and note within its transaction what it tells.

        Args:
            store: holds those before, too.
            version: of whose predictions it is one.
            place: number of the label in the order of joining.
            at: when it was predicted, in Unix time.
            wrong: 1 or 0.
        """
        try:
            stream = self._streams.get(version) or self._read_again(store, version, place)
        except ImportError:
            self.problem = "concept drift is not looked for: river is missing, install hotgate[monitor]"
            return
        told = stream.add(wrong)
        if told is None:
            return
        before, after = stream.rates()
        drifting, level = self._drifting(store, version, place)
        change = Change(
            detector=told,  # type: ignore[arg-type]  # the names are those of `river_detectors`
            at=at,
            labels=_count(store, version, place),
            before=before,
            after=after,
            level=min(before, level) if drifting else before,
        )
        row = (version, place, int(change.worse), msgspec.json.encode(change).decode())
        store.tell("INSERT INTO changes VALUES (?, ?, ?, ?)", [row])
        store.ask(
            "DELETE FROM changes WHERE version = ?1 AND place NOT IN"
            " (SELECT place FROM changes WHERE version = ?1 ORDER BY place DESC LIMIT ?2)",
            version, CHANGES,
        )  # fmt: skip
        self._streams[version] = _Stream(self._detectors())

    def standing(self, store: TruthStore, version: int) -> Standing:
        """What is known now; None for what cannot be said."""
        if store.versions[version].judged == "number":
            return Standing(None, None, [])
        recent = _newest(store, version, -1)
        found = store.ask("SELECT report FROM changes WHERE version = ? ORDER BY place", version)
        changes = [msgspec.json.decode(report, type=Change) for (report,) in found]
        looked_for = len(recent) >= SURE and self.problem is None
        return Standing(
            drift=self._drifting(store, version, None)[0] if looked_for else None,
            rate=sum(recent) / len(recent) if recent else None,
            changes=changes,
        )

    def _drifting(self, store: TruthStore, version: int, until: int | None) -> tuple[bool, float]:
        """Whether the error rate has risen and is not back, and what it has to come back to."""
        last = store.ask(
            "SELECT place, report FROM changes WHERE version = ? AND worse ORDER BY place DESC LIMIT 1", version
        )
        if not last:
            return False, 0.0
        place, report = last[0]
        level = msgspec.json.decode(report, type=Change).level
        recent = _newest(store, version, place, until)
        back = len(recent) >= SURE and wilson(sum(recent) / len(recent), len(recent))[0] <= level
        return not back, level

    def _read_again(self, store: TruthStore, version: int, place: int) -> _Stream:
        stream = self._streams[version] = _Stream(self._detectors())
        ((since,),) = store.ask("SELECT coalesce(max(place), -1) FROM changes WHERE version = ?", version)
        found = store.ask(
            "SELECT wrong FROM labels WHERE version = ? AND place > ? AND place < ? ORDER BY place DESC LIMIT ?",
            version, since, place, REPLAY,
        )  # fmt: skip
        for (wrong,) in reversed(found):
            if stream.add(wrong) is not None:
                # It was no change when it came: labels before it are gone by now. Begin behind it, and tell nobody.
                stream = self._streams[version] = _Stream(self._detectors())
        return stream


def _newest(store: TruthStore, version: int, since: int, until: int | None = None) -> list[int]:
    found = store.ask(
        "SELECT wrong FROM labels WHERE version = ? AND place > ? AND place <= ? ORDER BY place DESC LIMIT ?",
        version, since, 2**62 if until is None else until, RECENT,
    )  # fmt: skip
    return [wrong for (wrong,) in found]


def _count(store: TruthStore, version: int, place: int) -> int:
    return int(store.ask("SELECT count(*) FROM labels WHERE version = ? AND place <= ?", version, place)[0][0])
