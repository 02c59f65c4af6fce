"""What a worker counts, in Prometheus terms.

prometheus_client keeps every value in a file per process when `PROMETHEUS_MULTIPROC_DIR` is set, which `hotgate serve`
does: `/metrics` then answers the sum over all workers, whichever of them is asked, and counters do not go back when a
worker dies. What is counted by version lies beside that, in `gateway.series`, because versions come and go.
`docs/metrics.md` lists them, and a test compares.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.series import Family, Versions
from gateway.settings import METRICS_DIR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sync.status import SyncStatus

__all__ = [
    "BATCHES",
    "BATCH_ROWS",
    "CLOSED_BY",
    "DROPPED",
    "FAILED_ROWS",
    "FAMILIES",
    "GC_SECONDS",
    "LOADED",
    "LOG_DROPPED",
    "QUEUE_SECONDS",
    "REFUSED",
    "REFUSED_FOR",
    "ROWS",
    "RUN_SECONDS",
    "UNSHARED",
    "Metrics",
]

_ROLE = ("model", "role")
_SECONDS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5, 1.0)
GC_SECONDS = (1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5)
CLOSED_BY = ("turn", "full", "landing")
"""Why a batch was closed: all that was coming was in, it was full, or the run before it ended."""
REFUSED_FOR = ("rows", "wait", "deadline", "expired")
"""Why a request was turned away: `queue_limit_rows`, `queue_limit_ms`, a deadline not to be met, or over."""

ROWS = Family(name="hotgate_rows", kind="counter", help="Rows scored.")
FAILED_ROWS = Family(name="hotgate_failed_rows", kind="counter", help="Rows without an answer.")
BATCH_ROWS = Family(
    name="hotgate_batch_rows",
    kind="histogram",
    help="Rows in one run.",
    bounds=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
RUN_SECONDS = Family(
    name="hotgate_run_seconds", kind="histogram", help="Time of one run of the model.", bounds=_SECONDS
)
QUEUE_SECONDS = Family(
    name="hotgate_queue_seconds",
    kind="histogram",
    help="Time from a batch's first row to its run.",
    bounds=_SECONDS,
)
BATCHES = Family(
    name="hotgate_batches", kind="counter", help="Runs, by what closed their batch.", labels=("release_reason",)
)
REFUSED = Family(name="hotgate_refused", kind="counter", help="Requests turned away, by reason.", labels=("reason",))
LOADED = Family(
    name="hotgate_model_loaded", kind="gauge", help="Workers in which this version serves.", labels=("sha256",)
)
DROPPED = Family(
    name="hotgate_monitor_dropped_rows", kind="counter", help="Scored rows that the drift monitor did not see."
)
UNSHARED = Family(
    name="hotgate_monitor_unshared_rows",
    kind="gauge",
    help="Rows counted for drift that no other process sees: there is no room on disk.",
)
LOG_DROPPED = Family(
    name="hotgate_log_dropped_rows",
    kind="counter",
    help="Scored rows that are missing in the prediction log.",
)
FAMILIES = (
    ROWS, FAILED_ROWS, BATCH_ROWS, RUN_SECONDS, QUEUE_SECONDS, BATCHES, REFUSED, LOADED, DROPPED, UNSHARED, LOG_DROPPED,
)  # fmt: skip
"""What is counted by version."""


class Metrics:
    """The worker's metrics; updated beside the request path, but for errors."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._shared = bool(environ.get(METRICS_DIR))
        self.versions = Versions(Path(environ[METRICS_DIR], "versions") if self._shared else self._folder())
        if self._shared:
            _forget_the_dead(Path(environ[METRICS_DIR]), self.versions)
        self._registry = registry = CollectorRegistry()
        self.refused_heads = Counter(
            "hotgate_refused_heads", "Requests turned away before their body was decoded.", registry=registry
        )
        self.errors = Counter("hotgate_errors", "Requests answered with an error.", ("status",), registry=registry)
        self.swaps = Counter("hotgate_swaps", "Versions published to the slot.", _ROLE, registry=registry)
        self.swap_failures = Counter(
            "hotgate_swap_failures", "Versions that could not be loaded.", _ROLE, registry=registry
        )
        self.gc_pause = Histogram(
            "hotgate_gc_pause_seconds", "Time for which Python's collector held up a worker.", ("generation",),
            buckets=GC_SECONDS, registry=registry,
        )  # fmt: skip
        self.gc_longest_pause = Gauge(
            "hotgate_gc_longest_pause_seconds", "Longest such time since the worker was ready.",
            multiprocess_mode="livemax", registry=registry,
        )  # fmt: skip
        self.lane = Gauge(
            "hotgate_lane", "Workers that take scoring requests on this lane.", ("lane",),
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self.ready = Gauge(
            "hotgate_workers_ready", "Workers that are ready.", multiprocess_mode="livesum", registry=registry
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
            return generate_latest(self._registry) + self._by_version()
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # prometheus_client has no annotation there
        return generate_latest(merged) + self._by_version()

    def _by_version(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(self.versions)
        return generate_latest(registry)

    def _folder(self) -> Path:
        """A place for the versions' series of a process that shares them with none."""
        folder = Path(tempfile.mkdtemp(prefix="hotgate-metrics-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder


def _forget_the_dead(folder: Path, versions: Versions) -> None:
    """Gauges of workers that are gone no longer count, their counters do.

    Done by every worker as it starts: one that dies is replaced by one that starts.
    """
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and _is_dead(int(pid)):
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]  # nor there
    versions.forget(_is_dead)


def _is_dead(pid: int) -> bool:
    return not Path("/proc", str(pid)).exists()
