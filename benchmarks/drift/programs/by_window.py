"""Libraries that judge closed windows: ks_2samp, frouros, Evidently, NannyML; each is imported where it is used."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALPHA = 0.05  # where a library names no level
PSI_LIMIT = 0.2  # where it names none: "a population changed", the field's convention
FEW_WINDOWS = 3


def strength(p_value: float, level: float) -> float:
    """1 at the level, more below it."""
    return math.log(max(p_value, 1e-300)) / math.log(level)


def present(values: Any) -> Any:
    """Without missing values: what most of these cannot read."""
    return values[~np.isnan(values)]


def windows(rows: Any, size: int) -> Iterator[Any]:
    """Closed windows, one after the other."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def by_window(judge: Callable[[Any], tuple[float, bool]], rows: Any, size: int) -> dict[str, list[Any]]:
    """A verdict for each window."""
    found = [judge(window) for window in windows(rows, size)]
    return {"statistic": [float(value) for value, _ in found], "alarm": [bool(alarm) for _, alarm in found]}


class Scipy:
    """ks_2samp for each column and window, at a level or at a level divided by the number of columns."""

    names = ("KS test", "KS test, Bonferroni")

    def __init__(self, reference: Any, errors: Any, size: int) -> None:
        del errors
        self._reference, self._size = [present(column) for column in reference.T], size

    def verdicts(self, rows: Any, errors: Any) -> dict[str, dict[str, list[Any]]]:
        """Of both."""
        del errors
        lowest = [self._lowest(window) for window in windows(rows, self._size)]
        levels = dict(zip(self.names, (ALPHA, ALPHA / rows.shape[1]), strict=True))
        return {
            name: {"statistic": [strength(p, level) for p in lowest], "alarm": [bool(p < level) for p in lowest]}
            for name, level in levels.items()
        }

    def _lowest(self, window: Any) -> float:
        from scipy.stats import ks_2samp

        pairs = zip(self._reference, window.T, strict=True)
        return float(min(ks_2samp(column, present(live)).pvalue for column, live in pairs))


class Frouros:
    """Its batch detectors, one a column."""

    names = ("frouros KS", "frouros PSI")

    def __init__(self, reference: Any, errors: Any, size: int) -> None:
        del errors
        from frouros.detectors.data_drift import PSI, KSTest

        self._size, self._detectors = size, {}
        for name, kind in zip(self.names, (KSTest, PSI), strict=True):
            self._detectors[name] = [kind() for _ in reference.T]
            for detector, column in zip(self._detectors[name], reference.T, strict=True):
                detector.fit(X=present(column))

    def verdicts(self, rows: Any, errors: Any) -> dict[str, dict[str, list[Any]]]:
        """Of both."""
        del errors
        return {
            self.names[0]: by_window(self._ks, rows, self._size),
            self.names[1]: by_window(self._psi, rows, self._size),
        }

    def _compare(self, name: str, window: Any) -> list[Any]:
        pairs = zip(self._detectors[name], window.T, strict=True)
        return [detector.compare(X=present(live))[0] for detector, live in pairs]

    def _ks(self, window: Any) -> tuple[float, bool]:
        lowest = min(found.p_value for found in self._compare("frouros KS", window))
        return strength(lowest, ALPHA), lowest < ALPHA

    def _psi(self, window: Any) -> tuple[float, bool]:
        largest = max(found.distance for found in self._compare("frouros PSI", window)) / PSI_LIMIT
        return largest, largest >= 1


class Evidently:
    """Its default test for each column; the data set drifts when half of its columns do, or when any does.

    The preset draws each column's plot as well, which takes a hundred times longer: its tests are called directly, and
    held against the preset on the first windows of the stream `cost`, over which the preset's CPU time is taken.
    """

    names = ("Evidently preset", "Evidently, any column")

    def __init__(self, reference: Any, errors: Any, size: int) -> None:
        del errors
        self._size, self._reference = size, self._frame(reference)

    def verdicts(self, rows: Any, errors: Any) -> dict[str, dict[str, list[Any]]]:
        """Of both."""
        del errors
        found = [self._ratios(window) for window in windows(rows, self._size)]
        half = math.ceil(rows.shape[1] / 2)
        ranks = dict(zip(self.names, (half, 1), strict=True))
        return {
            name: {
                "statistic": [sorted((ratio for ratio, _ in one), reverse=True)[rank - 1] for one in found],
                "alarm": [sum(drifted for _, drifted in one) >= rank for one in found],
            }
            for name, rank in ranks.items()
        }

    def cost(self, rows: Any, errors: Any) -> tuple[float, int]:
        """CPU seconds of the preset over a few windows, and their rows."""
        del errors
        few = list(windows(rows, self._size))[:FEW_WINDOWS]
        self._preset(few[0])
        begin = time.process_time()
        counts = [self._preset(window) for window in few]
        spent = time.process_time() - begin
        ours = [sum(drifted for _, drifted in self._ratios(window)) for window in few]
        if counts != ours:
            raise ValueError(f"the preset finds {counts} drifted columns, its tests {ours}")
        return spent, sum(map(len, few))

    def _ratios(self, window: Any) -> list[tuple[float, bool]]:
        """For each column its score by the threshold, and whether it drifted."""
        from evidently.legacy.calculations.stattests import get_stattest
        from evidently.legacy.core import ColumnType

        live, found = self._frame(window), []
        for name in live.columns:
            before, now = self._reference[name].dropna(), live[name].dropna()
            test = get_stattest(before, now, ColumnType.Numerical, None)
            result = test(before, now, ColumnType.Numerical, None)
            level, score = result.actual_threshold, result.drift_score
            small = "p_value" in test.display_name
            found.append((strength(score, level) if small else score / level, bool(result.drifted)))
        return found

    def _preset(self, window: Any) -> int:
        from evidently import Report
        from evidently.presets import DataDriftPreset

        found = Report([DataDriftPreset()]).run(self._frame(window), self._reference).dict()
        return int(found["metrics"][0]["value"]["count"])

    @staticmethod
    def _frame(rows: Any) -> Any:
        import pandas as pd

        return pd.DataFrame(np.asarray(rows, dtype=np.float64), columns=[f"c{index}" for index in range(rows.shape[1])])


class NannyML:
    """Its univariate calculator, with thresholds from the reference's chunks: mean + 3 standard deviations."""

    names = ("NannyML JS", "NannyML KS")
    methods = ("jensen_shannon", "kolmogorov_smirnov")

    def __init__(self, reference: Any, errors: Any, size: int) -> None:
        del errors
        import nannyml

        columns = [f"c{index}" for index in range(reference.shape[1])]
        self._calculators = {
            name: nannyml.UnivariateDriftCalculator(
                column_names=columns, continuous_methods=[method], chunk_size=size
            ).fit(self._frame(reference))
            for name, method in zip(self.names, self.methods, strict=True)
        }

    def verdicts(self, rows: Any, errors: Any) -> dict[str, dict[str, list[Any]]]:
        """Of both."""
        del errors
        frame, found = self._frame(rows), {}
        for name, method in zip(self.names, self.methods, strict=True):
            table = self._calculators[name].calculate(frame).filter(period="analysis").to_df()
            part = {key: table.xs((method, key), axis=1, level=(1, 2)) for key in ("value", "upper_threshold", "alert")}
            ratios = part["value"].astype(float) / part["upper_threshold"].astype(float)
            found[name] = {
                "statistic": ratios.max(axis=1).tolist(),
                "alarm": part["alert"].astype(bool).any(axis=1).tolist(),
            }
        return found

    @staticmethod
    def _frame(rows: Any) -> Any:
        import pandas as pd

        return pd.DataFrame(np.asarray(rows, dtype=np.float64), columns=[f"c{index}" for index in range(rows.shape[1])])


DETECTORS = {"scipy": Scipy, "frouros": Frouros, "evidently": Evidently, "nannyml": NannyML}
