"""How slow a candidate may be, beside the champion and by the clock: pairs of blocks, judged by the gate of benchmarks.

One set of pairs serves both questions. The rate is half of the champion's maximum, equal for both; of a first model
half of its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from benchmarks.duel import decide
from benchmarks.gate import Gate, Limit, Pair
from gateway.sync.gate_record import Check

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.gate import GatePlan, Order, Verdict
    from deploy.gating.settings import GateSettings

__all__ = ["RATE_SHARE", "Track", "race"]

RATE_SHARE = 0.5
"""Of the maximum: a server that is asked for all it can do has no p99, only a queue."""


class Track(Protocol):
    """Running gateways that can be put under load."""

    def maximum(self) -> float:
        """Answers a second of the champion, or of a first model, in the closed loop."""
        ...

    def pair(self, rate_per_s: float, order: Order, seed: int) -> Pair:
        """Two adjacent blocks in the open loop: a is the champion's p99, b the candidate's, in microseconds.

        Of a first model both are its own.
        """
        ...


def race(
    track: Track, settings: GateSettings, plan: GatePlan, *, first: bool, more: Callable[[str], bool]
) -> tuple[Check, ...]:
    """Measure until what the settings ask is decided: `p99` beside the champion, `p99_budget` by the clock.

    Args:
        track: what is measured.
        settings: the limits.
        plan: how many pairs, and how sure.
        first: there is no champion.
        more: told before each pair how far it is; False is out of time.
    """
    rate = RATE_SHARE * track.maximum()
    pairs: list[Pair] = []

    def measure(order: Order, _number: int) -> Pair:
        pairs.append(track.pair(rate, order, len(pairs) + 1))
        return pairs[-1]

    checks = []
    if not first:
        verdict = decide(Gate(Limit(ratio=settings.p99_ratio_max, worse="higher"), plan), measure, more=more)
        checks.append(_check("p99", verdict, partial(_ratio, rate=rate)))
    if settings.p99_budget_ms is not None:
        budget_us = 1000 * settings.p99_budget_ms
        gate = Gate(Limit(ratio=1.0, worse="higher"), plan)
        for pair in pairs:  # what is known already
            gate.add(_against(budget_us, pair))
        verdict = decide(gate, lambda order, number: _against(budget_us, measure(order, number)), more=more)
        checks.append(
            _check("p99_budget", verdict, partial(_milliseconds, budget_ms=settings.p99_budget_ms, rate=rate))
        )
    return tuple(checks)


def _against(budget_us: float, pair: Pair) -> Pair:
    return msgspec.structs.replace(pair, a=budget_us)


def _check(name: str, verdict: Verdict, say: Callable[[Verdict], str]) -> Check:
    voids = f", {verdict.voids} void" if verdict.voids else ""
    return Check(
        name=name,
        outcome=verdict.outcome,
        reason=f"{say(verdict)}, from {verdict.pairs} pairs{voids}: {verdict.reason}",
    )


def _ratio(verdict: Verdict, *, rate: float) -> str:
    figures = "not known how many"
    if verdict.ratio is not None:
        figures = f"{verdict.ratio:.2f} ({verdict.low:.2f} to {verdict.high:.2f})"
    limit = f"at most {verdict.limit.ratio:.2f} is allowed"
    return f"{figures} times the champion's p99 at {rate:,.0f} requests a second, {limit}"


def _milliseconds(verdict: Verdict, *, budget_ms: float, rate: float) -> str:
    figures = "p99 not known"
    if verdict.ratio is not None and verdict.low is not None and verdict.high is not None:
        middle, low, high = (budget_ms * part for part in (verdict.ratio, verdict.low, verdict.high))
        figures = f"p99 {middle:.3f} ms ({low:.3f} to {high:.3f})"
    return f"{figures} at {rate:,.0f} requests a second, at most {budget_ms:g} ms are allowed"
