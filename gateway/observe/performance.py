"""What the observer does with labels: join, judge, tell; and how that ends if the file is damaged."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from typing import TYPE_CHECKING

from gateway.observe.error_streams import ErrorStreams, river_detectors
from gateway.observe.judging import Judging
from gateway.observe.performance_source import Limits, PerformanceSource
from gateway.observe.scored import scored
from gateway.observe.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.observe.error_streams import Detector
    from gateway.observe.intake import Batch
    from gateway.observe.settings import MonitorSettings
    from gateway.performance import PerformanceReport

__all__ = ["PerformanceKeeper"]

_log = logging.getLogger("hotgate.truth")

_DAY_S = 86_400.0
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class PerformanceKeeper:
    """Labels and predictions of one home, for the one observer that joins them.

    Args:
        folder: `monitor/`.
        settings: how much is kept, and what is too bad.
        clock: wall time.
        sampled: share of requests that the prediction log holds, 0 to 1.
        detectors: of changes of the error rate.
    """

    def __init__(
        self,
        folder: Path,
        settings: MonitorSettings,
        clock: Callable[[], float] = time.time,
        *,
        sampled: float = 1.0,
        detectors: Callable[[], dict[str, Detector]] = river_detectors,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._sampled = sampled
        self._clock = clock
        self._streams = ErrorStreams(detectors)
        self._opened: tuple[Truth, Judging] | None = None
        limits = Limits(
            accuracy_min=settings.accuracy_min,
            roc_auc_min=settings.roc_auc_min,
            margin=settings.performance_margin,
            error_margin=settings.error_margin,
        )
        self.source = PerformanceSource(lambda: self.reports, limits)

    @property
    def reports(self) -> list[PerformanceReport]:
        """The newest ones; none before the first look."""
        return [] if self._opened is None else self._opened[1].reports

    def take(self, source: str, batches: Sequence[Batch]) -> None:
        """Take in what a spool file of the prediction log holds; each file counts once.

        Args:
            source: its name.
            batches: its content.

        Raises:
            OSError: it was not taken in, and is to be brought again.
        """
        with self._working() as (truth, _):
            truth.predictions(source, map(scored, batches))

    def look(self) -> str | None:
        """Take in labels, judge if it is time, and write reports; returns what is wrong.

        Raises:
            OSError: something was not done; it is tried again.
        """
        with self._working() as (truth, judging):
            truth.look()
            judging.look()
        return self._streams.problem

    def close(self) -> None:
        """Close the file; another look opens it again."""
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    @contextlib.contextmanager
    def _working(self) -> Iterator[tuple[Truth, Judging]]:
        """Give what works on the file; what cannot be done now is done later, with a new file if it is damaged."""
        try:
            if self._opened is None:
                self._opened = self._open()
            yield self._opened
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF not in _DAMAGED:
                raise OSError(f"truth.sqlite: {error}") from error
            self.close()
            self._put_aside()
            raise OSError(f"truth.sqlite was damaged: {error}") from error

    def _open(self) -> tuple[Truth, Judging]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._streams.forget()
        truth = self._new_truth()
        return truth, Judging(self._folder, truth, self._streams, self._clock)

    def _new_truth(self) -> Truth:
        return Truth(
            self._folder,
            keep_rows=self._settings.truth_keep_rows,
            keep_s=self._settings.truth_keep_days * _DAY_S,
            sampled=self._sampled,
            streams=self._streams,
            clock=self._clock,
        )

    def _put_aside(self) -> None:
        path = self._folder / "truth.sqlite"
        _log.error("%s is damaged: it is now %s.bad, and labels are collected anew", path, path.name)
        path.replace(path.with_name(f"{path.name}.bad"))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
