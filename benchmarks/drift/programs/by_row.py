"""river's detectors, which look at every row: KSWIN and ADWIN."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

BLOCK_ROWS = 50  # of detectors that look at every row: when they speak is known to so many rows
FEW_ROWS = 500


def strength(p_value: float, level: float) -> float:
    """1 at the level, more below it."""
    return math.log(max(p_value, 1e-300)) / math.log(level)


class Kswin:
    """river's KSWIN for each column, on every row.

    It is run with a level of 0 and its p-values are read: the statistics are those of any level, but after an alarm it
    does not begin anew as it would. It has no reference and looks at 100 rows.
    """

    names = ("river KSWIN",)
    default = 0.005
    rows_a_block = BLOCK_ROWS
    slow = True

    def __init__(self, reference: Any, errors: Any, size: int) -> None:
        del errors, size
        self._before = reference[-100:]

    def verdicts(self, rows: Any, errors: Any) -> dict[str, dict[str, list[Any]]]:
        """The smallest p-value of each block."""
        del errors
        lowest = np.ones(len(rows))
        for before, values in zip(self._before.T, rows.T, strict=True):
            lowest = np.minimum(lowest, self._p_values(before.tolist(), values.tolist()))
        blocks = lowest.reshape(-1, BLOCK_ROWS).min(axis=1)
        return {
            self.names[0]: {
                "statistic": [strength(p, self.default) for p in blocks],
                "alarm": [bool(p <= self.default) for p in blocks],
            }
        }

    def cost(self, rows: Any, errors: Any) -> tuple[float, int]:
        """CPU seconds over a few rows, and how many."""
        begin = time.process_time()
        self.verdicts(rows[:FEW_ROWS], errors)
        return time.process_time() - begin, FEW_ROWS

    @staticmethod
    def _p_values(before: list[float], values: list[float]) -> Any:
        from river import drift

        detector, found = drift.KSWIN(alpha=0.0, seed=1, window=before), np.ones(len(values))
        for index, value in enumerate(values):
            if not math.isnan(value):
                detector.update(value)
                found[index] = detector.p_value
        return found


class Adwin:
    """river's ADWIN for each column, on every row, at several levels; the statistic is the strictest that speaks.

    Columns are scaled to the reference's range: its bound is for values in [0, 1]. The reference is read first.
    """

    names = ("river ADWIN",)
    default = 0.002
    levels = (0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.002, 0.0002, 0.00002)
    rows_a_block = BLOCK_ROWS

    def __init__(self, reference: Any, errors: Any, size: int) -> None:
        del size
        self._reference = self._pick(reference, errors)
        self._low, high = np.nanmin(self._reference, axis=0), np.nanmax(self._reference, axis=0)
        self._width = np.where(high > self._low, high - self._low, 1.0)

    def verdicts(self, rows: Any, errors: Any) -> dict[str, dict[str, list[Any]]]:
        """By block: how strict a level speaks."""
        columns = (self._pick(rows, errors) - self._low) / self._width
        first = (self._reference - self._low) / self._width
        blocks = len(rows) // BLOCK_ROWS
        statistic, alarm = np.zeros(blocks), np.zeros(blocks, dtype=bool)
        for level in self.levels:
            spoken = np.zeros(blocks, dtype=bool)
            for before, values in zip(first.T, columns.T, strict=True):
                spoken |= self._speaks(before.tolist(), values.tolist(), level)
            statistic = np.where(spoken, strength(level, self.default), statistic)
            alarm = spoken if level == self.default else alarm
        return {self.names[0]: {"statistic": statistic.tolist(), "alarm": alarm.tolist()}}

    def cost(self, rows: Any, errors: Any) -> tuple[float, int]:
        """CPU seconds at one level, and the rows."""
        columns = (self._pick(rows, errors) - self._low) / self._width
        begin = time.process_time()
        for values in columns.T:
            self._speaks([], values.tolist(), self.default)
        return time.process_time() - begin, len(rows)

    def _pick(self, rows: Any, errors: Any) -> Any:
        del errors
        return np.asarray(rows, dtype=np.float64)

    @staticmethod
    def _speaks(before: list[float], values: list[float], level: float) -> Any:
        from river import drift

        detector, found = drift.ADWIN(delta=level), np.zeros(len(values), dtype=bool)
        for value in before:
            if not math.isnan(value):
                detector.update(value)
        for index, value in enumerate(values):
            if not math.isnan(value):
                detector.update(value)
                found[index] = detector.drift_detected
        return found.reshape(-1, BLOCK_ROWS).any(axis=1)


class ErrorAdwin(Adwin):
    """river's ADWIN on whether predictions were wrong."""

    names = ("river ADWIN on errors",)

    def _pick(self, rows: Any, errors: Any) -> Any:
        del rows
        return np.asarray(errors, dtype=np.float64)[:, np.newaxis]


DETECTORS = {"kswin": Kswin, "adwin": Adwin, "errors": ErrorAdwin}
