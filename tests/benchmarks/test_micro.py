"""The micro-benchmarks run, each call answers what it should, and the table has all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.micro.granian import FakeGranian, FakeRequest
from benchmarks.micro.table import MicroFigures, main, render

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run of the whole suite, two calls a case."""
    result = tmp_path_factory.mktemp("micro") / "micro.json"
    options = ["--benchmark-only", "--micro-rounds=2", f"--benchmark-json={result}", "-q"]
    command = [sys.executable, "-m", "pytest", "benchmarks/micro", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    return result


@pytest.fixture
def figures(measured):
    return msgspec.json.decode(measured.read_bytes(), type=MicroFigures)


def test_every_case_runs_and_has_its_percentiles(figures):
    """Also the reason why it is there; each call is timed for itself."""
    names = {case.title for case in figures.benchmarks}
    assert len(names) == len(figures.benchmarks) >= 30
    assert {"takes", "decode", "pack", "submit one", "session, bound, 256", "observer, told", "loop lane, 16"} <= names
    for case in figures.benchmarks:
        info = case.extra_info
        assert 0 < info.p50_us <= info.p99_us <= info.p999_us, case.name
        assert info.why
        assert case.stats.rounds == 2


def test_percentiles_are_those_of_the_calls(measured):
    """In microseconds, as pytest-benchmark's own least and most are in seconds."""
    for case in msgspec.json.decode(measured.read_bytes())["benchmarks"]:
        low, high = 1e6 * case["stats"]["min"], 1e6 * case["stats"]["max"]
        assert case["extra_info"]["p50_us"] == pytest.approx((low + high) / 2)
        assert case["extra_info"]["p999_us"] == pytest.approx(low + 0.999 * (high - low))


def test_table_has_a_line_for_each_case(figures):
    """In groups, below date, machine and command."""
    text = render(figures)
    lines = text.splitlines()
    assert lines[0] == "## Where the microseconds go"
    assert "- Command: `make bench-micro`" in lines
    assert f"- Date: {figures.datetime[:10]} {figures.datetime[11:16]} UTC" in lines
    assert sum(line.startswith("| ") for line in lines) == len(figures.benchmarks) + 2 * 3
    assert {line.count("|") for line in lines if line.startswith("|")} == {5}
    case = figures.benchmarks[0]
    info = case.extra_info
    assert f"| {case.title}: {info.why} | {info.p50_us:,.2f} | {info.p99_us:,.2f} | {info.p999_us:,.2f} |" in lines


def test_table_goes_into_a_page(measured, tmp_path, capsys):
    """Beside what others wrote there."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nText.\n")
    main(measured, page)
    begin, end = "<!-- make bench-micro: begin -->", "<!-- make bench-micro: end -->"
    assert page.read_text() == f"# Title\n\nText.\n\n{begin}\n{capsys.readouterr().out}{end}\n"


def test_stand_in_for_granian_refuses_to_wake_the_loop():
    """A request that leaves the direct lane would be timed as if it had been answered."""
    server = FakeGranian()
    request = FakeRequest(server, {}, b"body")
    request.__anext__().add_done_callback(print)
    with pytest.raises(AssertionError, match="left a request to the event loop"):
        server.deliver()
