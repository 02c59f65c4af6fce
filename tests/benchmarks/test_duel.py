"""Two servers measured in turn: who is stopped, at which rate, and what is no pair."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from benchmarks.duel import Bout, Contender, Duel, decide, weigh
from benchmarks.errors import BenchError
from benchmarks.gate import Gate, GatePlan, Limit, Pair
from benchmarks.load import Latency, LoadPlan, LoadResult

NAMES = {"a": "fixed", "b": "hotgate"}
CLOSED = Bout(figure="throughput", block=LoadPlan(port=1))
OPEN = Bout(figure="p99", block=LoadPlan(port=1), rates={"a": 1_000.0, "b": 500.0})


def result(*, throughput=1_000.0, p99_us=500.0, n=5_000, **changes) -> LoadResult:
    latency = Latency(n=n, mean_us=1, p50_us=1, p90_us=1, p99_us=p99_us, p999_us=p99_us, max_us=p99_us)
    counts = dict.fromkeys(("lost", "reset_reused", "unsent", "connect_errors", "reconnects", "queued", "missed"), 0)
    values = {"requests": n, "ok": n, "status": {200: n}, "seconds": 5.0, "cpu_share": 0.5, "max_lag_us": 0.0} | counts
    values |= {"throughput_per_s": throughput, "latency": latency, "versions": {}} | changes
    return LoadResult(**values)


def pair(bout=OPEN, *, a=None, b=None) -> Pair:
    return weigh({"b": b or result(), "a": a or result()}, bout, NAMES)


def test_pair_has_the_figure_that_was_asked_for():
    """B by A, whichever was measured first."""
    a, b = result(throughput=1_000, p99_us=500), result(throughput=900, p99_us=800)
    assert pair(a=a, b=b, bout=CLOSED) == Pair(a=1_000, b=900)
    assert pair(a=a, b=b) == Pair(a=500, b=800, held=False)


@pytest.mark.parametrize(
    ("side", "change", "reason"),
    [
        ("a", {"missed": 26}, "the generator was over 1 ms late for 0.5% of fixed's requests"),
        ("b", {"missed": 26}, "the generator was over 1 ms late for 0.5% of hotgate's requests"),
        ("b", {"missed": 25}, ""),
        ("a", {"cpu_share": 0.96}, "the generator used 96% of its core for fixed"),
        ("b", {"n": 4_999}, "hotgate gave only 4,999 of at least 5,000 answers"),
    ],
)
def test_block_that_did_not_measure_the_server_makes_the_pair_void(side, change, reason):
    """The generator's own lateness or limit, or too few answers for a p99, on either side."""
    bout = msgspec.structs.replace(OPEN, answers_min=5_000)
    assert pair(bout, **{side: result(**change)}).void == reason


def test_side_that_falls_behind_its_rate_is_told():
    """B has not held it; where A has not, it is the machine, and the pair is void. A closed loop has no rate."""
    behind = result(throughput=940.0)
    assert pair(b=result(throughput=960.0)).held
    assert not pair(b=behind).held
    assert not pair(b=behind).void
    assert pair(a=behind).void == "fixed did not answer at its rate"
    assert pair(CLOSED, b=behind) == Pair(a=1_000.0, b=940.0)


@pytest.mark.parametrize("change", [{"status": {200: 4_999, 503: 1}}, {"status": {200: 4_999, 429: 1}}, {"unsent": 1}])
def test_request_that_was_turned_away_is_a_rate_that_was_not_held(change):
    """In the open loop it is the measured answer to the question; in the closed loop it is a fault like any other."""
    turned_away = result(ok=4_999, **change)
    assert not pair(b=turned_away).held
    with pytest.raises(BenchError, match="requests to hotgate failed: 1 "):
        pair(CLOSED, b=turned_away)


@pytest.mark.parametrize("bout", [OPEN, CLOSED])
@pytest.mark.parametrize("change", [{"status": {200: 4_999, 500: 1}}, {"lost": 1}, {"reset_reused": 1}])
def test_failed_request_is_an_error(bout, change):
    """There is no figure beside it, whatever the loop."""
    for side in "ab":
        with pytest.raises(BenchError, match=f"requests to {NAMES[side]} failed: 1 "):
            pair(bout, **{side: result(ok=4_999, **change)})


def test_gate_is_driven_to_its_verdict():
    """What it asks for is measured, in order and numbered; void pairs are told and measured again."""
    asked, told = [], []

    def measure(order, number):
        asked.append((order, number))
        return Pair(a=1.0, b=2.0, void="a stall" if number == 2 else "")

    gate = Gate(Limit(ratio=1.5, worse="higher"), GatePlan())
    verdict = decide(gate, measure, more=lambda progress: not told.append(progress))
    assert (verdict.outcome, verdict.pairs, verdict.voids) == ("fail", 12, 1)
    assert [number for _, number in asked] == list(range(1, 14))
    assert asked[1][0] == asked[2][0]
    assert told[2] == "Gate(pairs=1/24, voids=1); the last was void: a stall"
    assert told[3] == "Gate(pairs=2/24, voids=1)"


def test_time_that_is_up_ends_it_without_a_verdict():
    """Nothing more is measured."""
    left = iter([True, True, False])
    gate = Gate(Limit(ratio=1.5, worse="higher"), GatePlan())
    verdict = decide(gate, lambda *_: Pair(a=1.0, b=2.0), more=lambda _: next(left))
    assert (verdict.outcome, verdict.reason) == ("inconclusive", "time was up")
    assert len(gate.log_ratios) == 2


@pytest.fixture
def bystanders():
    """Two processes in the place of servers, to see which of them runs."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command) as a, subprocess.Popen(command) as b:
        yield {"a": a.pid, "b": b.pid}
        a.kill()
        b.kill()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def running(pids) -> list[str]:
    """The names of those that run; a process takes a moment from the signal until it has stopped."""
    deadline = time.monotonic() + 5
    while len(names := [name for name, pid in pids.items() if not stopped(pid)]) > 1:
        if time.monotonic() > deadline:
            break
    return names


def duel(generator, server, pids, said) -> Duel:
    a, b = (Contender(name=NAMES[name], pid=pids[name], port=server.port) for name in "ab")
    return Duel(generator, a, b, say=said.append)


def test_only_the_measured_side_runs(generator, server, bystanders):
    """The other is stopped for the length of the block, and both run afterwards; the maximum is taken ABBA."""
    found = []

    async def script(exchange):
        found.append(running(bystanders))
        exchange.answer()

    server.play(script)
    said = []
    block = LoadPlan(port=1, connections=1, seconds=0.1, warmup_s=0)
    maximum = duel(generator, server, bystanders, said).maximum(block, 1)
    assert min(maximum.values()) > 0
    assert [names for at, names in enumerate(found) if not at or found[at - 1] != names] == [["a"], ["b"], ["a"]]
    assert said == [f"maximum of {NAMES[name]} at 1 connections" for name in "abba"]
    assert list(duel(generator, server, bystanders, []).maximum(block, 2, order=("a",))) == ["a"]
    assert not any(map(stopped, bystanders.values()))


def test_each_side_has_its_own_rate(generator, server, bystanders):
    """100 and 40 requests a second, in the order that was asked for."""

    async def script(exchange):
        sent.extend(running(bystanders))
        exchange.answer()

    server.play(script)
    block = LoadPlan(port=1, connections=4, seconds=0.5, warmup_s=0, schedule="constant")
    bout = Bout(figure="p99", block=block, rates={"a": 100.0, "b": 40.0})
    for order in (("a", "b"), ("b", "a")):
        sent = []
        duel(generator, server, bystanders, []).pair(bout, order, 1)
        assert sent[0] == order[0]
        assert sent.count("a") > 2 * sent.count("b") > 0


def test_fault_under_load_ends_the_measurement(generator, server, bystanders):
    """The one that was stopped runs again."""

    async def script(exchange):
        exchange.answer(500 if exchange.number == 3 else 200)

    server.play(script)
    block = LoadPlan(port=1, connections=1, seconds=0.1, warmup_s=0)
    with pytest.raises(BenchError, match="requests to fixed failed: 1 status 500"):
        duel(generator, server, bystanders, []).maximum(block, 1)
    assert not any(map(stopped, bystanders.values()))
