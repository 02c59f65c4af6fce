"""`hotgate bench soak`: what it takes for growth, and a short run of the whole of it."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks import process
from benchmarks.affinity import cores
from benchmarks.cli import SUMMARIES
from benchmarks.errors import BenchError
from benchmarks.figures import Machine
from benchmarks.load import LoadError
from benchmarks.process import descendants, workers
from benchmarks.soak import MIB, Slice, SoakFigures, SoakPlan, judge, soak
from benchmarks.soak_cli import soak as command
from benchmarks.soak_report import render

needs_two_cores = pytest.mark.skipif(len(cores()) < 2, reason="one core for the server, one for the generator")


def look(requests, pss_mib, *, swaps=0, max_us=900.0) -> Slice:
    return Slice(
        requests=requests,
        swaps=swaps,
        published=2 * swaps,
        pss_bytes=int(pss_mib * MIB),
        rss_bytes=int((pss_mib + 10) * MIB),
        throughput_per_s=50_000.0,
        p999_us=700.0,
        max_us=max_us,
    )


def figures(slices, **changes) -> SoakFigures:
    settled, growth, slope = judge(slices)
    values = {
        "outcome": "flat",
        "date": "2026-01-02 03:04 UTC",
        "command": "hotgate bench soak",
        "machine": Machine(cpu="A CPU", cores=2, memory_gib=7.7, kernel="6.1"),
        "versions": {},
        "plan": SoakPlan(),
        "seconds": 100.0,
    }
    return SoakFigures(**values | changes, settled=settled, growth_bytes=growth, slope_bytes=slope, slices=slices)


def test_growth_counts_from_a_tenth_of_the_requests():
    """What start-up and the first requests take is not held against the worker; what comes after is, by request."""
    slices = (look(500, 50), look(1_000, 80), *(look(1_000 * n, 80 + 0.5 * (n - 1)) for n in range(2, 11)))
    settled, growth, slope = judge(slices)
    assert settled == 1
    assert growth == 4.5 * MIB
    assert slope == pytest.approx(0.5 * MIB / 1_000)


def test_too_few_slices_are_no_verdict():
    """Two points are always on a line."""
    with pytest.raises(BenchError, match="2 slices are too few"):
        judge((look(1_000, 80), look(2_000, 80)))
    with pytest.raises(BenchError, match="0 slices"):
        judge(())


def test_report_has_tenths_growth_and_verdict():
    """The worst of a tenth's slices, and memory at its end."""
    slices = tuple(look(500 * n, 80 + n / 8, swaps=n, max_us=10_000 if n == 3 else 900) for n in range(1, 21))
    lines = render(figures(slices, plan=SoakPlan(swap_every_s=0.3))).splitlines()
    assert "| 1,000 | 2 | 80.2 | 90.2 | 50,000 | 700 | 900 |" in lines
    assert "| 2,000 | 4 | 80.5 | 90.5 | 50,000 | 700 | 10,000 |" in lines
    assert sum(line.startswith("|") for line in lines) == 12
    assert lines[-1] == (
        "10,000 requests, 0 errors, 20 swaps of 40 published in 100 s."
        " FLAT: PSS 80.2 MiB at 1,000 requests, 82.5 MiB at the end: +2.25 MiB, allowed +8. Slope +256,000 KiB per"
        " million requests, or +128.00 KiB per swap if all of it is theirs."
    )
    assert any("closed loop at 64 connections, a swap published every 0.3 s" in line for line in lines)


def test_without_swaps_nothing_is_said_of_them():
    """And the figures survive JSON."""
    found = figures(tuple(look(1_000 * n, 80) for n in range(1, 5)))
    assert "swap published" not in render(found)
    assert "4,000 requests, 0 errors in 100 s. FLAT:" in render(found)
    assert "per swap" not in render(found)
    assert msgspec.json.decode(msgspec.json.encode(found), type=SoakFigures) == found


def test_memory_of_a_process_is_read_from_the_kernel():
    """What is shared with nobody is in both; a share of a page is never more than the page."""
    assert 2**20 < process.pss_bytes(os.getpid()) <= process.rss_bytes(os.getpid())


def test_help_and_summary_agree():
    """`hotgate bench --help` prints the command's own first line, and its help has the exit codes."""
    assert command.get_short_help_str(limit=200) == SUMMARIES["soak"]
    assert "Exit code 0: flat. 1:" in " ".join(CliRunner().invoke(command, ["--help"]).output.split())


@pytest.mark.process
@needs_two_cores
def test_short_run_with_swaps(tmp_path):
    """A real worker: every request answered, as many swaps as asked for, each of a session, nothing left."""
    options = "--requests 2000 --connections 8 --slice 0.3 --swaps --swap-every 0.2 --swaps-min 8 --growth 64 --json"
    done = CliRunner().invoke(command, options.split(), obj=tmp_path)
    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.stdout, type=SoakFigures)
    assert found.outcome == "flat"
    assert found.command == f"hotgate bench soak {options.removesuffix(' --json')}"
    assert found.slices[-1].requests >= 2_000
    assert found.slices[-2].swaps < found.slices[-1].swaps <= found.slices[-1].published
    assert found.slices[-1].swaps >= 8
    assert all(one.rss_bytes >= one.pss_bytes > 2**20 for one in found.slices)
    assert not list(tmp_path.glob("soak-*"))
    assert not descendants(os.getpid())


@pytest.mark.process
@needs_two_cores
def test_memory_that_grows_is_exit_code_1(tmp_path):
    """It would have to give back a gibibyte: the figures are printed."""
    options = "--minutes 0.05 --connections 2 --slice 0.3 --swaps --swap-every 0.05 --versions 1000000 --growth -1024"
    done = CliRunner().invoke(command, options.split(), obj=tmp_path)
    assert done.exit_code == 1
    assert "GROWS: PSS" in done.stdout


def _end_worker(folder):
    (pid,) = (pid for pid in descendants(os.getpid()) if workers(pid))
    os.kill(workers(pid)[0], signal.SIGKILL)


def _break_history(folder):
    (history,) = folder.glob("soak-*/store/history.jsonl")
    history.unlink()
    history.mkdir()


@pytest.mark.process
@needs_two_cores
@pytest.mark.parametrize(
    ("harm", "said"), [(_end_worker, "after .* requests|no request"), (_break_history, "no swap .*history.jsonl")]
)
def test_failed_request_or_swap_ends_the_run(tmp_path, harm, said):
    """There are no figures beside errors; what failed is said, and all that was started ends."""
    looks = []

    def say(text):
        if "PSS" in text:
            looks.append(text)
            if len(looks) == 1:
                harm(tmp_path)

    plan = SoakPlan(slice_s=0.5, minutes=0.1, connections=2, swap_every_s=0.05)
    with pytest.raises((BenchError, LoadError), match=said):
        soak(tmp_path, plan, command="", say=say)
    assert len(looks) == 1  # the next stretch of load was the last
    assert not descendants(os.getpid())
