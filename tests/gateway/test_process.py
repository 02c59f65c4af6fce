"""The real process: it swaps, drains, dies and is refused bad models without losing a request."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from harness import Traffic, serving, wait_until

from gateway.series import KEEP_PAST
from gateway.store import Entry, ModelRoles, ModelStore

pytestmark = pytest.mark.process

NAME = "cancer-classifier"


def publish(store, version, sha256):
    """What the sidecar does, for tests in which the registry plays no part."""
    with store.writer() as writer:
        writer.publish({NAME: ModelRoles(champion=Entry(version=version, sha256=sha256))})


@pytest.fixture
def store(tmp_path, linear, forest):
    """A store with both model files, the linear one published as version 1."""
    store = ModelStore(tmp_path / "home" / "store")
    with store.writer() as writer:
        writer.put(linear.file.data)
        writer.put(forest.file.data)
    publish(store, "1", linear.file.sha256)
    return store


@pytest.fixture
def body(cancer):
    """One row as a request body."""
    return json.dumps({"features": cancer[0][0].tolist()}).encode()


def test_every_row_is_answered_as_scikit_learn_answers_it(tmp_path, cancer, linear, forest):
    """All 569 rows, one by one and at once, from two models of one server: probabilities within 1e-5."""
    rows = cancer[0]
    models = {"linear": linear, "forest": forest}
    arguments = [part for name, model in models.items() for part in ("--model", f"{name}={model.path}")]
    with serving(tmp_path, *arguments) as server:
        for name, model in models.items():
            expected = model.estimator.predict_proba(rows)
            status, _, content = server.predict(json.dumps({"instances": rows.tolist()}).encode(), f"/predict/{name}")
            assert status == 200
            at_once = json.loads(content)["predictions"]
            singly = [
                json.loads(server.predict(json.dumps({"features": row.tolist()}).encode(), f"/predict/{name}")[2])
                for row in rows
            ]
            for answers in (at_once, singly):
                got = [list(answer["probabilities"].values()) for answer in answers]
                np.testing.assert_allclose(got, expected, atol=1e-5)
                assert [answer["prediction"] for answer in answers] == model.estimator.predict(rows).tolist()
        status, _, content = server.predict(json.dumps({"features": rows[0].tolist()}).encode())
        assert status == 404
        assert "there are forest, linear" in json.loads(content)["detail"]


def test_a_swap_under_traffic_fails_no_request_and_mixes_no_versions(tmp_path, store, linear, forest, body, cancer):
    """Ten swaps: every answer is a 200 of exactly one version, with that version's own hash and probability."""
    expected = {
        linear.file.sha256: linear.estimator.predict_proba(cancer[0][:1])[0, 1],
        forest.file.sha256: forest.estimator.predict_proba(cancer[0][:1])[0, 1],
    }
    hashes = [linear.file.sha256, forest.file.sha256]
    with serving(tmp_path, "--no-sync") as server, Traffic(server.port, body) as traffic:
        for swap in range(1, 11):
            before = traffic.count()
            publish(store, str(swap + 1), hashes[swap % 2])
            wait_until(
                lambda swap=swap, before=before: any(a[2] == str(swap + 1) for a in traffic.answers[before:]),
                deadline_s=10,
                what="an answer of the new version",
            )
        traffic.stop()
    assert traffic.lost == traffic.refused == traffic.stale == 0
    assert {answer[1] for answer in traffic.answers} == {200}
    for _, _, version, sha256, content in traffic.answers:
        answer = json.loads(content)
        assert answer["version"] == version
        assert sha256 == hashes[(int(version) - 1) % 2]
        assert answer["probabilities"]["benign"] == pytest.approx(expected[sha256], abs=1e-5)
    versions = [int(answer[2]) for answer in sorted(traffic.answers, key=lambda answer: answer[0])]
    assert sorted(set(versions)) == list(range(1, 12))


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_traffic_loses_nothing(tmp_path, store, body, workers):
    """Readiness goes first, answers close their connections, and the process ends with code 0."""
    env = {"HOTGATE_GATEWAY_DRAIN_S": "3"}
    with serving(tmp_path, "--no-sync", "--workers", str(workers), env=env) as server:
        with Traffic(server.port, body, connections=16) as traffic:
            wait_until(lambda: traffic.count() > 200, what="traffic")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.request("GET", "/readyz")[0] == 503, deadline_s=3, what="not ready")
            status, headers, _ = server.predict(body)
            assert (status, headers["connection"]) == (200, "close")
            assert server.process.wait(20) == 0
            traffic.stop()
        assert traffic.lost == 0
        assert {answer[1] for answer in traffic.answers} == {200}
    assert "Traceback" not in server.text()


def test_more_connections_than_the_backlog_are_all_answered(tmp_path, store, body):
    """Two thousand of them stay open, and each one gets its answer; no limit leaves the rest waiting for the others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"this process may open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    try:
        with contextlib.ExitStack() as stack, serving(tmp_path, "--no-sync") as server:
            connections = []
            for _ in range(2000):
                connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
                connections.append(stack.enter_context(connection))
            for connection in connections:
                connection.sendall(head.encode() + b"\r\n\r\n" + body)
            assert {connection.recv(12) for connection in connections} == {b"HTTP/1.1 200"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("warm", [True, False])
def test_the_sidecar_leaves_the_workers_start_alone_where_they_have_a_model(tmp_path, store, warm):
    """With a manifest it is started when all workers take connections; without one it is what they wait for."""
    if not warm:
        store.manifest_path.unlink()
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # nobody answers there
    with serving(tmp_path, "--workers", "2", env=env, ready="/livez") as server:
        born = wait_until(
            lambda: len(born := _born(server)) == 4 and len({command for _, _, command in born}) == 3 and born,
            what="two workers and two beside",
        )
        sidecar, pid = next((at, pid) for at, pid, command in born if b"gateway.sync" in command)
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    workers = [at for at, _, command in born if not {b"gateway.sync", b"gateway.observe"} & set(command.split(b"\0"))]
    assert sidecar > max(workers) if warm else sidecar <= min(workers)
    assert b"HOTGATE_WORKER_CONFIG" not in environment


def _born(server):
    """When each child was forked, in ticks since boot, its process id and its command line."""
    found = []
    for pid in server.children():
        with contextlib.suppress(OSError):
            stat, command = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("stat", "cmdline"))
            found.append((int(stat.rpartition(b")")[2].split()[19]), pid, command))
    return found


def test_a_second_signal_stops_at_once(tmp_path, store):
    """An operator in a hurry is not kept for the drain."""
    with serving(tmp_path, "--no-sync", env={"HOTGATE_GATEWAY_DRAIN_S": "60"}) as server:
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: server.request("GET", "/readyz")[0] == 503, deadline_s=2, what="not ready")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0


def test_a_killed_worker_fails_only_its_own_requests_and_comes_back(tmp_path, store, body):
    """SIGKILL one of two: the other answers on, the lost requests are at most those in flight, a new worker comes."""
    with serving(tmp_path, "--no-sync", "--workers", "2") as server:
        wait_until(lambda: len({_boot_of(server, body) for _ in range(8)} - {None}) == 2, what="answers of both")
        workers = server.workers()
        with Traffic(server.port, body, connections=32) as traffic:
            wait_until(lambda: len(_boots(answer[-1] for answer in list(traffic.answers))) == 2, what="both workers")
            wait_until(lambda: traffic.count() > 500, what="traffic")
            os.kill(workers[0], signal.SIGKILL)
            wait_until(lambda: set(server.workers()) - set(workers), what="a new worker")
            before = traffic.count()
            wait_until(lambda: traffic.count() > before + 500, what="traffic after the kill")
            traffic.stop()
        wait_until(lambda: len({_boot_of(server, body) for _ in range(8)} - {None}) == 2, what="answers of both")
        assert workers[1] in server.workers()
        assert {answer[1] for answer in traffic.answers} == {200}
        # Every connection that broke had been answered by one and the same worker before; what else is lost was sent
        # on a connection that was still waiting in that worker's queue.
        assert len(_boots(traffic.last_before_stale)) == 1
        assert traffic.stale < 32
        assert traffic.lost <= traffic.stale


def test_a_stop_does_not_wait_for_a_worker_that_is_being_started_anew(tmp_path, store):
    """SIGTERM while the one that comes for a killed one is not up yet: the server ends, and at once."""
    with serving(tmp_path, "--no-sync", "--workers", "2") as server:
        workers = server.workers()
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: set(server.workers()) - set(workers), what="a new worker")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def _boots(answers):
    """Which workers answered: a request id that the gateway makes begins with its worker's boot id."""
    return {json.loads(content)["request_id"].partition("-")[0] for content in answers}


def test_workers_do_not_outlive_a_killed_parent(tmp_path, store):
    """SIGKILL of the parent leaves no orphan that holds the port."""
    with serving(tmp_path, "--no-sync", "--workers", "2") as server:
        workers = wait_until(lambda: len(server.workers()) == 2 and server.workers(), what="two workers")
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(_alive(pid) for pid in workers), what="the workers' end")


def _alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open() as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "golden"])
def test_a_bad_object_in_the_store_is_refused_while_the_old_one_serves(tmp_path, store, linear, forest, body, damage):
    """The worker checks the hash and runs the golden rows; `/health` says what is wrong; mended, it is served."""
    data, sha256 = forest.file.data, forest.file.sha256
    path = store.object_path(sha256)
    if damage == "truncated":
        path.write_bytes(data[:-1000])
    elif damage == "flipped":
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif damage == "golden":
        # Other golden answers, and a file name that is honest about the bytes: only the golden run can tell.
        text = b'"answers":[[0.'
        at = data.index(text) + len(text)
        damaged = data[:at] + bytes([ord("0") + (data[at] - ord("0") + 5) % 10]) + data[at + 1 :]
        with store.writer() as writer:
            sha256 = writer.put(damaged)
    with serving(tmp_path, "--no-sync") as server:
        publish(store, "2", sha256)
        if damage == "missing":
            path.unlink()
        health = wait_until(lambda: _degraded(server), deadline_s=5, what="status degraded")
        assert health["models"][0]["loaded"]["version"] == "1"
        assert "version 2 cannot be loaded" in health["models"][0]["problem"]
        status, headers, _ = server.predict(body)
        assert (status, headers["x-model-sha256"]) == (200, linear.file.sha256)
        assert server.request("GET", "/readyz")[0] == 200
        if damage in {"truncated", "flipped", "missing"}:
            path.write_bytes(data)
            wait_until(lambda: server.predict(body)[1]["x-model-version"] == "2", deadline_s=10, what="version 2")
            assert json.loads(server.request("GET", "/health")[2])["status"] == "ok"


def _degraded(server):
    health = json.loads(server.request("GET", "/health")[2])
    return health if health["status"] == "degraded" else None


def test_a_worker_without_a_model_waits_for_one(tmp_path, store, linear, body):
    """Not ready, alive, and a 503 that says so; ready once something is published."""
    store.manifest_path.unlink()
    with serving(tmp_path, "--no-sync", ready="/livez") as server:
        assert server.request("GET", "/readyz")[0] == 503
        assert server.predict(body)[0] == 404
        publish(store, "1", linear.file.sha256)
        wait_until(lambda: server.request("GET", "/readyz")[0] == 200, deadline_s=5, what="ready")
        assert server.predict(body)[0] == 200


def test_an_unpublished_model_is_gone(tmp_path, store, linear, body):
    """Taken out of the manifest, it answers 404, and the other model goes on."""
    with store.writer() as writer:
        entry = Entry(version="1", sha256=linear.file.sha256)
        writer.publish({NAME: ModelRoles(champion=entry), "other": ModelRoles(champion=entry)})
    with serving(tmp_path, "--no-sync") as server:
        assert server.predict(body, "/predict/other")[0] == 200
        publish(store, "1", linear.file.sha256)
        wait_until(lambda: server.predict(body, "/predict/other")[0] == 404, deadline_s=5, what="404")
        assert server.predict(body)[0] == 200


def test_metrics_are_the_sum_over_all_workers(tmp_path, store, body):
    """Whichever worker is asked, and also after one was killed."""
    with serving(tmp_path, "--no-sync", "--workers", "2") as server:
        workers = wait_until(lambda: len(server.workers()) == 2 and server.workers(), what="two workers")
        for _ in range(50):
            assert server.predict(body)[0] == 200
        # Each worker tells what it has counted every tenth of a second.
        wait_until(lambda: {_rows(server) for _ in range(10)} == {50.0}, deadline_s=5, what="50 rows")
        os.kill(workers[0], signal.SIGKILL)
        (new,) = wait_until(lambda: set(server.workers()) - set(workers), what="a new worker")
        wait_until(lambda: len({_boot_of(server, body) for _ in range(8)} - {None}) == 2, what="answers of both")
        assert new in server.workers()
        assert _ready_workers(server) == 2
        rows = wait_until(lambda: len(found := {_rows(server) for _ in range(10)}) == 1 and found.pop(), what="one sum")
        assert rows > 50


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here: it comes with Debian's prometheus")
def test_prometheus_own_tool_finds_nothing_wrong_with_the_metrics(tmp_path, store, body):
    """Names, types, units and help, over two workers that have scored, refused and failed."""
    with serving(tmp_path, "--no-sync", "--workers", "2") as server:
        for content in (body, b"{}", body):
            server.predict(content)
        metrics = server.request("GET", "/metrics")[2]
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_rows_by_group_never_go_back_while_workers_are_killed_under_load(tmp_path, store, body):
    """Each of two is killed once: what it had counted stands in every scrape, and a row is one more in every column."""
    with serving(tmp_path, "--no-sync", "--workers", "2") as server:
        workers = wait_until(lambda: len(server.workers()) == 2 and server.workers(), what="two workers")
        seen = [wait_until(lambda: _column_rows(server), what="the series")]
        assert set(seen[0].values()) == {0}
        asked = []

        def both():
            asked.extend(_boot_of(server, body) for _ in range(8))
            return len({*asked[-8:]} - {None}) == 2

        with Traffic(server.port, body, connections=16) as traffic:
            for victim in workers:
                wait_until(both, what="answers of both")
                before = traffic.count()
                wait_until(lambda before=before: _scrape(server, seen) >= before, what="all of them counted")
                others = set(server.workers())
                os.kill(victim, signal.SIGKILL)
                wait_until(
                    lambda others=others: _scrape(server, seen) and set(server.workers()) - others, what="a new one"
                )
            wait_until(both, what="answers of both")
            before = traffic.count()
            wait_until(lambda: _scrape(server, seen) and traffic.count() > before + 200, what="traffic after the kills")
        boots = [_boots([answer[-1]]).pop() for answer in traffic.answers] + asked
        answered = sum(boot in asked[-8:] for boot in boots)
        wait_until(lambda: _scrape(server, seen) >= answered, deadline_s=5, what="all that the living have answered")
    for earlier, later in itertools.pairwise(seen):
        assert later.keys() == earlier.keys()
        assert all(later[series] >= count for series, count in earlier.items())
    columns = {series.partition(",group=")[0]: 0 for series in seen[-1]}
    for series, count in seen[-1].items():
        columns[series.partition(",group=")[0]] += count
    assert len(columns) >= 31  # thirty features and the score
    (rows,) = set(columns.values())
    assert rows <= len(boots) + traffic.lost + traffic.stale


def _column_rows(server):
    """How many rows are in each group of each column, whichever worker says it."""
    lines = server.request("GET", "/metrics")[2].decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("hotgate_column_rows_total{"))
    return {series: int(count) for series, _, count in pairs}


def _scrape(server, seen):
    """Scrape once more, and say how many rows have a score; a worker that is killed meanwhile has not answered."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        seen.append(_column_rows(server))
    return sum(count for series, count in seen[-1].items() if 'kind="score"' in series)


def test_series_of_past_versions_end_in_all_workers_at_once(tmp_path, store, linear, forest, body):
    """Two workers swap: what a past version counted stands, then ends, in one sum; a version come back begins at 0."""
    hashes = (forest.file.sha256, linear.file.sha256)
    with serving(tmp_path, "--no-sync", "--workers", "2", env={"HOTGATE_GATEWAY_HOLD_PREVIOUS_S": "0"}) as server:
        wait_until(lambda: len({_boot_of(server, body) for _ in range(8)} - {None}) == 2, what="answers of both")
        for _ in range(50):
            assert server.predict(body)[0] == 200
        before = wait_until(
            lambda: len(found := {_rows_of(server, "1") for _ in range(10)}) == 1 and found.pop(), what="one sum"
        )
        assert before >= 50
        for swap in range(KEEP_PAST + 1):
            publish(store, str(swap + 2), hashes[swap % 2])
            wait_until(lambda swap=swap: _loaded(server, str(swap + 2)) == 2, what=f"version {swap + 2} in both")
            assert _rows_of(server, "1") in {before, None}
        wait_until(lambda: {_rows_of(server, "1") for _ in range(10)} == {None}, what="the end of version 1")
        assert _rows_of(server, "2") is not None
        publish(store, "1", linear.file.sha256)
        wait_until(lambda: _loaded(server, "1") == 2, what="version 1 again in both")
        assert _rows_of(server, "1") == 0
        assert server.predict(body)[0] == 200
        wait_until(lambda: {_rows_of(server, "1") for _ in range(10)} == {1.0}, what="one row")


def _rows_of(server, version):
    """What any worker says that it was counted for; None without such a series."""
    start = f'hotgate_rows_total{{model="{NAME}",role="champion",version="{version}"}} '
    lines = server.request("GET", "/metrics")[2].decode().splitlines()
    return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), None)


def _loaded(server, version):
    lines = server.request("GET", "/metrics")[2].decode().splitlines()
    found = [line for line in lines if line.startswith("hotgate_model_loaded{") and f'version="{version}"' in line]
    return sum(float(line.split()[-1]) for line in found)


def _boot_of(server, body):
    try:
        return server.predict(body)[1]["x-request-id"].partition("-")[0]
    except OSError:
        return None


def _metric(server, start):
    lines = server.request("GET", "/metrics")[2].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


def _rows(server):
    try:
        return _metric(server, "hotgate_rows_total{")
    except OSError:
        return 50.0


def _ready_workers(server):
    try:
        return _metric(server, "hotgate_workers_ready")
    except OSError:
        return None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "cancer"], "--model takes NAME=FILE"),
        (["--model", "cancer=nowhere.onnx"], "nowhere.onnx"),
        (["--model", "cancer=/dev/null"], "not a regular file"),
        (["--model", "cancer=noise.onnx"], "noise.onnx is not served: not an ONNX file"),
        (["--port", "0"], "--port"),
    ],
)
def test_wrong_arguments_end_with_the_cure(tmp_path, arguments, message):
    """Exit code 2 and a sentence, no stack trace."""
    (tmp_path / "noise.onnx").write_bytes(b"\xff")
    with serving(tmp_path, *arguments, ready=None) as server:
        assert server.process.wait(20) == 2
        assert message in server.text()
        assert "Traceback" not in server.text()


def test_an_impossible_setting_is_named(tmp_path, store):
    """Key, bound and value are in the message."""
    with serving(tmp_path, "--no-sync", env={"HOTGATE_GATEWAY_MAX_BATCH_ROWS": "0"}, ready=None) as server:
        assert server.process.wait(20) == 2
        assert "max_batch_rows must be 1 to 65536, not 0" in server.text()
