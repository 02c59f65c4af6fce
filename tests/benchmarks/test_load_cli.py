"""`hotgate bench load`: what it sends, what it refuses, what it prints, and its exit codes."""

from __future__ import annotations

import asyncio

import click
import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.cli import COMMANDS, SUMMARIES
from benchmarks.load.cli import load
from benchmarks.load.report import LoadReport
from benchmarks.load.target import Target, TargetError, parse_headers, parse_url, split_lines


@pytest.fixture
def bench_load(generator, server):
    """Run the command against the scripted server, shortly; a machine that is late itself decides no test."""

    def invoke(*arguments, path="/predict", **options):
        common = ["--seconds", "0.3", "--warmup", "0", "--missed-max", "1", "--connections", "2"]
        return CliRunner().invoke(
            load, [f"http://localhost:{server.port}{path}", *common, *arguments], obj=generator.parent, **options
        )

    return invoke


async def at_once(exchange):
    exchange.answer()


def test_body_headers_and_path_are_sent_as_given(bench_load, server):
    """A body makes it a POST of JSON, unless told otherwise."""
    server.play(at_once)
    assert bench_load("--data", "{}", "--header", "X-Key: a:b", path="/a?b=c").exit_code == 0
    head = server.requests[-1]
    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Key: a:b\r\n" in head
    assert b"Content-Type: application/json\r\n" in head
    assert bench_load("--method", "put", "--header", "content-type: text/csv", "--data", "1").exit_code == 0
    assert server.requests[-1].startswith(b"PUT /predict ")
    assert b"application/json" not in server.requests[-1]
    assert bench_load(path="").exit_code == 0
    assert server.requests[-1].startswith(b"GET / HTTP/1.1")


def test_lines_are_sent_in_turn(bench_load, server):
    """JSON Lines on standard input are bodies one after the other."""
    bodies = []

    async def script(exchange):
        bodies.append(exchange.body)
        exchange.answer()

    server.play(script)
    done = bench_load("--body", "-", "--lines", "--connections", "1", input=b'{"a": 1}\n\n{"b": 2}\n')
    assert done.exit_code == 0, done.output
    assert bodies[:4] == [b'{"a": 1}', b'{"b": 2}'] * 2


def test_curve_is_a_row_a_rate(bench_load, server):
    """The table has what was asked and what came; progress is on stderr; the run is the seed's."""
    server.play(at_once)
    done = bench_load("--rates", "100, 200", "--schedule", "constant")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].endswith("2 connections, open loop (constant, seed 0), 0.3 s after 0 s of warm-up")
    rows = [line.split() for line in lines if line.strip().startswith(("100 ", "200 "))]
    assert [row[0] for row in rows] == ["100", "200"]
    assert [row[2] for row in rows] == ["0", "0"]
    assert "run 2 of 2: 200 requests a second" in done.stderr
    assert len(server.requests) == 90


def test_json_has_histogram_and_timeline(bench_load, server):
    """What is printed decodes to the report, from which plots can be drawn and blocks merged."""
    server.play(at_once)
    done = bench_load("--rate", "100", "--schedule", "constant", "--json")
    (run,) = msgspec.json.decode(done.stdout, type=LoadReport, strict=False).runs
    assert run.rate_per_s == 100
    assert sum(run.result.latency.buckets.values()) == 30
    assert [part.ok for part in run.result.slices] == [10, 10, 10]


def test_failed_requests_are_exit_code_1(bench_load, server):
    """The figures stand, and beside them what failed, by kind, and whether it said when to come back."""

    async def script(exchange):
        refused = exchange.number % 2 == 0
        exchange.answer(503 if refused else 200, headers="Retry-After: 1\r\n" if refused else "")

    server.play(script)
    done = bench_load("--rate", "100", "--schedule", "constant")
    assert done.exit_code == 1
    assert "/s: 15 of 30 failed: 15 status 503; with Retry-After: 15 of status 503\n" in done.stderr
    assert "p99.9 ms" in done.stdout


def test_missed_schedule_is_a_fault_of_the_report(bench_load, server):
    """It is one above the bound only, and the table's notes say which figures it spoils."""
    server.play(at_once)
    report = msgspec.json.decode(bench_load("--rate", "50", "--json").stdout, type=LoadReport, strict=False)
    (run,) = report.runs
    late = msgspec.structs.replace(run, result=msgspec.structs.replace(run.result, missed=1))
    share = 1 / run.result.requests
    assert not msgspec.structs.replace(report, runs=(late,), missed_max=share).faults
    (fault,) = msgspec.structs.replace(report, runs=(late,), missed_max=share / 2).faults
    assert fault.startswith("50/s: the generator missed its schedule: 1 of ")
    assert (
        "50/s: p99.9 and max are partly the generator's own" in msgspec.structs.replace(report, runs=(late,)).render()
    )


def test_server_that_answers_nothing_good_is_exit_code_1(bench_load, server):
    """No table is made of it."""

    async def script(exchange):
        await asyncio.sleep(0)
        exchange.answer(404)

    server.play(script)
    done = bench_load()
    assert done.exit_code == 1
    assert '"404"' in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://192.0.2.1/"], "192.0.2.1 is not this machine"),
        (["http://example.com/"], "load on another machine is an attack unless its owner agreed"),
        (["http://127.0.0.1.example.com/"], "is not this machine"),
        (["https://127.0.0.1/"], "TLS is not supported"),
        (["http://127.0.0.1:99999/"], "out of range"),
        (["http://127.0.0.1/a b"], "escape it"),
        (["http://127.0.0.1/", "--rate", "5", "--rates", "5,6"], "exclude each other"),
        (["http://127.0.0.1/", "--rates", "5,x"], "is not a list of numbers"),
        (["http://127.0.0.1/", "--rates", "5,0"], "0.001<=x<=1000000"),
        (["http://127.0.0.1/", "--header", "no colon"], "is no header"),
        (["http://127.0.0.1/", "--header", "Host: x"], "Host is made by the generator"),
        (["http://127.0.0.1/", "--header", "X: a\r\nY: b"], "is no header"),
        (["http://127.0.0.1/", "--method", "GET /"], "is no HTTP method"),
        (["http://127.0.0.1/", "--data", "x", "--lines"], "--lines needs --body"),
        (["http://127.0.0.1/", "--body", "-", "--data", "x"], "exclude each other"),
        (["http://127.0.0.1/", "--body", "-", "--lines"], "there is no line"),
        (["http://127.0.0.1/", "--plot", "a.pdf"], "ends with none of .svg, .png"),
    ],
)
def test_impossible_arguments_are_exit_code_2(arguments, message):
    """Nothing is sent; the message says what to give instead."""
    done = CliRunner().invoke(load, arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_urls_are_taken_apart():
    """Also IPv6's; without a port it is 80."""
    assert parse_url("http://[::1]:8000/a?b") == Target(host="::1", port=8000, path="/a?b")
    assert parse_url("http://127.9.9.9") == Target(host="127.9.9.9", port=80, path="/")
    for other in ("http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://[::]/", "http:///"):
        with pytest.raises(TargetError):
            parse_url(other)


def test_headers_and_lines():
    """Spaces around them go; the content type is made only where there is a body and none is given."""
    assert parse_headers([" A :  b "], json=False) == (("A", "b"),)
    assert parse_headers([], json=True) == (("Content-Type", "application/json"),)
    assert split_lines(b"a\r\n \nb\n") == (b"a", b"b")


def test_help_and_summaries_agree():
    """`hotgate bench --help` prints each subcommand's own first sentence."""
    assert sorted(COMMANDS) == sorted(SUMMARIES)
    assert isinstance(load, click.Command)
    assert load.get_short_help_str(limit=200) == SUMMARIES["load"]
    assert all(option.help for option in load.params if isinstance(option, click.Option))
