"""What a running worker has loaded, and that nothing on the serving side ever unpickles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import serving, wait_until

pytestmark = pytest.mark.process

PROBE = Path(__file__).parent / "probe"
NEVER = {
    "attr",
    "catboost",
    "cloudpickle",
    "joblib",
    "lightgbm",
    "mlflow",
    "onnx",
    "pandas",
    "pyarrow",
    "pydantic",
    "river",
    "scipy",
    "skl2onnx",
    "sklearn",
    "xgboost",
}


@pytest.fixture
def probe(tmp_path):
    """Environment that puts the probe into every Python process of a test, and the folder it writes to."""
    folder = tmp_path / "probe"
    folder.mkdir()
    path = os.pathsep.join([str(PROBE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "HOTGATE_PROBE": str(folder)}, folder


def told(folder):
    """What any process did that it must not."""
    return [line for path in folder.glob("*.audit") for line in path.read_text().splitlines()]


def loaded_by(pid, folder):
    """What the probe says of a process."""
    os.kill(pid, signal.SIGUSR2)
    path = folder / f"{pid}.modules"
    wait_until(path.exists, what="the list of modules")
    return set(path.read_text().split())


def test_a_worker_loads_nothing_that_trains_converts_or_unpickles(tmp_path, probe, linear, cancer):
    """Modules of the real worker, after it has scored, counted and judged; and its collector leaves those alone.

    Nor does the observer beside it unpickle; sidecar and verifier have tests of their own.
    """
    env, folder = probe
    with serving(tmp_path, "--model", f"cancer={linear.path}", "--workers", "1", env=env) as server:
        body = json.dumps({"instances": cancer[0].tolist()}).encode()
        assert server.predict(body)[0] == 200
        drift = json.loads(server.request("GET", "/monitor/drift")[2])
        assert drift[0]["features"][0]["p_value"] is not None
        table = ",".join(cancer[2]) + "\n" + ",".join(map(str, cancer[0][0])) + "\n"
        assert server.predict(table.encode(), "/invocations", **{"Content-Type": "text/csv"})[0] == 200
        for path in ("/metrics", "/", "/monitor/course?model=cancer", "/monitor/histogram?model=cancer&feature=score"):
            assert server.request("GET", path)[0] == 200
        loaded = loaded_by(*server.workers(), folder)
        # The observer hears the same hook: what it tells counts below.
        assert "gateway.observe" in loaded_by(wait_until(server.observer, what="an observer"), folder)
    assert not NEVER & loaded
    assert "onnxruntime" in loaded
    assert {"gc-frozen-True", "gc-True"} <= loaded
    assert told(folder) == []


def test_the_supervisor_loads_nothing_of_what_its_workers_are_forked_for(tmp_path, probe, linear):
    """It would be ready later and hold the memory twice; onnxruntime's threads would not survive the fork."""
    env, folder = probe
    with serving(tmp_path, "--model", f"cancer={linear.path}", env=env) as server:
        loaded = loaded_by(server.process.pid, folder)
    assert "granian" in loaded
    assert (
        not {*NEVER, "gateway.application", "httpx", "litestar", "numpy", "onnxruntime", "prometheus_client"} & loaded
    )


def test_the_collector_is_left_as_python_has_it_where_that_is_set(tmp_path, probe, linear):
    """`calm_gc = false` freezes nothing; its pauses are told either way."""
    env, folder = probe
    env = {**env, "HOTGATE_GATEWAY_CALM_GC": "false"}
    with serving(tmp_path, "--model", f"cancer={linear.path}", "--workers", "1", env=env) as server:
        assert {"gc-frozen-False", "gc-True"} <= loaded_by(*server.workers(), folder)
        assert b'hotgate_gc_pause_seconds_count{generation="2"}' in server.request("GET", "/metrics")[2]


def test_serving_writes_nothing_outside_its_home(tmp_path, linear, cancer):
    """No cache, no device id, no temporary file stays: not of ours, and not of a library's telemetry."""
    elsewhere = {"HOME": tmp_path / "user", "TMPDIR": tmp_path / "temporary", "XDG_CACHE_HOME": tmp_path / "cache"}
    for folder in elsewhere.values():
        folder.mkdir()
    env = {name: str(folder) for name, folder in elsewhere.items()}
    with serving(tmp_path, "--model", f"cancer={linear.path}", env=env) as server:
        assert server.predict(json.dumps({"features": cancer[0][0].tolist()}).encode())[0] == 200
    for folder in elsewhere.values():
        assert list(folder.rglob("*")) == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", "user", "temporary", "cache", server.log.name}


def test_the_probe_sees_a_loader_that_unpickles(tmp_path, probe):
    """The test above would mean nothing if the hook were deaf."""
    env, folder = probe
    victim = tmp_path / "model.pkl"
    code = (
        "import pickle, fractions, pathlib, sys; path = sys.argv[1];"
        "open(path, 'wb').write(pickle.dumps(fractions.Fraction(1, 3))); pickle.load(open(path, 'rb'))"
    )
    subprocess.run([sys.executable, "-c", code, str(victim)], env={**os.environ, **env}, check=True)
    assert any("find_class" in line and "Fraction" in line for line in told(folder))
    assert any(f"open {victim}" in line for line in told(folder))
