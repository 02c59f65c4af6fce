"""Alarms from drift: closed windows of what workers have counted, each judged once."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.alerts import Evidence, Kind
from gateway.counts import EPOCH_S, ModelCounts, Served, UnreadableCountsError, find_versions, folders_in
from gateway.observe.base import Condition, key_of
from gateway.verdicts import Window, judge_window
from monitoring.alarm import evidence, severities
from monitoring.verdict import CRITICAL_PSI, MIN_EFFECT, MIN_MISSING, MIN_OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from monitoring import FeatureDrift, ModelDrift

    Known = Callable[[str], list[tuple[Served, ModelCounts]]]

__all__ = ["GRACE_S", "DriftWindows"]

_log = logging.getLogger("hotgate.alarms")

GRACE_S: Final = 5.0
"""After a window's end, until what was counted in it is committed for sure."""
WINDOWS_MAX: Final = 96
"""Most closed windows that are made up for after an observer was away."""
KINDS: Final[tuple[Kind, ...]] = ("data_drift", "score_drift", "data_quality")


class DriftWindows:
    """The closed windows of all model files.

    Args:
        root: the folder that holds one for each model file.
        window_s: length of a window.
    """

    name = "drift"

    def __init__(self, root: Path, window_s: int) -> None:
        self._root = root
        self._window_s = window_s

    def look(self, seen: Mapping[str, float], now: float) -> list[Condition]:
        """All windows that have closed since the last look; a model that cannot be judged is left for the next one.

        A version that another one has replaced is calm once it scores too little to be judged: nothing is left to do.
        """
        found: list[Condition] = []
        known = functools.cache(functools.partial(find_versions, self._root))  # many folders have one model's versions
        for folder in folders_in(self._root):
            try:
                found += self._model(ModelCounts(folder), known, seen, now)
            except (FileNotFoundError, UnreadableCountsError, msgspec.MsgspecError) as error:
                _log.debug("%s is not judged: %s", folder.name[:12], error)
        return found

    def _model(self, counts: ModelCounts, known: Known, seen: Mapping[str, float], now: float) -> list[Condition]:
        last = (now - GRACE_S) // self._window_s * self._window_s
        until = seen.get(key_of(KINDS[0], sha256=counts.folder.name), last - self._window_s)
        until = max(until, last - WINDOWS_MAX * self._window_s)
        found: list[Condition] = []
        while until < last:
            found += self._conditions(counts, known, until)
            until += self._window_s
        return found

    def _conditions(self, counts: ModelCounts, known: Known, start: float) -> Iterator[Condition]:
        window = Window(float(self._window_s))
        verdict = judge_window(counts, counts.reference(), window, now=start + self._window_s - EPOCH_S).drift
        served = next(iter(counts.served()), Served(model="?", version="?", since=start))
        judged = severities(verdict)
        silent = () if None in judged.values() and _replaced(served, counts, known(served.model), start) else None
        for kind in KINDS:
            yield Condition(
                kind=kind,
                model=served.model,
                version=served.version,
                sha256=counts.folder.name,
                since=start,
                until=start + self._window_s,
                evidence=tuple(self._evidence(verdict, kind)) if judged[kind] is not None else silent,
            )

    def _evidence(self, verdict: ModelDrift, kind: Kind) -> Iterator[Evidence]:
        for column in evidence(verdict, kind, most=len(verdict.features)):
            if kind == "data_quality":
                yield self._lack(column)
            elif column.severity != "none":
                yield self._shift(column)

    def _lack(self, column: FeatureDrift) -> Evidence:
        missing = column.missing_drift
        return Evidence(
            name=column.name,
            statistic="missing" if missing else "outside",
            value=(column.missing if missing else column.outside) or 0.0,
            threshold=MIN_MISSING if missing else MIN_OUTSIDE,
            n=column.n,
            window_s=self._window_s,
        )

    def _shift(self, column: FeatureDrift) -> Evidence:
        by_psi = column.severity == "critical" or (column.psi or 0.0) >= (column.ks or 0.0)
        return Evidence(
            name=column.name,
            statistic="psi" if by_psi else "ks",
            value=(column.psi if by_psi else column.ks) or 0.0,
            threshold=CRITICAL_PSI if column.severity == "critical" else MIN_EFFECT,
            n=column.n,
            window_s=self._window_s,
            severity="critical" if column.severity == "critical" else "warning",
            impact=column.impact,
        )


def _replaced(served: Served, counts: ModelCounts, known: list[tuple[Served, ModelCounts]], at: float) -> bool:
    """Whether other bytes had begun to serve as that model by then, later than these."""
    return any(found.folder != counts.folder and served.since < other.since <= at for other, found in known)
