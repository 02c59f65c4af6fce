"""The load generator, held against servers whose every delay and fault is known."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import benchmarks.load
from benchmarks.load import LoadError, LoadPlan, LoadResult, build, merge, run, start
from benchmarks.load.build import COMMAND
from benchmarks.load.plan import MISSED_MAX


def plan(server, **changes) -> LoadPlan:
    values = {
        "port": server.port,
        "body": b'{"features": [1.5]}',
        "seconds": 0.4,
        "warmup_s": 0.0,
        "drain_s": 2.0,
        "missed_max": 1.0,
    }
    return LoadPlan(**{**values, **changes})


def add_up(result: LoadResult) -> bool:
    """Whether each request has exactly one fate."""
    fates = sum(result.status.values()) + result.lost + result.reset_reused + result.unsent
    by_slice = sum(part.ok + part.failed for part in result.slices)
    return result.requests == fates and (not result.slices or result.requests == by_slice)


async def at_once(exchange):
    exchange.answer()


def test_closed_loop_measures_a_known_delay(generator, server):
    """A server that takes 5 ms has a p50 of 5 ms, and one connection carries no more than 200 requests a second."""

    async def script(exchange):
        await asyncio.sleep(0.005)
        exchange.answer()

    server.play(script)
    result = run(generator, plan(server, warmup_s=0.1))
    assert 5_000 <= result.latency.p50_us <= 15_000
    assert 30 <= result.throughput_per_s <= 200
    assert result.failed == 0
    assert result.ok > result.latency.n
    assert add_up(result)


def test_percentiles_are_within_a_hundredth(generator, server):
    """Nothing is below the injected delay, order holds, and the maximum is exact."""

    async def script(exchange):
        await asyncio.sleep(0.05 if exchange.number % 10 == 0 else 0.001)
        exchange.answer()

    server.play(script)
    latency = run(generator, plan(server, connections=4)).latency
    assert 1_000 <= latency.p50_us <= 10_000
    assert 50_000 <= latency.p99_us <= 90_000
    assert latency.p50_us <= latency.p90_us <= latency.p99_us <= latency.p999_us <= latency.max_us


def test_a_percentile_is_its_buckets_upper_edge(generator, server):
    """Of two answers, the mean and the exact maximum give the smaller one, which p50 may exceed by 0.8 % at most."""

    async def script(exchange):
        await asyncio.sleep(0.05 if exchange.number == 1 else 0.02)
        exchange.answer()

    server.play(script)
    latency = run(generator, plan(server, requests_max=2)).latency
    smaller_us = 2 * latency.mean_us - latency.max_us
    assert smaller_us - 0.01 <= latency.p50_us <= smaller_us * (1 + 1 / 128)
    assert latency.p99_us == latency.p999_us == latency.max_us


def test_buckets_hold_every_answer(generator, server):
    """Their counts add up to n, and the percentiles taken from them are those that the generator states itself."""

    async def script(exchange):
        await asyncio.sleep(0.02 if exchange.number % 10 == 0 else 0.001)
        exchange.answer()

    server.play(script)
    latency = run(generator, plan(server, connections=4)).latency
    assert sum(latency.buckets.values()) == latency.n
    assert list(latency.buckets) == sorted(latency.buckets)
    stated = (latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us)
    assert tuple(map(latency.percentile_us, (50, 90, 99, 99.9, 100))) == stated


def test_merged_latencies_are_those_of_all_answers(generator, server):
    """A fast and a slow run together: counts add, and the slow half is the upper one."""
    delay_s = [0.001]

    async def script(exchange):
        await asyncio.sleep(delay_s[0])
        exchange.answer()

    server.play(script)
    fast = run(generator, plan(server, requests_max=20)).latency
    delay_s[0] = 0.05
    slow = run(generator, plan(server, requests_max=20, seconds=5)).latency
    both = merge([slow, fast])
    assert both.n == sum(both.buckets.values()) == 40
    assert (both.max_us, both.p99_us) == (slow.max_us, slow.p99_us)
    assert both.p50_us == max(fast.buckets) / 1e3
    assert both.mean_us == pytest.approx((fast.mean_us + slow.mean_us) / 2)
    assert merge([fast]).buckets == fast.buckets
    with pytest.raises(ValueError, match="no latencies"):
        merge([])


def test_bodies_are_sent_in_turn(generator, server):
    """Each body as often as the others, in their order, with its own length."""
    bodies = []

    async def script(exchange):
        bodies.append(exchange.body)
        exchange.answer()

    server.play(script)
    planned = (b"a", b"bb\r\n\r\nContent-Length: 9\r\n\r\n", b"")
    result = run(generator, plan(server, bodies=planned, requests_max=30))
    assert result.ok == 30
    assert tuple(bodies) == planned * 10


@pytest.mark.parametrize("torn", [b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nfour"])
def test_torn_request_is_refused(generator, tmp_path, torn):
    """What is left over behind the last whole request is named, not sent."""
    file = tmp_path / "requests"
    file.write_bytes(b"GET / HTTP/1.1\r\n\r\n" + torn)
    done = subprocess.run([generator, "--port=1", f"--request={file}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "request 2, at byte 18, is not whole" in done.stderr


def test_the_request_arrives_as_planned(generator, server):
    """Method, path, headers and body go out as given, on every request."""
    bodies = []

    async def script(exchange):
        bodies.append(exchange.body)
        exchange.answer()

    server.play(script)
    body = b"x" * 300_000  # more than a socket takes at once
    result = run(generator, plan(server, path="/predict/a", headers=(("X-Key", "k"),), body=body, requests_max=20))
    assert result.requests == result.ok == 20
    assert set(bodies) == {body}
    assert all(head.startswith(b"POST /predict/a HTTP/1.1\r\n") and b"X-Key: k\r\n" in head for head in server.requests)


class Stall:
    """Answers at once, but for one stall of the whole server."""

    def __init__(self, after: int, seconds: float) -> None:
        self.after, self.seconds = after, seconds

    async def __call__(self, exchange) -> None:
        """Answer, and stall before one answer."""
        if exchange.number == self.after:
            time.sleep(self.seconds)  # noqa: ASYNC251 - the stall is the loop's
        exchange.answer()


def test_open_loop_shows_a_stall_to_every_request_scheduled_in_it(generator, server):
    """200 ms of stall at 500 requests a second hits 100 requests, though only 4 connections could carry them."""
    server.play(Stall(after=100, seconds=0.2))
    result = run(generator, plan(server, connections=4, seconds=1.0, rate_per_s=500, schedule="constant"))
    assert result.requests == result.ok == 500
    assert result.latency.max_us >= 199_000
    assert result.latency.p99_us >= 150_000
    assert result.latency.p90_us >= 80_000  # 10 % of all wait at least half of the stall
    assert result.latency.p50_us <= 50_000
    assert result.queued >= 80
    assert result.missed < result.requests
    assert add_up(result)


def test_closed_loop_hides_the_same_stall(generator, server):
    """Coordinated omission, shown: what a closed loop says of the same server."""
    server.play(Stall(after=100, seconds=0.2))
    result = run(generator, plan(server, connections=4, seconds=1.0))
    assert result.latency.max_us >= 199_000
    assert result.latency.p99_us <= 100_000


def test_timeline_shows_the_stall_where_it_was(generator, server):
    """Of the 100 requests meant to go out in a stall of 200 ms each waited for its end; before and after none did."""
    server.play(Stall(after=200, seconds=0.2))
    result = run(
        generator,
        plan(server, connections=4, seconds=1.2, warmup_s=0.2, rate_per_s=500, schedule="constant", slice_s=0.1),
    )
    assert len(result.slices) == 14
    assert all(part.ok == 50 for part in result.slices)  # as they were meant, not as they were answered
    worst = max(result.slices, key=lambda part: part.max_us)
    at = result.slices.index(worst)
    assert at in (3, 4)  # request 200 is meant to go out 400 ms after the begin
    assert worst.p99_us >= 190_000
    assert result.slices[5].p50_us >= 1_000  # halfway through it, 100 ms are left
    assert result.slices[4].answered < 50
    assert sum(part.answered for part in result.slices) <= result.requests
    assert add_up(result)
    stalled = sum(n for highest_ns, n in result.latency.buckets.items() if highest_ns >= 10_000_000)
    assert stalled >= 95  # those within 190 ms of its begin


def test_timeline_tells_faults_apart(generator, server):
    """Refused, other statuses and lost, each in the slices in which they were meant to go out."""

    async def script(exchange):
        if exchange.number > 40:
            exchange.answer()
        elif exchange.number % 4 == 3:
            exchange.answer(body=b"half", length=8)
            exchange.close()
        else:
            exchange.answer({0: 503, 1: 404, 2: 429}[exchange.number % 4])

    server.play(script)
    result = run(generator, plan(server, connections=40, rate_per_s=400, schedule="constant", slice_s=0.05))
    faults = [(part.refused, part.other_status, part.lost) for part in result.slices]
    assert faults == [(10, 5, 5), (10, 5, 5), *[(0, 0, 0)] * 6]
    assert (result.refused, result.other_status, result.lost) == (20, 10, 10)
    assert result.slices[0].p99_us is None
    assert result.ok < sum(part.answered for part in result.slices) <= result.requests - result.lost
    assert add_up(result)


def test_timeline_of_a_run_ended_early_ends_with_it(generator, server):
    """No empty slices stand for time that was not run, and too many slices are refused before the load."""
    server.play(at_once)
    with start(generator, plan(server, seconds=60, rate_per_s=200, slice_s=0.1)) as running:
        server.wait_for(40)
        running.finish()
        result = running.result()
    assert 2 <= len(result.slices) == math.ceil(result.seconds / 0.1) < 100
    assert 0 < time.monotonic_ns() - result.begin_monotonic_ns < 60_000_000_000
    with pytest.raises(LoadError, match="more than 10000 slices"):
        run(generator, plan(server, seconds=60, slice_s=0.001))


def test_missed_schedule_is_no_result(generator, server):
    """A generator that was itself too late says so; who counts that himself may have the figures."""

    def held_up(missed_max: float) -> LoadResult:
        with start(generator, plan(server, rate_per_s=500, seconds=0.6, missed_max=missed_max)) as running:
            server.wait_for(20)
            os.kill(running.pid, signal.SIGSTOP)
            until_stopped(running.pid)
            time.sleep(0.1)  # the fault itself: 50 requests fall due
            os.kill(running.pid, signal.SIGCONT)
            return running.result()

    server.play(at_once)
    with pytest.raises(
        LoadError, match=r"missed its schedule: it was over 1 ms late itself for \d+ of .* allowed 0.50%"
    ):
        held_up(MISSED_MAX)
    server.requests.clear()
    assert held_up(1.0).missed_share > MISSED_MAX


@pytest.mark.parametrize("schedule", ["poisson", "constant"])
def test_open_loop_keeps_its_rate(generator, server, schedule):
    """Constant is exact in number; Poisson is seeded, equal for equal seeds, and right within five sigma."""
    server.play(at_once)
    numbers = [
        run(
            generator, plan(server, connections=8, rate_per_s=2_000, seconds=0.2, schedule=schedule, seed=seed)
        ).requests
        for seed in (1, 1, 2)
    ]
    assert numbers[0] == numbers[1]
    assert all(abs(number - 400) <= (100 if schedule == "poisson" else 0) for number in numbers)
    assert (numbers[2] != numbers[0]) == (schedule == "poisson")


def test_poisson_gaps_are_exponential(generator, server):
    """Half of the arrivals follow within ln 2 of the mean gap, where a constant rate has none."""
    server.play(at_once)
    run(generator, plan(server, connections=8, rate_per_s=400, seconds=0.5, seed=3))
    gaps = [after - before for before, after in zip(server.arrivals, server.arrivals[1:], strict=False)]
    assert 0.3 <= sum(gap < 0.693 / 400 for gap in gaps) / len(gaps) <= 0.7


def test_refusals_are_counted_by_status(generator, server):
    """A quarter of 503s is a quarter of the requests and not in the latencies."""

    async def script(exchange):
        exchange.answer(503 if exchange.number % 4 == 0 else 200)

    server.play(script)
    result = run(generator, plan(server, requests_max=400))
    assert result.status == {200: 300, 503: 100}
    assert result.ok == result.latency.n == 300
    assert result.failed == 100
    assert result.faults() == "100 status 503"


def test_refused_and_accepted_have_latencies_of_their_own(generator, server):
    """Slow 2xx and quick 429s do not mix, a 500 is in neither, and Retry-After is counted by status."""

    async def script(exchange):
        kind = exchange.number % 4
        if kind == 3:
            await asyncio.sleep(0.05)
            exchange.answer()
        else:
            exchange.answer((503, 429, 500)[kind], headers="retry-AFTER: 1\r\n" if kind == 1 else "")

    server.play(script)
    result = run(generator, plan(server, requests_max=40, seconds=5))
    assert result.status == dict.fromkeys((200, 429, 500, 503), 10)
    assert result.retry_after == {429: 10}
    assert (result.latency.n, result.refused_latency.n, result.refused, result.other_status) == (10, 20, 20, 10)
    assert result.refused_latency.p50_us < 50_000 <= result.latency.p50_us
    assert result.from_sent == result.latency  # a closed loop sends when it means to


def test_waiting_for_a_connection_counts_from_the_intended_send_only(generator, server):
    """One connection and answers of 20 ms at 100 requests a second: the queue grows, what the server takes does not."""

    async def script(exchange):
        await asyncio.sleep(0.02)
        exchange.answer(503 if exchange.number % 2 else 200)

    server.play(script)
    result = run(generator, plan(server, rate_per_s=100, schedule="constant"))
    assert result.latency.max_us >= 300_000
    assert result.from_sent.p50_us <= result.latency.p50_us / 2
    assert result.refused_from_sent.p50_us <= result.refused_latency.p50_us / 2


def test_answer_cut_off_is_lost(generator, server):
    """A connection that ends within an answer, or without a byte of a fresh one's first, has lost the request."""

    async def script(exchange):
        if exchange.number % 10 == 5:
            exchange.answer(body=b"half", length=8)
            exchange.close()
        elif exchange.number % 10 == 6:  # the connection after: fresh
            exchange.close()
        else:
            exchange.answer()

    server.play(script)
    result = run(generator, plan(server, requests_max=100))
    assert result.lost == 20
    assert result.reset_reused == 0
    assert result.ok == 80
    assert result.reconnects == 20
    assert add_up(result)


def test_reused_connection_closed_before_its_answer_is_no_loss(generator, server):
    """HTTP lets a server close an idle connection: a request that crosses this is counted apart."""

    async def script(exchange):
        if exchange.on_connection == 5:
            exchange.close()
        else:
            exchange.answer()

    server.play(script)
    result = run(generator, plan(server, requests_max=100))
    assert result.reset_reused == 20
    assert result.lost == 0
    assert result.ok == 80
    assert add_up(result)


def test_idle_connection_closed_costs_no_request(generator, server):
    """The open loop notices while the connection rests, and dials again."""

    async def script(exchange):
        exchange.answer()
        exchange.close()

    server.play(script)
    result = run(generator, plan(server, rate_per_s=5, schedule="constant", seconds=1.6))
    assert result.requests == 8
    assert result.lost == 0
    assert result.ok >= 6  # the server has 200 ms to close; on a busy machine a request may still cross it
    assert result.reconnects >= 7


def until_stopped(pid: int) -> None:
    """Wait until the kernel has stopped a process."""
    while ") T " not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0)


def test_close_that_came_with_the_answer_is_noticed(generator, server):
    """A closed loop does not reuse a connection that it can see is closed."""

    async def script(exchange):
        os.kill(running.pid, signal.SIGSTOP)  # so that answer and end are there when it looks
        until_stopped(running.pid)
        exchange.answer()
        exchange.close()
        await exchange.writer.wait_closed()
        os.kill(running.pid, signal.SIGCONT)

    server.play(script)
    with start(generator, plan(server, requests_max=10)) as running:
        result = running.result()
    assert (result.requests, result.ok, result.reset_reused) == (10, 10, 0)


def test_connection_close_is_obeyed(generator, server):
    """After an answer with `Connection: close` the next request has a new connection, and nothing failed."""

    async def script(exchange):
        assert exchange.on_connection == 1
        exchange.answer(headers="Connection: close\r\n")
        exchange.close()

    server.play(script)
    result = run(generator, plan(server, connections=3, requests_max=60))
    assert (result.requests, result.ok, result.failed) == (60, 60, 0)
    assert result.reconnects == 60


def test_request_never_answered_is_lost(generator, server):
    """The run ends in bounded time though the server never answers again."""

    async def script(exchange):
        if exchange.number <= 10:
            exchange.answer()
        else:
            await asyncio.Event().wait()

    server.play(script)
    result = run(generator, plan(server, connections=2, drain_s=0.1))
    assert result.ok == 10
    assert result.lost == 2
    open_loop = plan(server, connections=2, drain_s=0.1, rate_per_s=100, schedule="constant")
    server.requests.clear()
    result = run(generator, open_loop)
    assert (result.requests, result.ok, result.lost, result.unsent) == (40, 10, 2, 28)


@pytest.mark.parametrize("backlog", ["send", "drop"])
def test_backlog_is_sent_late_or_dropped(generator, server, backlog):
    """One connection carries a fifth of what is due: the rest goes out in the drain time, or never; nothing is lost."""

    async def script(exchange):
        await asyncio.sleep(0.02)
        exchange.answer()

    server.play(script)
    result = run(generator, plan(server, rate_per_s=250, schedule="constant", drain_s=30, backlog=backlog))
    assert (result.requests, result.lost) == (100, 0)
    assert result.ok + result.unsent == 100
    assert result.ok <= 21 if backlog == "drop" else result.ok == 100
    assert add_up(result)


def test_versions_are_timed(generator, server):
    """Each value of the header has its count and the time of its first answer, on this process's monotonic clock."""
    switched = []

    async def script(exchange):
        version = "1" if exchange.number <= 50 else "2"
        if exchange.number == 51:
            switched.append((time.monotonic_ns(), time.time_ns()))
        exchange.answer(headers=f"x-model-VERSION:  {version}\r\n")

    server.play(script)
    result = run(generator, plan(server, requests_max=80, version_header="X-Model-Version"))
    assert {name: seen.count for name, seen in result.versions.items()} == {"1": 50, "2": 30}
    ((monotonic_ns, wall_ns),) = switched
    seen = result.versions["2"]
    assert 0 < seen.first_monotonic_ns - monotonic_ns < 2_000_000_000
    assert 0 < seen.first_wall_ns - wall_ns < 2_000_000_000


def test_finish_ends_a_run_early(generator, server):
    """A run meant for an hour can be ended, and its result is that of the time it had."""
    enough = asyncio.Event()

    async def script(exchange):
        exchange.answer()
        if exchange.number == 20:
            enough.set()

    server.play(script)
    with start(generator, plan(server, seconds=3_600, rate_per_s=200)) as running:
        asyncio.run_coroutine_threadsafe(enough.wait(), server._loop).result(10)
        running.finish()
        result = running.result()
    assert 20 <= result.requests == result.ok < 1_000
    assert result.seconds < 10


def test_leaving_the_block_ends_the_generator(generator, server):
    """An error beside the run leaves no process behind."""
    server.play(at_once)
    with pytest.raises(KeyboardInterrupt), start(generator, plan(server, seconds=3_600)) as running:
        raise KeyboardInterrupt
    assert not Path(f"/proc/{running.pid}").exists()


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ("Transfer-Encoding: chunked\r\n", "chunked"),
        ("Broken header\r\n", "no header"),
        ("X: y\r\n", "more than the answer's Content-Length"),
    ],
)
def test_answers_it_cannot_judge_fail_the_run(generator, server, headers, message):
    """A run that would have to guess says so instead."""

    async def script(exchange):
        exchange.answer(headers=headers, length=1 if headers.startswith("X") else None)

    server.play(script)
    with pytest.raises(LoadError, match=message):
        run(generator, plan(server))


def test_run_without_one_good_answer_fails(generator, server):
    """Never a zero: the error says what came instead."""

    async def script(exchange):
        exchange.answer(500)

    server.play(script)
    with pytest.raises(LoadError, match=r"no request .* 2xx\n.*\"500\":\d"):
        run(generator, plan(server))


def test_no_server_fails(generator, server):
    """Connections that cannot be made are an error that names the port."""
    server.stop()
    with pytest.raises(LoadError, match=f"0 of 1 connections to 127.0.0.1 port {server.port}"):
        run(generator, plan(server))


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "localhost", "::2", "127.0.0.1.example.com"])
def test_only_loopback_may_be_loaded(generator, host):
    """Every other address is refused before a socket exists."""
    with pytest.raises(LoadError, match="not a loopback address"):
        run(generator, LoadPlan(host=host, port=80))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connections": 0}, "--connections is 0"),
        ({"rate_per_s": -1}, "--rate is -1"),
        ({"seconds": 9e3}, "--seconds is 9000"),
    ],
)
def test_impossible_plans_are_refused(generator, changes, message):
    """The message names the option, the value and its bounds."""
    with pytest.raises(LoadError, match=message):
        run(generator, LoadPlan(port=1, **changes))


def test_build_is_cached_by_the_source(generator):
    """The same source is compiled once."""
    made = generator.stat().st_mtime_ns
    assert build(generator.parent) == generator
    assert generator.stat().st_mtime_ns == made
    assert [path.name for path in generator.parent.iterdir()] == [generator.name]


def test_source_compiles_without_a_warning(generator, tmp_path):
    """What a compiler doubts is an error here, though not for users."""
    source = Path(benchmarks.load.__file__).with_name("gen.c")
    subprocess.run([*COMMAND, "-Werror", "-o", tmp_path / "gen", source, "-lm"], check=True)


def test_missing_compiler_names_the_cure(tmp_path, monkeypatch):
    """A machine without gcc is told what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LoadError, match="apt install gcc"):
        build(tmp_path / "cache")
