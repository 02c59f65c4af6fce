"""What a worker counts, in Prometheus terms.

prometheus_client keeps every value in a file per process when `PROMETHEUS_MULTIPROC_DIR` is set, which `hotgate serve`
does: `/metrics` then answers the sum over all workers, whichever of them is asked, and counters do not go back when a
worker dies. `docs/metrics.md` lists them, and a test compares.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.settings import METRICS_DIR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sync.status import SyncStatus

__all__ = ["CLOSED_BY", "REFUSED_FOR", "ROWS", "SECONDS", "Metrics"]

_ROLE = ("model", "role")
_MODEL = (*_ROLE, "version")
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SECONDS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5, 1.0)
CLOSED_BY = ("turn", "full", "landing")
"""Why a batch was closed: all that was coming was in, it was full, or the run before it ended."""
REFUSED_FOR = ("rows", "wait", "deadline", "expired")
"""Why a request was turned away: `queue_limit_rows`, `queue_limit_ms`, a deadline not to be met, or over."""


class Metrics:
    """The worker's metrics; updated beside the request path, but for errors."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._shared = bool(environ.get(METRICS_DIR))
        if self._shared:
            _forget_the_dead(Path(environ[METRICS_DIR]))
        self._registry = registry = CollectorRegistry()
        self.rows = Counter("hotgate_rows", "Rows scored.", _MODEL, registry=registry)
        self.failed_rows = Counter("hotgate_failed_rows", "Rows without an answer.", _MODEL, registry=registry)
        self.batch_rows = Histogram(
            "hotgate_batch_rows", "Rows in one run.", _MODEL, buckets=ROWS, registry=registry
        )  # fmt: skip
        self.run_seconds = Histogram(
            "hotgate_run_seconds", "Time of one run of the model.", _MODEL, buckets=SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "hotgate_queue_seconds", "Time from a batch's first row to its run.", _MODEL, buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.batches = Counter(
            "hotgate_batches", "Runs, by what closed their batch.", (*_MODEL, "release_reason"), registry=registry
        )
        self.refused = Counter(
            "hotgate_refused", "Requests turned away, by reason.", (*_MODEL, "reason"), registry=registry
        )
        self.refused_heads = Counter(
            "hotgate_refused_heads", "Requests turned away before their body was decoded.", registry=registry
        )
        self.errors = Counter("hotgate_errors", "Requests answered with an error.", ("status",), registry=registry)
        self.swaps = Counter("hotgate_swaps", "Versions published to the slot.", _ROLE, registry=registry)
        self.swap_failures = Counter(
            "hotgate_swap_failures", "Versions that could not be loaded.", _ROLE, registry=registry
        )
        self.loaded = Gauge(
            "hotgate_model_loaded", "Workers in which this version serves.", (*_MODEL, "sha256"),
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self.lane = Gauge(
            "hotgate_lane", "Workers that take scoring requests on this lane.", ("lane",),
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self.ready = Gauge(
            "hotgate_workers_ready", "Workers that are ready.", multiprocess_mode="livesum", registry=registry
        )
        self.monitor_dropped = Counter(
            "hotgate_monitor_dropped_rows", "Scored rows that the drift monitor did not see.", _MODEL, registry=registry
        )

        self.registry_reachable = Gauge(
            "hotgate_registry_reachable", "Whether the sidecar's last look at the registry was answered.",
            multiprocess_mode="livemostrecent", registry=registry,
        )  # fmt: skip
        self.registry_ambiguous = Gauge(
            "hotgate_registry_ambiguous", "Whether several versions hold one role in the registry.", _ROLE,
            multiprocess_mode="livemostrecent", registry=registry,
        )  # fmt: skip
        self.quarantined = Gauge(
            "hotgate_registry_quarantined", "Versions that were judged and are not served.",
            multiprocess_mode="livemostrecent", registry=registry,
        )  # fmt: skip

    def tell_lane(self, lane: str) -> None:
        """Say which lane this worker's scoring requests take."""
        for name in ("direct", "loop", "off"):
            self.lane.labels(name).set(name == lane)

    def tell_registry(self, status: SyncStatus) -> None:
        """Take over what the sidecar last said."""
        self.registry_reachable.set(status.registry.reachable)
        self.quarantined.set(len(status.quarantined))
        for model, roles in status.models.items():
            for role, state in roles.items():
                self.registry_ambiguous.labels(model, role).set(bool(state.others))

    def render(self) -> bytes:
        """The text that Prometheus scrapes, over all workers."""
        if not self._shared:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
        return generate_latest(merged)


def _forget_the_dead(folder: Path) -> None:
    """Gauges of workers that are gone no longer count, their counters do.

    Done by every worker as it starts: one that dies is replaced by one that starts.
    """
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]  # nor there
