"""The repository's own gate: the whole of it, on real servers with blocks too short to mean anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.affinity import cores, pinned
from benchmarks.budget import Metric, Source, read_budget, render_budget
from benchmarks.cli import COMMANDS, SUMMARIES, bench
from benchmarks.errors import BenchError
from benchmarks.figures import Machine
from benchmarks.gate import GatePlan, Limit, Verdict
from benchmarks.gate_cli import EXIT_CODES, gate
from benchmarks.gate_run import FULL, QUICK, WRITE, GateFigures, Judged, Profile, hold, render, renew
from benchmarks.process import descendants

needs_two_cores = pytest.mark.skipif(len(cores()) < 2, reason="one core for the servers, one for the generator")

P99 = Metric(figure="p99", connections=32, rate_share=0.5, limit=1.5, goal=1.2)
THROUGHPUT = Metric(figure="throughput", connections=1, limit=0.4)


def judged(name="p99", metric=P99, *, pairs=24, **changes) -> Judged:
    values = {"outcome": "pass", "reason": "the whole interval is within the limit", "confidence": 0.995}
    values |= {"limit": Limit(ratio=metric.limit, worse=metric.worse), "ratio": 1.25, "low": 1.1, "high": 1.3}
    verdict = Verdict(**values | {"pairs": 12, "voids": 1, "looks": 1} | changes)
    ratios = tuple(0.2 + 0.01 * (number % 3) for number in range(pairs))
    return Judged(name=name, metric=metric, maximum={"a": 2.0, "b": 1.0}, log_ratios=ratios, verdict=verdict)


def figures(*all_judged: Judged, outcome="pass") -> GateFigures:
    machine = Machine(cpu="A CPU", cores=2, memory_gib=7.7, kernel="6.1")
    return GateFigures(
        outcome=outcome,
        date="2026-01-02 03:04 UTC",
        command="hotgate bench gate",
        machine=machine,
        versions={},
        judged=all_judged,
    )


def test_a_limit_of_another_machine_fails_nothing_for_sure():
    """Only a failed metric counts, and only where its limit was not measured on this kind of machine."""
    here = Source(median=1.0, spread=0.1, pairs=24, date="2026-01-02", machine="A CPU, 2 cores")
    elsewhere = msgspec.structs.replace(here, machine="Another CPU, 2 cores")

    def of_another(source, outcome):
        one = judged("one", msgspec.structs.replace(THROUGHPUT, source=source), outcome=outcome)
        return figures(one, outcome=outcome).of_another_machine

    assert of_another(elsewhere, "fail")
    assert not of_another(elsewhere, "pass")
    assert not of_another(here, "fail")


def test_table_has_limit_ratio_interval_and_verdict():
    """A row for each metric, the reason for each verdict, the outcome and the command."""
    unknown = judged("one", THROUGHPUT, outcome="inconclusive", reason="time was up", ratio=None, low=None, high=None)
    lines = render(figures(judged(), unknown, outcome="inconclusive")).splitlines()
    assert "| p99 | ≤ 1.500 (goal 1.2) | 1.250 | 1.100 to 1.300 (99.5%) | 12 | 1 | pass |" in lines
    assert "| one | ≥ 0.400 | - | - | 12 | 1 | inconclusive |" in lines
    assert "- p99: pass, the whole interval is within the limit." in lines
    assert "- one: inconclusive, time was up." in lines
    assert lines[-1] == "INCONCLUSIVE: `hotgate bench gate`, 2026-01-02 03:04 UTC"


def test_verdicts_survive_json():
    """What `--json` prints decodes to the same value, with the observations."""
    found = figures(judged(), judged("one", THROUGHPUT, ratio=None, low=None, high=None))
    assert msgspec.json.decode(msgspec.json.encode(found), type=GateFigures) == found


def test_measurement_renews_the_limits_it_measured():
    """The others stay, and too few pairs make no limit."""
    budget = {"one": THROUGHPUT, "p99": P99}
    renewed = renew(budget, figures(judged()))
    assert renewed["one"] == THROUGHPUT
    assert renewed["p99"].source.pairs == 24
    assert renewed["p99"].limit != P99.limit
    with pytest.raises(BenchError, match="p99: no limit comes of 23 pairs: the whole"):
        renew(budget, figures(judged(pairs=23)))


def test_profiles_are_what_they_promise():
    """The full one has the gate's own least; the quick one fits into two minutes with three metrics."""
    assert FULL.block_s >= 5
    assert FULL.answers_min >= 5_000
    assert FULL.plan.pairs_min >= 12
    for profile in (FULL, QUICK, WRITE):
        block_s = profile.block_s + profile.warmup_s
        probes_s = 4 * profile.probe_rounds * (profile.probe_s + profile.warmup_s)
        assert 3 * (2 * profile.plan.pairs_max * block_s + probes_s) < profile.total_s
    assert QUICK.total_s + 2 * (QUICK.block_s + QUICK.warmup_s) <= 240 - 30
    assert WRITE.plan.looks == (24,)


def test_exit_codes_tell_the_outcomes_apart():
    """2 stays free for what is no verdict."""
    assert EXIT_CODES == {"pass": 0, "fail": 1, "inconclusive": 3}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "none.toml"], "none.toml cannot be read"),
        (["--metric", "speed"], "the budget has no metric 'speed'"),
        (["--quick", "--write-budget"], "exclude each other"),
    ],
)
@needs_two_cores
def test_wrong_use_is_exit_code_2(tmp_path, arguments, said):
    """A budget or metric that is not there is said before anything is started."""
    done = CliRunner().invoke(gate, arguments, obj=tmp_path)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_one_core_is_not_measured(tmp_path):
    """Exit code 3, which CI lets through, and the reason."""
    with pinned(cores()[0]):
        done = CliRunner().invoke(gate, [], obj=tmp_path)
    assert done.exit_code == 3
    assert done.stdout.startswith("not measured here: one core")


@needs_two_cores
def test_what_cannot_be_measured_is_exit_code_2(monkeypatch, tmp_path):
    """Never taken for a slow gateway; the group hands its folder down."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(bench, ["gate", "--quick"])
    assert done.exit_code == 2
    assert "gcc is not installed" in done.stderr
    assert (tmp_path / "home" / "bench").is_dir()


def test_help_and_summary_agree():
    """`hotgate bench --help` prints the command's own first line, and its help has the exit codes."""
    assert gate.get_short_help_str(limit=200) == SUMMARIES["gate"]
    assert COMMANDS["gate"] == ("benchmarks.gate_cli", "gate")
    text = CliRunner().invoke(bench, ["gate", "--help"], obj=None).output
    assert all(said in text for said in ("Exit code 0:", "1:", "3:", "2:", "--quick", "--write-budget"))


@pytest.mark.process
@needs_two_cores
def test_gateway_is_held_to_a_budget(tmp_path):
    """Real servers: what nobody can miss does not fail, what nobody can reach does not pass."""
    budget = {
        "lax": Metric(figure="throughput", connections=8, limit=1e-3),
        "p99": Metric(figure="p99", connections=8, rate_share=0.2, limit=1e6),
        "impossible": Metric(figure="throughput", connections=1, limit=1e3),
    }
    plan = GatePlan(pairs_min=6, pairs_max=6, alpha=0.05, voids_max=2)
    profile = Profile(plan=plan, block_s=0.1, answers_min=20, warmup_s=0.05, probe_rounds=1, probe_s=0.1)
    said = []
    found = hold(tmp_path, budget, profile, command="this test", say=said.append)
    assert [judged.name for judged in found.judged] == list(budget)
    assert [judged.metric for judged in found.judged] == list(budget.values())
    lax, p99, impossible = (judged.verdict.outcome for judged in found.judged)
    assert {lax, p99} <= {"pass", "inconclusive"}
    assert impossible in {"fail", "inconclusive"}
    assert found.outcome == ("fail" if impossible == "fail" else "inconclusive")
    assert all(min(judged.maximum.values()) > 0 for judged in found.judged)
    assert "p99: Gate(pairs=0/6, voids=0)" in said
    assert not descendants(os.getpid())


@pytest.mark.process
@needs_two_cores
def test_time_is_bounded(tmp_path):
    """Where none is left no pair begins, and there is a verdict all the same: that nobody knows."""
    profile = Profile(warmup_s=0.0, probe_rounds=1, probe_s=0.05, total_s=0.0)
    found = hold(tmp_path, {"one": THROUGHPUT, "p99": P99}, profile, command="", say=lambda _: None)
    assert {judged.verdict.reason for judged in found.judged} == {"time was up"}
    assert {judged.log_ratios for judged in found.judged} == {()}
    assert found.outcome == "inconclusive"


@pytest.mark.process
@needs_two_cores
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_interrupted_gate_leaves_nothing_behind(tmp_path, gone, sent, code):
    """With one server stopped under load of the other: it is resumed and ends like the rest; the budget stays."""
    path = tmp_path / "budget.toml"
    path.write_text(render_budget({"one": THROUGHPUT}))
    command = [sys.executable, "-m", "hotgate", "bench", "gate", "--write-budget", "--budget", str(path)]
    environment = {**os.environ, "HOTGATE_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if "maximum of hotgate" in line)
        below = descendants(process.pid)
        process.send_signal(sent)
        process.communicate(timeout=30)
    assert len(below) >= 4
    assert process.returncode == code
    assert gone(below)
    assert read_budget(path) == {"one": THROUGHPUT}
