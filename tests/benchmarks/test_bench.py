"""The parts of `hotgate bench`: what is compared, what is refused, and one small measurement of the real thing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import onnxruntime
import pytest

from benchmarks.affinity import cores, pinned
from benchmarks.bench import Bench, BenchPlan
from benchmarks.errors import BenchError
from benchmarks.load import Latency, LoadPlan, LoadResult
from benchmarks.process import descendants
from benchmarks.serving import ORDER, compare, ratios, side
from benchmarks.subject import KINDS, check_answers, row_body, train_subject, train_subjects

needs_two_cores = pytest.mark.skipif(len(cores()) < 2, reason="one core for the servers, one for the generator")


def result(throughput: float, p99_us: float = 10.0) -> LoadResult:
    latency = Latency(n=9, mean_us=1, p50_us=1, p90_us=1, p99_us=p99_us, p999_us=p99_us, max_us=p99_us)
    counts = dict.fromkeys(
        ("lost", "reset_reused", "unsent", "connect_errors", "reconnects", "queued", "missed", "max_lag_us"), 0
    )
    return LoadResult(
        requests=10,
        ok=10,
        status={200: 10},
        seconds=1,
        cpu_share=0.5,
        throughput_per_s=throughput,
        latency=latency,
        versions={},
        **counts,
    )


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    (made,) = train_subjects(tmp_path_factory.mktemp("subject"), [1.0])
    return made


def test_order_is_balanced():
    """Each pair has both sides, and each side is as often first: a drift in time favours neither."""
    assert sorted(ORDER[:2]) == sorted(ORDER[2:]) == ["fixed", "hotgate"]
    assert ORDER[::-1] == ORDER


def test_ratio_is_taken_by_pairs():
    """The gateway's throughput by the fixed answer's, whichever of the two came first."""
    blocks = [("hotgate", result(50)), ("fixed", result(100)), ("fixed", result(80)), ("hotgate", result(60))]
    assert ratios(blocks) == (0.5, 0.75)


def test_a_side_is_the_median_of_its_blocks():
    """One block disturbed by a neighbour does not move it."""
    found = side([result(100), result(102), result(3, p99_us=9_000)])
    assert (found.throughput_per_s, found.p99_us, found.blocks, found.requests) == (100, 10, 3, 30)


def test_one_failed_request_fails_the_comparison(generator, server):
    """There are no figures beside errors; the message says which side, where and what."""

    async def script(exchange):
        exchange.answer(503 if exchange.number == 3 else 200)

    server.play(script)
    plan = LoadPlan(port=1, seconds=0.2, warmup_s=0, connections=2)
    with pytest.raises(BenchError, match="hotgate at 2 connections: 1 status 503"):
        compare(generator, plan, dict.fromkeys(ORDER, server.port), rounds=1, say=lambda _: None)


def test_both_sides_are_loaded_in_turn(generator, server):
    """The same plan but for the port; each block is announced."""

    async def script(exchange):
        exchange.answer()

    server.play(script)
    said = []
    plan = LoadPlan(port=1, seconds=0.1, warmup_s=0, connections=2)
    found = compare(generator, plan, dict.fromkeys(ORDER, server.port), rounds=1, say=said.append)
    assert (found.connections, found.hotgate.blocks, found.fixed.blocks, len(found.ratios)) == (2, 2, 2, 2)
    assert said[0] == "2 connections, block 1 of 4: hotgate"
    assert len(said) == 4
    assert found.ratio > 0


def test_subjects_differ_but_in_nothing_that_costs(tmp_path, subject):
    """Another strength is another file with the same columns; the same strength the same file."""
    other, same = train_subjects(tmp_path, [1.01, 1.0])
    assert same.file.name == subject.file.name
    assert other.file.read_bytes() != same.file.read_bytes()
    assert subject.rows.shape[1] == 30
    assert len(msgspec.json.decode(row_body(subject.rows[0]))["features"]) == 30


@pytest.mark.parametrize(("kind", "trees"), [("linear", 0), ("forest", 100), ("boosting", 200)])
def test_each_kind_is_a_certified_model_file(tmp_path, kind, trees):
    """What is measured is what the name says, and its file answers as the estimator does."""
    made = train_subject(tmp_path, kind)
    session = onnxruntime.InferenceSession(made.file, providers=["CPUExecutionProvider"])
    answered = session.run(None, {session.get_inputs()[0].name: made.rows.astype("float32")})[1]
    assert made.kind == kind in KINDS
    assert len(getattr(made.estimator, "estimators_", ())) == trees
    assert abs(answered - made.probabilities).max() <= made.tolerance


@pytest.mark.parametrize("fault", [None, "probability", "prediction", "status"])
def test_answers_are_held_against_scikit_learn(server, subject, fault):
    """A server that is fast and wrong is never timed."""
    rows = {row_body(row): index for index, row in enumerate(subject.rows)}

    async def script(exchange):
        index = rows[exchange.body]
        wrong = fault if index == len(rows) - 1 else None
        probabilities = dict(zip(subject.labels, subject.probabilities[index].tolist(), strict=True))
        if wrong == "probability":
            probabilities[subject.labels[0]] += 10 * subject.tolerance
        prediction = subject.predictions[index]
        answer = {
            "prediction": 1 - prediction if wrong == "prediction" else prediction,
            "label": "x",
            "probabilities": probabilities,
        }
        exchange.answer(500 if wrong == "status" else 200, body=msgspec.json.encode(answer))

    server.play(script)
    if fault is None:
        assert check_answers(server.port, subject) == 0
    else:
        with pytest.raises(BenchError, match=f"held-out row {len(rows) - 1}"):
            check_answers(server.port, subject)


def test_one_core_is_too_few(tmp_path):
    """Server and generator on one core would measure each other."""
    with pinned(cores()[0]), pytest.raises(BenchError, match="one core for the servers"):
        Bench(tmp_path, BenchPlan(), lambda _: None)


@pytest.mark.process
@needs_two_cores
def test_gateway_is_compared_with_the_fixed_answer(tmp_path):
    """The real servers, shortly: answers checked, no request failed, every figure there."""
    plan = BenchPlan(connections=(1, 8), rounds=1, block_s=0.2, warmup_s=0.1)
    error_max, found, memory = Bench(tmp_path, plan, lambda _: None).against_fixed()
    assert error_max < 1e-5
    assert [figures.connections for figures in found] == [1, 8]
    assert all(figures.ratio > 0 for figures in found)
    assert memory.worker > memory.fixed_worker > 2**20


@pytest.mark.process
@needs_two_cores
@pytest.mark.parametrize(
    ("sent", "moment", "children", "code"),
    [(signal.SIGINT, "block 1", 4, 1), (signal.SIGTERM, "training", 0, 128 + signal.SIGTERM)],
)
def test_interrupted_measurement_leaves_nothing_behind(tmp_path, gone, sent, moment, children, code):
    """Ctrl-C or SIGTERM unwinds, in the middle of a block too: servers, workers and generator end."""
    environment = {**os.environ, "HOTGATE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "hotgate", "bench", "--seconds", "60"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if moment in line)
        below = descendants(process.pid)
        process.send_signal(sent)
        process.communicate(timeout=30)
    assert len(below) >= children
    assert process.returncode == code
    assert gone(below)


@pytest.mark.process
@needs_two_cores
@pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated",  # MLflow's own tables
    "ignore:.*Any type hint is inferred as AnyType:UserWarning",  # MLflow's own functions
)
def test_swaps_and_starts_are_timed_in_a_registry_of_their_own(monkeypatch, tmp_path):
    """A real registry, sidecar and worker: the promotion reached the clients, the user's registry was not touched."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://192.0.2.1:5000")  # the user's, which must not be asked
    monkeypatch.setenv("HOTGATE_SYNC_POLL_INTERVAL_S", "3600")  # the user's settings are not measured either
    before = dict(os.environ)
    swap, startup = Bench(tmp_path, BenchPlan(swaps=1, starts=1), lambda _: None).with_registry()
    assert len(swap.seconds) == len(startup.seconds) == 1
    assert 0 < swap.seconds[0] < 30
    assert swap.failed == 0 < swap.requests
    assert swap.warmup_s < swap.asked_s[0] < len(swap.slices) * swap.slice_s
    assert dict(os.environ) == before
    assert not list(tmp_path.glob("registry-*"))
