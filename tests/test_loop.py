"""The whole loop: a real registry, the real sidecar, the real server, and the demo's own words taken at face value."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from harness import Traffic, free_port, serving, wait_until

from deploy.demo import MODEL, read_state

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A current directory whose `.hotgate` holds the demo's two registered versions, the first one in Production."""
    folder = tmp_path_factory.mktemp("loop")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.demo_prepare"],
        cwd=folder,
        env=_env(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def _env(folder):
    """Nothing that the caller has set, and a user's home and a temporary folder that must stay empty."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOTGATE", "MLFLOW", "XDG"))}
    for place in _elsewhere(folder):
        place.mkdir(exist_ok=True)
    user, temporary = map(str, _elsewhere(folder))
    return {**kept, "HOTGATE_HOME": str(folder / ".hotgate"), "HOME": user, "TMPDIR": temporary}


def _elsewhere(folder):
    return folder.with_name(f"{folder.name}-user"), folder.with_name(f"{folder.name}-temporary")


@pytest.fixture(scope="module")
def client(folder):
    """MLflow's own client on the same registry: what a user's notebook has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own dependencies while it is imported
        from training.tracking import connect

        return connect(folder / ".hotgate")


@pytest.fixture
def served(folder, tmp_path):
    """`hotgate serve` with its sidecar on that registry."""
    with serving(tmp_path, env=_env(folder)) as server:
        yield server


def move(client, version, stage="Production"):
    """Change a stage as MLflow's own user interface does, behind hotgate's back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # stages are deprecated in MLflow, and work
        client.transition_model_version_stage(MODEL, version, stage, archive_existing_versions=stage != "Archived")


def version_of(server, body):
    return server.predict(body)[1].get("x-model-version")


@pytest.fixture(scope="module")
def body(folder):
    """One held-out row."""
    return json.dumps({"features": read_state(folder / ".hotgate").row}).encode()


def test_the_registered_model_and_the_gateway_agree_on_every_row(folder, client, served, cancer):
    """What MLflow loads for the version in Production against `/predict`: within 1e-5 on all 569 rows."""
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's deprecation of stages, and its guesses about dependencies
        (version,) = client.get_latest_versions(MODEL, ["Production"])
        model = mlflow.sklearn.load_model(client.get_model_version_download_uri(MODEL, version.version))
    rows = cancer[0]
    status, headers, content = served.predict(json.dumps({"instances": rows.tolist()}).encode())
    assert status == 200
    assert headers["x-model-version"] == read_state(folder / ".hotgate").champion
    answers = json.loads(content)["predictions"]
    got = [list(answer["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(got, model.predict_proba(rows), atol=1e-5)
    assert [answer["prediction"] for answer in answers] == model.predict(rows).tolist()


def test_a_stage_change_under_traffic_swaps_without_a_failed_request(client, served, body, folder):
    """There and back: every answer is a 200 stamped with exactly one version and that version's hash."""
    state = read_state(folder / ".hotgate")
    hashes = {
        version: client.get_model_version(MODEL, version).tags["hotgate.sha256"]
        for version in (state.champion, state.other)
    }
    with Traffic(served.port, body) as traffic:
        for version in (state.other, state.champion):
            before = traffic.count()
            move(client, version)
            wait_until(
                lambda version=version, before=before: any(a[2] == version for a in traffic.answers[before:]),
                deadline_s=10,
                what=f"an answer of version {version}",
            )
        traffic.stop()
    assert traffic.lost == traffic.refused == traffic.stale == 0
    assert {answer[1] for answer in traffic.answers} == {200}
    for _, _, version, sha256, content in traffic.answers:
        assert json.loads(content)["version"] == version
        assert sha256 == hashes[version]


def test_a_damaged_or_uncertified_version_is_refused_while_the_old_one_serves(client, served, body, folder, tmp_path):
    """Promoted by hand all the same, it is quarantined with the reason, and no client notices."""
    state = read_state(folder / ".hotgate")
    good = client.get_model_version(MODEL, state.champion)
    artifact = client.download_artifacts(good.run_id, f"hotgate/{good.tags['hotgate.sha256']}", str(tmp_path))
    uncertified = _without_certificate(f"{artifact}/model.hotgate.onnx")
    damaged = bytearray(uncertified)
    damaged[len(damaged) // 2] ^= 0xFF
    try:
        for data, word in ((bytes(uncertified), "hotgate.parity"), (bytes(damaged), "")):
            bad = _register_by_hand(client, good, data, tmp_path / f"bad-{len(word)}")
            move(client, bad)
            quarantined = wait_until(lambda bad=bad: _quarantined(served, bad), deadline_s=20, what="quarantine")
            assert word in quarantined["reason"]
            assert version_of(served, body) == state.champion
    finally:
        move(client, state.champion)


def _without_certificate(path):
    import onnx

    model = onnx.load(path)
    kept = [prop for prop in model.metadata_props if prop.key != "hotgate.parity"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model.SerializeToString()


def _register_by_hand(client, like, data, folder):
    """What somebody who goes around hotgate can do: any bytes, honest hash."""
    import hashlib

    folder.mkdir()
    (folder / "model.hotgate.onnx").write_bytes(data)
    client.log_artifacts(like.run_id, str(folder), folder.name)
    uri = client.get_run(like.run_id).info.artifact_uri
    tags = {"hotgate.sha256": hashlib.sha256(data).hexdigest(), "hotgate.parity": "pass"}
    return client.create_model_version(MODEL, f"{uri}/{folder.name}", like.run_id, tags=tags).version


def _quarantined(server, version):
    registry = json.loads(server.request("GET", "/health")[2])["registry"]
    return next((item for item in registry["quarantined"] if str(item["version"]) == str(version)), None)


def test_a_registry_server_that_is_gone_changes_nothing_and_is_told(folder, client, tmp_path, body):
    """An `mlflow server` is followed over HTTP, stopped, missed, started again and followed again."""
    state = read_state(folder / ".hotgate")
    port = free_port()
    env = {**_env(folder), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(_mlflow_server(folder, tmp_path / "one", port))
        server = stack.enter_context(serving(tmp_path, env={**env, "HOTGATE_HOME": str(tmp_path / "home")}))
        assert version_of(server, body) == state.champion
        registry.process.terminate()
        registry.process.wait(20)
        wait_until(lambda: not _reachable(server), what="unreachable")
        assert version_of(server, body) == state.champion
        assert server.request("GET", "/readyz")[0] == 200
        stack.enter_context(_mlflow_server(folder, tmp_path / "two", port))
        wait_until(lambda: _reachable(server), what="reachable again")
        move(client, state.other)
        wait_until(lambda: version_of(server, body) == state.other, deadline_s=10, what="the other version")
        move(client, state.champion)
        wait_until(lambda: version_of(server, body) == state.champion, deadline_s=10, what="the champion")


def _mlflow_server(folder, log, port):
    """The same registry behind HTTP; its one worker dies with it."""
    home = folder / ".hotgate"
    uri = f"sqlite:///{home}/mlflow.db"
    options = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", uri, "--workers", "1"]
    artifacts = ["--artifacts-destination", str(home / "artifacts")]
    env = {**_env(folder), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    line = [sys.executable, "-m", "mlflow", "server", *options, *artifacts]
    return serving(log, command=lambda _: line, port=port, env=env, ready="/health")


def _reachable(server):
    registry = json.loads(server.request("GET", "/health")[2])["registry"]
    return registry is not None and registry["registry"]["reachable"]


def test_workers_start_from_the_store_alone(folder, tmp_path, body):
    """No registry and no sidecar: what was served is served."""
    env = {**_env(folder), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    with serving(tmp_path, "--no-sync", env=env) as server:
        assert server.predict(body)[0] == 200


def test_a_killed_sidecar_costs_no_request_and_comes_back(client, served, body, folder):
    """SIGKILL of the sidecar: answers go on, and a stage change is followed by its successor."""
    state = read_state(folder / ".hotgate")
    sidecar = wait_until(lambda: _sidecar(served), what="a sidecar that has looked")
    with Traffic(served.port, body, connections=2) as traffic:
        os.kill(sidecar, signal.SIGKILL)
        move(client, state.other)
        wait_until(lambda: version_of(served, body) == state.other, deadline_s=30, what="the other version")
        traffic.stop()
    assert traffic.lost == traffic.stale == 0
    assert {answer[1] for answer in traffic.answers} == {200}
    move(client, state.champion)
    wait_until(lambda: version_of(served, body) == state.champion, deadline_s=10, what="the champion")


def _sidecar(server):
    registry = json.loads(server.request("GET", "/health")[2])["registry"]
    return registry["pid"] if registry and registry["pid"] in server.children() else None


@pytest.mark.timeout(400)
def test_everything_that_the_demo_prints_works_as_printed(folder, tmp_path):
    """Each line is run as it stands: curl, promote, rollback, a minute without and a minute with drift."""
    port = free_port()
    started = time.monotonic()
    demo = subprocess.Popen(
        [sys.executable, "-m", "hotgate", "demo", "--port", str(port)],
        cwd=folder,
        env=_env(folder),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        printed = []
        for line in demo.stdout:
            printed.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert time.monotonic() - started < 60
        assert "training" not in "".join(printed)
        commands = {_kind(line): shlex.split(line) for line in printed if line.startswith("  ")}
        assert sorted(commands) == ["/feedback", "curl", "demo traffic", "demo traffic --drift", "promote", "rollback"]
        state = read_state(folder / ".hotgate")
        assert _predicted(commands["curl"], folder) == state.champion
        assert json.loads(_run(commands["/feedback"], folder)) == {"accepted": 1, "rejected": []}
        _run(commands["promote"], folder)
        wait_until(lambda: _predicted(commands["curl"], folder) == state.other, deadline_s=10, what="the other version")
        _run(commands["rollback"], folder)
        wait_until(lambda: _predicted(commands["curl"], folder) == state.champion, deadline_s=10, what="the champion")
        calm, drift = _both_minutes(commands["demo traffic"], commands["demo traffic --drift"], folder, tmp_path)
        assert calm["failed"] == 0
        assert calm["sent"] == 3000
        assert (calm["severity"], calm["drifted"]) == ("none", [])
        assert drift["failed"] == 0
        assert sorted(drift["drifted"]) == ["mean smoothness", "mean texture"]
        assert drift["named_after_s"] <= 60
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)
    assert demo.returncode == 0


def test_no_command_wrote_outside_the_home(folder):
    """After training, registering, serving, promoting and a demo: only `.hotgate`, no cache, no temporary file."""
    assert [path.name for path in folder.iterdir()] == [".hotgate"]
    for place in _elsewhere(folder):
        assert [path for path in place.rglob("*") if path.is_file()] == []


def _both_minutes(calm, drift, folder, tmp_path):
    """The minute without drift, and at the same time the one with it, which differs by its flag and the port here.

    It goes to a second server, of a home of its own with a copy of the store: those of one home share their counts.
    """
    assert sorted(drift) == sorted([*calm, "--drift"])
    shutil.copytree(folder / ".hotgate" / "store", tmp_path / "home" / "store")
    with serving(tmp_path, "--no-sync") as second, ThreadPoolExecutor(1) as pool:
        minute = pool.submit(_run, [*calm, "--json"], folder)
        drifted = json.loads(_run([*drift, "--port", str(second.port), "--json"], folder))
        return json.loads(minute.result()), drifted


def _kind(line):
    for kind in ("demo traffic --drift", "demo traffic", "promote", "rollback", "/feedback", "curl"):
        if kind in line:
            return kind
    raise AssertionError(f"unexpected line {line!r}")


def _run(command, folder):
    done = subprocess.run(
        command, cwd=folder, env=_env(folder), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def _predicted(command, folder):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed, so the printed line cannot be run")
    return json.loads(_run(command, folder))["version"]
