"""The repository's own gate: the gateway against granian's fixed answer, held to `budget.toml`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from benchmarks.budget import Metric, allow
from benchmarks.duel import Bout, Contender, Duel, Name, decide
from benchmarks.errors import BenchError
from benchmarks.figures import Machine
from benchmarks.gate import Gate, GatePlan, Limit, Verdict
from benchmarks.machine import this_machine, versions
from benchmarks.report import table
from benchmarks.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.budget import Budget
    from benchmarks.load import LoadPlan

__all__ = ["FULL", "QUICK", "WRITE", "GateFigures", "Judged", "Profile", "hold", "render", "renew"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How long is measured."""

    plan: GatePlan = GatePlan()
    block_s: float = 5.0
    """Of one block; longer where `answers_min` takes longer."""
    answers_min: int = 5_000
    """In one block."""
    warmup_s: float = 0.5
    probe_rounds: int = 2
    """Of four blocks, for the maximum in the closed loop."""
    probe_s: float = 2.0
    total_s: float = 3_600.0
    """No pair begins after it; each metric has an equal share of what the ones before it left."""


FULL = Profile()
QUICK = Profile(
    plan=GatePlan(pairs_min=8, pairs_max=8),
    block_s=1.0,
    answers_min=1_000,
    warmup_s=0.3,
    probe_rounds=1,
    probe_s=1.0,
    total_s=100,
)
"""A look at a change within two minutes: it finds a gross loss, and is often inconclusive."""
WRITE = Profile(plan=GatePlan(pairs_min=24, pairs_max=24))
"""All pairs whatever they say: a limit is measured once and held often."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One metric's verdict and what it came from."""

    name: str
    metric: Metric
    maximum: dict[Name, float]
    """Answers a second in the closed loop: a is the fixed answer, b the gateway."""
    log_ratios: tuple[float, ...]
    """The observations."""
    verdict: Verdict


class GateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All verdicts, with what is needed to repeat them."""

    outcome: Literal["pass", "fail", "inconclusive"]
    """A fail if one metric failed, a pass only if all passed."""
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    judged: tuple[Judged, ...]

    @property
    def of_another_machine(self) -> bool:
        """Whether a metric failed whose limit was measured on another kind of machine."""
        failed = [judged.metric.source for judged in self.judged if judged.verdict.outcome == "fail"]
        return any(source is not None and source.machine != describe(self.machine) for source in failed)


def describe(machine: Machine) -> str:
    """A machine as the budget names it."""
    return f"{machine.cpu}, {machine.cores} cores"


def hold(folder: Path, budget: Budget, profile: Profile, *, command: str, say: Callable[[str], None]) -> GateFigures:
    """Hold the gateway to a budget.

    Args:
        folder: for the model file, the generator and logs; kept.
        budget: the metrics, measured one after the other.
        profile: how long.
        command: stands beside the verdicts, for whoever measures again.
        say: told what is being done.

    Raises:
        BenchError: a request failed or a server did not live; no verdict comes of that.
        LoadError: the load generator could not be built or run.
    """
    end = time.monotonic() + profile.total_s
    rig = Rig(folder)
    judged: list[Judged] = []
    with rig.against_fixed(say) as both:
        fixed = Contender(name="fixed", pid=both.fixed.pid, port=both.fixed.port)
        hotgate = Contender(name="hotgate", pid=both.hotgate.pid, port=both.hotgate.port)
        duel = Duel(rig.generator, fixed, hotgate, say=say)
        for name, metric in budget.items():
            now = time.monotonic()
            block = rig.block(
                both.body, connections=metric.connections, seconds=profile.block_s, warmup_s=profile.warmup_s
            )
            until = now + (end - now) / (len(budget) - len(judged))
            judged.append(_judge(duel, name, metric, profile, block, until=until, say=say))
    return GateFigures(
        outcome=_worst(judged),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        machine=this_machine(),
        versions=versions(),
        judged=tuple(judged),
    )


def renew(budget: Budget, figures: GateFigures) -> Budget:
    """The budget with the limits that a measurement gives; metrics that it left out stay.

    Raises:
        BenchError: a metric has fewer pairs than were planned.
    """
    renewed = dict(budget)
    for judged in figures.judged:
        if len(judged.log_ratios) < WRITE.plan.pairs_max:
            raise BenchError(
                f"{judged.name}: no limit comes of {len(judged.log_ratios)} pairs: {judged.verdict.reason}"
            )
        renewed[judged.name] = allow(
            judged.metric, judged.log_ratios, date=figures.date, machine=describe(figures.machine)
        )
    return renewed


def render(figures: GateFigures) -> str:
    """The verdicts as a table, each one's reason, and the command."""
    head = ("metric", "limit", "hotgate / fixed", "interval", "pairs", "void", "verdict")
    reasons = [f"- {judged.name}: {judged.verdict.outcome}, {judged.verdict.reason}." for judged in figures.judged]
    said = f"{figures.outcome.upper()}: `{figures.command}`, {figures.date}"
    return "\n\n".join([table(head, map(_row, figures.judged)), "\n".join(reasons), said])


def _judge(
    duel: Duel,
    name: str,
    metric: Metric,
    profile: Profile,
    block: LoadPlan,
    *,
    until: float,
    say: Callable[[str], None],
) -> Judged:
    probe = msgspec.structs.replace(block, seconds=profile.probe_s)
    maximum = duel.maximum(probe, profile.probe_rounds)
    share = metric.rate_share
    rates = None if share is None else {side: share * answers for side, answers in maximum.items()}
    slowest = min((rates or maximum).values())
    seconds = max(profile.block_s, 1.2 * profile.answers_min / slowest)
    bout = Bout(
        figure=metric.figure,
        block=msgspec.structs.replace(block, seconds=seconds),
        rates=rates,
        answers_min=profile.answers_min,
    )

    def more(progress: str) -> bool:
        say(f"{name}: {progress}")
        return time.monotonic() < until

    gate = Gate(Limit(ratio=metric.limit, worse=metric.worse), profile.plan)
    verdict = decide(gate, partial(duel.pair, bout), more=more)
    return Judged(name=name, metric=metric, maximum=maximum, log_ratios=gate.log_ratios, verdict=verdict)


def _worst(judged: list[Judged]) -> Literal["pass", "fail", "inconclusive"]:
    outcomes = {each.verdict.outcome for each in judged}
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes == {"pass"} else "inconclusive"


def _row(judged: Judged) -> tuple[str, ...]:
    verdict = judged.verdict
    sign = "≥" if judged.metric.worse == "lower" else "≤"
    figures = ("-", "-")
    if verdict.ratio is not None:
        figures = (f"{verdict.ratio:.3f}", f"{verdict.low:.3f} to {verdict.high:.3f} ({verdict.confidence:.1%})")
    goal = "" if judged.metric.goal is None else f" (goal {judged.metric.goal:g})"
    limit = f"{sign} {judged.metric.limit:.3f}{goal}"
    return (judged.name, limit, *figures, str(verdict.pairs), str(verdict.voids), verdict.outcome)
