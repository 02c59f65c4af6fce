"""The load generator beside each judge, at the same low rates against one gateway."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from benchmarks.errors import BenchError
from benchmarks.judges.tools import JUDGES, MissingToolError, Reading, find_tool
from benchmarks.load import LoadPlan, run
from benchmarks.report import table
from benchmarks.scenarios.plan import checked, served
from benchmarks.subject import row_body, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.rig import Rig

__all__ = ["Judgement", "JudgesReport", "judge"]

RATES_PER_S = (500.0, 2000.0)
CONNECTIONS = {"h2load": 1, "k6": 50}
"""h2load's clients keep time by themselves and all send at once, so that more than one measures their queue."""
FACTORS = {"h2load": (1.5, 3.0), "k6": (2.5, math.inf)}
"""How far a judge's p50 and p99 may be from the generator's, either way. Measured: up to 1.1 and 2.0 by h2load, 1.9 and
11 by k6, whose runtime works on the core from which it measures: its p99 is shown, and judges nothing."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The generator and one judge at one rate, one after the other."""

    judge: str
    rate_per_s: float
    generator: Reading
    other: Reading

    @property
    def factors(self) -> tuple[float, float]:
        """How far p50 and p99 are apart, at least 1."""
        mine, theirs = self.generator, self.other
        return _apart(mine.p50_us, theirs.p50_us), _apart(mine.p99_us, theirs.p99_us)

    @property
    def agrees(self) -> bool:
        """Whether both are near enough, and nothing failed at the judge's."""
        near = all(found <= most for found, most in zip(self.factors, FACTORS[self.judge], strict=True))
        return near and not self.other.failed


def _apart(one: float, other: float) -> float:
    return max(one / other, other / one)


class JudgesReport(msgspec.Struct, frozen=True, kw_only=True):
    """All judgements, and who was not there to judge."""

    seconds: float
    judgements: tuple[Judgement, ...]
    missing: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether all do."""
        return all(found.agrees for found in self.judgements)

    def render(self) -> str:
        """A row for each judgement."""
        rows = [
            (
                f"{it.judge} at {it.rate_per_s:,g}/s",
                *(f"{reading.p50_us:,.0f}" for reading in (it.generator, it.other)),
                *(f"{reading.p99_us:,.0f}" for reading in (it.generator, it.other)),
                " / ".join(f"{factor:.2f}" for factor in it.factors),
                " / ".join("any" if factor == math.inf else f"{factor:g}" for factor in FACTORS[it.judge]),
                f"{it.other.failed:,}",
                "yes" if it.agrees else "NO",
            )
            for it in self.judgements
        ]
        head = ("judge", "p50, µs", "judge's", "p99, µs", "judge's", "apart, p50 / p99", "allowed", "failed", "agrees")
        missing = [f"Not asked: {reason}" for reason in self.missing]
        return "\n\n".join([*([table(head, rows)] if rows else []), *missing])


def judge(rig: Rig, home: Path, *, seconds: float, say: Callable[[str], None]) -> JudgesReport:
    """Ask each judge that is installed, at each rate, right after the generator.

    Raises:
        BenchError: a request of the generator's failed, or a judge did.
        LoadError: the generator failed.
    """
    tools, missing = _tools(home)
    if not tools:
        return JudgesReport(seconds=seconds, judgements=(), missing=tuple(missing))
    say("training the model")
    subject = train_subject(rig.folder, "linear")
    with served(rig, subject, "judges") as server:
        plan = LoadPlan(
            port=server.port,
            body=row_body(subject.rows[0]),
            seconds=seconds,
            warmup_s=1.0,
            schedule="constant",
            core=rig.generator_core,
            missed_max=1.0,  # at p50 and p99 its lateness would show as the disagreement that is looked for
        )
        found = [_ask(rig, name, tool, plan, rate, say) for name, tool in tools for rate in RATES_PER_S]
    return JudgesReport(seconds=seconds, judgements=tuple(found), missing=tuple(missing))


def _tools(home: Path) -> tuple[Sequence[tuple[str, Path]], list[str]]:
    tools, missing = [], []
    for name in JUDGES:
        try:
            tools.append((name, find_tool(name, home)))
        except MissingToolError as error:
            missing.append(str(error))
    return tools, missing


def _ask(rig: Rig, name: str, tool: Path, plan: LoadPlan, rate: float, say: Callable[[str], None]) -> Judgement:
    plan = msgspec.structs.replace(plan, connections=CONNECTIONS[name], rate_per_s=rate)
    say(f"the generator at {rate:,g}/s")
    mine = checked(run(rig.generator, plan), f"the generator at {rate:,g}/s")
    say(f"{name} at {rate:,g}/s")
    other = JUDGES[name](tool, plan)
    if other.requests < rate * plan.seconds / 2:
        raise BenchError(f"{name} sent {other.requests:,} requests, not {rate * plan.seconds:,.0f}")
    latency = mine.from_sent or mine.latency  # as both judges take it
    return Judgement(
        judge=name,
        rate_per_s=rate,
        generator=Reading(requests=mine.requests, failed=0, p50_us=latency.p50_us, p99_us=latency.p99_us),
        other=other,
    )
