"""What monitoring takes where models are wide: memory of worker and observer, disk, and how long a look takes."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from benchmarks.errors import BenchError
from benchmarks.process import descendants, pss_bytes, workers
from benchmarks.report import table
from benchmarks.scenarios.plan import STORE, publish_all, stocked
from benchmarks.servers import ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan
    from benchmarks.servers import Server

__all__ = ["TITLE", "Taken", "WideFigures", "draw", "measure", "render"]

TITLE = "What monitoring takes where models are wide"
SIDES = {"on": "true", "off": "false"}
"""`[gateway] monitoring` by side."""
ROWS = 100
"""In a request."""
MIB = 2**20


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One side, in bytes and seconds."""

    worker: int
    observer: int
    disk: int
    """Of `monitor/`."""
    metrics: int
    """Size of `/metrics`."""
    metrics_s: float


class WideFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides."""

    models: int
    features: int
    rows: int
    """That each model scored."""
    drift_s: float
    """Of one `/monitor/drift` of one model, where it is on."""
    sides: dict[str, Taken]


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> WideFigures:
    """Serve the same models with monitoring and without, send each the same rows, and weigh."""
    files = []
    for number in range(plan.wide_models):
        say(f"training model {number + 1} of {plan.wide_models}, {plan.wide_features} features")
        files.append(_train(rig.folder, plan.wide_features, seed=plan.seed + number))
    sides, drift_s = {}, 0.0
    for name, monitoring in SIDES.items():
        home = rig.folder / f"wide-{name}"
        shutil.rmtree(home, ignore_errors=True)
        with stocked(home, *files) as (writer, shas):
            publish_all(writer, {f"wide-{number}": sha256 for number, sha256 in enumerate(shas)})
        say(f"monitoring {name}: {plan.wide_requests} requests of {ROWS} rows to each model")
        environment = {"HOTGATE_GATEWAY_MONITORING": monitoring, "HOTGATE_GATEWAY_METRICS_FEATURES": "1000"}
        with rig.server(*STORE, "--port", log=f"wide-{name}", home=home, environment=environment) as server:
            _send(server, plan)
            if name == "on":
                drift_s = _timed(server, "/monitor/drift?model=wide-0")[1]
            sides[name] = _weigh(server, home)
    return WideFigures(
        models=plan.wide_models,
        features=plan.wide_features,
        rows=plan.wide_requests * ROWS,
        drift_s=drift_s,
        sides=sides,
    )


def _train(folder: Path, features: int, *, seed: int) -> Path:
    from sklearn.linear_model import LogisticRegression

    from converters import Column, Provenance, build_model_file

    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2000, features))
    labels = (rows[:, 0] + rng.normal(size=len(rows)) > 0).astype(int)
    half = len(rows) // 2
    file = build_model_file(
        LogisticRegression(max_iter=200).fit(rows[:half], labels[:half]),
        columns=[Column(name=f"feature_{number:04}") for number in range(features)],
        train_rows=rows[:half],
        heldout_rows=rows[half:],
        provenance=Provenance(git_revision=None, data_digest="made", parameters={}, versions={}, seed=seed),
    )
    path = folder / f"wide-{seed}.onnx"
    path.write_bytes(file.data)
    return path


def _send(server: Server, plan: ScenarioPlan) -> None:
    rows = np.random.default_rng(plan.seed).normal(size=(ROWS, plan.wide_features)).round(3)
    body = msgspec.json.encode({"instances": rows.tolist()})
    for _ in range(plan.wide_requests):
        for number in range(plan.wide_models):
            reply = ask(server.port, "POST", f"/predict/wide-{number}", body)
            if reply.status != 200:
                raise BenchError(f"model {number} answered with {reply.status}: {reply.body[:300]!r}")


def _weigh(server: Server, home: Path) -> Taken:
    (worker,) = workers(server.pid)
    size, metrics_s = _timed(server, "/metrics")
    observer = next((pid for pid in descendants(server.pid) if pid != worker), None)
    if observer is None:
        raise BenchError("there is no observer")
    return Taken(
        worker=pss_bytes(worker),
        observer=pss_bytes(observer),
        disk=sum(path.stat().st_size for path in (home / "monitor").rglob("*") if path.is_file()),
        metrics=size,
        metrics_s=metrics_s,
    )


def _timed(server: Server, path: str) -> tuple[int, float]:
    begun = time.monotonic()
    reply = ask(server.port, "GET", path)
    if reply.status != 200:
        raise BenchError(f"{path} was answered with {reply.status}: {reply.body[:300]!r}")
    return len(reply.body), time.monotonic() - begun


def render(figures: WideFigures) -> str:
    """A row a side."""
    rows = [
        (
            name,
            *(f"{value / MIB:,.1f}" for value in (side.worker, side.observer, side.disk, side.metrics)),
            f"{1e3 * side.metrics_s:,.0f}",
        )
        for name, side in figures.sides.items()
    ]
    head = ("monitoring", "worker, MiB", "observer, MiB", "monitor/, MiB", "/metrics, MiB", "/metrics, ms")
    more = (figures.sides["on"].worker - figures.sides["off"].worker) / MIB
    return f"""{figures.models} models of {figures.features:,} features, {figures.rows:,} rows scored by each, all \
features with series on `/metrics` (the default is the first 100).

{table(head, rows)}

Proportional set sizes. Monitoring takes {more:.0f} MiB of the worker here, and never more than two chunks of 8 MiB a \
model that serves or is held, besides some 1 MiB of counts a model. One verdict on {figures.features:,} features \
(`/monitor/drift?model=`) takes {1e3 * figures.drift_s:,.0f} ms of a thread beside the request path."""


def draw(figures: WideFigures, folder: Path) -> None:
    """A table says it."""
