"""`hotgate bench scenarios`: each one shortly with real servers, and the decisions in between without."""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.affinity import cores
from benchmarks.errors import BenchError
from benchmarks.load import Latency, LoadResult, Slice
from benchmarks.load.result import Answers
from benchmarks.machine import this_machine
from benchmarks.rig import Rig
from benchmarks.scenarios import (
    NAMES,
    ScenarioPlan,
    find,
    garbage,
    memory,
    monitoring,
    open_loop,
    overload,
    scaling,
    swap_p99,
)
from benchmarks.scenarios.cli import scenarios
from benchmarks.scenarios.plan import checked
from benchmarks.scenarios.report import Report

needs_two_cores = pytest.mark.skipif(len(cores()) < 2, reason="one core for the servers, one for the generator")

MINUTES = {"garbage", "models", "monitoring", "overload", "protocols", "scaling", "swap-p99"}
LONG = pytest.mark.skipif("HOTGATE_LONG" not in os.environ, reason="many seconds each: HOTGATE_LONG=1 make test")
TINY = ScenarioPlan(
    block_s=0.2,
    warmup_s=0.05,
    rounds=1,
    connections=16,
    overload_connections=48,
    rate_per_s=200,
    probe_s=0.3,
    swaps=2,
    swap_interval_s=0.8,
    swap_trees=(10, 20),
    drain_s=0.3,
    starts=1,
    forest_trees=5,
    wide_models=2,
    wide_features=20,
    wide_requests=2,
    voids_max=1_000,  # how punctual this machine is decides nothing
)


THROUGHPUT = {"on": (90, 100), "off": (100, 100)}


def latency(p99_us: float = 10.0) -> Latency:
    return Latency(
        n=100, mean_us=1, p50_us=1, p90_us=1, p99_us=p99_us, p999_us=p99_us, max_us=p99_us,
        buckets={int(p99_us * 1e3): 100},
    )  # fmt: skip


def result(p99_us: float = 10.0, **changes) -> LoadResult:
    counts = dict.fromkeys(
        ("lost", "reset_reused", "unsent", "connect_errors", "reconnects", "queued", "missed", "max_lag_us"), 0
    )
    values = {
        **counts,
        "requests": 100,
        "ok": 100,
        "status": {200: 100},
        "versions": {},
        "seconds": 1,
        "cpu_share": 0.5,
    }
    return LoadResult(**{**values, "throughput_per_s": 100, "latency": latency(p99_us), **changes})


def part(p99_us: float | None, failed: int = 0) -> Slice:
    others = dict.fromkeys(("refused", "other_status", "reset_reused", "unsent", "answered"), 0)
    return Slice(ok=1, lost=failed, **others, p99_us=p99_us)


@pytest.mark.process
@needs_two_cores
@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG) if name in MINUTES else name for name in NAMES])
def test_scenario_runs_on_real_servers(tmp_path, name):
    """Figures come of it, they survive JSON, their report is square tables and words, and pictures are drawn."""
    scenario = find(name)
    rig = Rig(tmp_path)
    said = []
    # 48 connections that all wait may be answered after a block of 0.2 s on a busy machine, and none within it.
    plan = msgspec.structs.replace(TINY, block_s=0.6) if name == "overload" else TINY
    figures = scenario.measure(rig, plan, said.append)
    text = scenario.render(figures)
    assert said
    assert msgspec.json.decode(msgspec.json.encode(figures), type=type(figures)) == figures
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert tables
    assert all(len({line.count("|") for line in lines}) == 1 for lines in tables)
    assert "WRAP" not in text
    scenario.draw(figures, tmp_path / "plots")
    drawn = {path.name for path in (tmp_path / "plots").glob("*")}
    assert drawn == (
        {f"{name}.png"} if name not in {"scaling", "memory", "garbage", "monitoring", "wide", "protocols"} else set()
    )


def test_open_loop_compares_by_pairs():
    """The ratio is that of adjacent blocks, a side the median of its own, the distribution that of all answers."""
    pairs = [{"hotgate": result(p99), "fixed": result(10)} for p99 in (20, 40, 60)]
    load = open_loop._load(0.5, {"hotgate": 5, "fixed": 9}, pairs, voids=2)
    assert load.ratios == (2, 4, 6)
    assert (load.hotgate.p99_us, load.hotgate.rate_per_s, load.fixed.rate_per_s, load.voids) == (40, 5, 9, 2)
    assert load.hotgate.latency.n == 300


def test_pauses_are_those_between_two_looks():
    """By what the collector walked; the text is that of `/metrics`."""
    text = "".join(
        f'hotgate_gc_pause_seconds_{kind}{{generation="{generation}"}} {value}\n'
        for generation, count, seconds in (("0", 7.0, 0.25), ("1", 0.0, 0.0), ("2", 2.0, 0.5))
        for kind, value in (("count", count), ("sum", seconds))
    )
    before, after = garbage.read_pauses(text.replace("7.0", "3.0")), garbage.read_pauses(text)
    assert after == {"0": garbage.Pauses(7, 0.25), "1": garbage.Pauses(0, 0.0), "2": garbage.Pauses(2, 0.5)}
    assert garbage.between(before, after)["0"] == garbage.Pauses(4, 0.0)
    assert garbage.longest(text + "hotgate_gc_longest_pause_seconds 0.125\n") == 0.125


def test_monitoring_is_compared_by_adjacent_blocks():
    """Every side once a round, and back; the ratio is to the side that does nothing."""
    assert list(monitoring._order(("a", "b"), 3)) == ["a", "b", "b", "a", "a", "b"]
    sides = {name: [result(throughput_per_s=value) for value in values] for name, values in THROUGHPUT.items()}
    load = monitoring._load(32, sides)
    text = monitoring.render(monitoring.MonitoringCost(block_s=1, loads=(load,)))
    assert "| 32 | on | 95 | 0.950 (0.90 to 1.00) |" in text
    assert load.requests == 400


def test_failed_request_fails_a_scenario():
    """There are no figures beside errors; the message says where and what."""
    assert checked(result(), "here").ok == 100
    with pytest.raises(BenchError, match="here: 3 lost"):
        checked(result(ok=97, lost=3), "here")


def test_swaps_are_timed_from_their_publication():
    """On one clock; a version that never answered is an error."""
    seen = Answers(count=1, first_monotonic_ns=3_500_000_000, first_wall_ns=0)
    run = result(versions={"0": seen, "1": seen}, begin_monotonic_ns=1_000_000_000)
    (swap,) = swap_p99._timed(run, [3_000_000_000], (200, 500))
    assert (swap.at_s, swap.took_s, swap.trees) == (2.0, 0.5, 500)
    with pytest.raises(BenchError, match="swap 2 of 2 never answered"):
        swap_p99._timed(run, [3_000_000_000, 4_000_000_000], (200, 500))


def test_back_to_normal_is_the_end_of_the_first_good_slice():
    """Slow, failed and empty slices are not normal; without a good one there is no time."""
    slices = [part(900), part(100, failed=1), part(None), part(100)]
    assert overload.back_after_s(slices, 0.5, limit_us=100) == pytest.approx(0.5 + 4 * overload.SLICE_S)
    assert overload.back_after_s(slices[:3], 0.5, limit_us=100) is None


def test_one_row_is_asked_for_as_clients_do():
    """Many are `instances`."""
    rows = msgspec.json.decode(b"[[1.5, 2], [3, 4], [5, 6]]")
    assert msgspec.json.decode(overload.body(np.array(rows), 1)) == {"features": rows[0]}
    assert msgspec.json.decode(overload.body(np.array(rows), 2)) == {"instances": rows[:2]}


@pytest.mark.parametrize("own_core", [True, False])
def test_scaling_is_claimed_only_where_it_was_measured(own_core):
    """With a shared core the report says what it cannot say, and what it can: per core left."""
    one = scaling.Workers(workers=1, throughput_per_s=100, p99_us=1, generator_share=0.3, cores_left=1.0, requests=9)
    two = msgspec.structs.replace(one, workers=2, throughput_per_s=160, cores_left=1.6)
    text = scaling.render(scaling.ScalingFigures(own_core=own_core, block_s=1, blocks=2, one=one, two=two))
    assert ("not measured here" in text) == (not own_core)
    assert ("it is 100% of what it is with one" in text) == (not own_core)
    assert "| 2 | 160 | 1.60 | 1.60 | 100 |" in text


def test_marginal_worker_is_the_growth_of_the_whole():
    """The pages that all share become cheaper for each: what counts is what the machine gives for one more."""
    few = memory.Fleet(workers=(90,), supervisor=20, ready_s=(1.0,))
    many = memory.Fleet(workers=(70, 70, 70), supervisor=18, ready_s=(1.0,))
    assert memory.MemoryByWorkers(few=few, many=many).marginal == (228 - 110) / 2


def test_sections_are_kept_apart_in_a_page(tmp_path):
    """Measuring one scenario again replaces its section and no other's; each says when and how."""
    few = memory.Fleet(workers=(90,), supervisor=20, ready_s=(1.0,))
    figures = memory.MemoryByWorkers(few=few, many=msgspec.structs.replace(few, workers=(70, 70, 70)))
    page = tmp_path / "page.md"
    page.write_text("# By hand\n", encoding="utf-8")
    for date in ("first", "second"):
        Report(
            date=date, command="the command", machine=this_machine(), versions={}, figures={"memory": figures}
        ).write(page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# By hand\n\n<!-- hotgate bench scenarios --only memory: begin -->\n## Memory and start")
    assert "- Date: second" in text
    assert "- Command: `the command`" in text
    assert "first" not in text.replace("the first 200", "")


def test_unknown_scenario_is_exit_code_2(tmp_path):
    """The known ones are named."""
    done = CliRunner().invoke(scenarios, ["--only", "nothing"], obj=tmp_path)
    assert done.exit_code == 2
    assert all(name in done.stderr for name in NAMES)


def test_scenarios_without_a_compiler_are_exit_code_1(monkeypatch, tmp_path):
    """The reason is given, and no report."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(scenarios, ["--only", "memory"], obj=tmp_path)
    assert done.exit_code == 1
    assert not done.stdout
