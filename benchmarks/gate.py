"""The gate's statistics: when pairs of blocks suffice to say that a ratio is within its limit, or beyond it.

An observation is a pair of adjacent blocks of load, one on each side, and its value the logarithm of what B measured by
what A did. The interval comes from those values alone. Requests of one block share its disturbances, so an interval
from pooled requests is far too narrow; see `tests/benchmarks/test_gate.py`, which shows it.

- Interval: the Walsh averages between the cuts of Wilcoxon's signed-rank distribution (Hollander, Wolfe and Chicken,
  Nonparametric Statistical Methods, 3rd ed., section 3.3). It is exact for every symmetric distribution, and a pair of
  blocks whose order is drawn has one; a neighbour that hits one block moves it little, whereas it widens Student's.
- Looking several times: Bonferroni, `alpha` divided by the number of planned looks. It holds however the looks depend
  on each other, each look's interval can be read alone, and four looks cost a fifth of width against one.
  Pairs beyond the last planned look are left out, so that who stops when changes nothing.
- Drift: rounds of two pairs, ABBA or BAAB by the seed, so that what grows with time hits both sides alike.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["Gate", "GatePlan", "Limit", "Order", "Pair", "Verdict", "interval", "judge"]

Order: TypeAlias = tuple[Literal["a", "b"], Literal["a", "b"]]
"""Which side is measured first in a pair."""


class GatePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many pairs, and how sure; raises ValueError where no verdict could come of it."""

    pairs_min: int = 12
    """The first look; even, so that each side was as often first."""
    pairs_max: int = 24
    pairs_step: int = 4
    """Pairs from one look to the next."""
    alpha: float = 0.01
    """Bound on the probability of a false fail, and on that of a false pass, over all looks together."""
    voids_max: int = 6
    """Void pairs that are measured again; one more and the machine is too busy to tell."""
    shorts_max: int = 1
    """Pairs in which B may miss its rate: one may be the machine's fault."""
    seed: int = 42

    def __post_init__(self) -> None:
        counts = (self.pairs_min, self.pairs_max, self.pairs_step)
        if min(counts) < 1 or any(count % 2 for count in counts) or self.pairs_max < self.pairs_min:
            raise ValueError(f"pairs_min, pairs_max and pairs_step must be even and in order, not {counts}")
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha must be between 0 and 0.5, not {self.alpha}")
        if _cut(self.pairs_min, self.look_alpha) < 1:
            raise ValueError(f"{self.pairs_min} pairs can never be this sure: alpha {self.alpha}, {self.looks} looks")

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of pairs at which is looked."""
        return tuple(range(self.pairs_min, self.pairs_max + 1, self.pairs_step))

    @property
    def look_alpha(self) -> float:
        """One look's share of `alpha`, on each side of the interval."""
        return self.alpha / len(self.looks)


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How far B may be worse than A."""

    ratio: float
    """The worst B/A that passes."""
    worse: Literal["higher", "lower"]
    """Which way is worse: higher for a latency, lower for a throughput."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two adjacent blocks: the figure of each side."""

    a: float
    b: float
    void: str = ""
    """Why it does not count; empty if it does."""
    held: bool = True
    """Whether B answered at the rate that it was given."""

    @property
    def log_ratio(self) -> float:
        """The observation."""
        return math.log(self.b / self.a)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the pairs say; the interval is of the look that decided, or else of the last."""

    outcome: Literal["pass", "fail", "inconclusive"]
    reason: str
    limit: Limit
    ratio: float | None
    """The Hodges-Lehmann estimate of B/A; None before the first look."""
    low: float | None
    high: float | None
    confidence: float
    """Of the interval from low to high, of one look; all looks together are wrong with at most twice `alpha`."""
    pairs: int
    """That the interval comes from."""
    voids: int
    looks: int


class Gate:
    """One gate under way: says what to do next, and has no part in doing it."""

    def __init__(self, limit: Limit, plan: GatePlan) -> None:
        self._limit, self._plan = limit, plan
        self._orders = _orders(plan)
        # All pairs in the order in which they were measured, void ones too; only `add` changes it.
        self._pairs: list[Pair] = []

    def __repr__(self) -> str:
        done = len(self.log_ratios)
        return f"Gate(pairs={done}/{self._plan.pairs_max}, voids={len(self._pairs) - done})"

    @property
    def log_ratios(self) -> tuple[float, ...]:
        """The observations so far, without void pairs."""
        return tuple(pair.log_ratio for pair in self._pairs if not pair.void)

    def next(self) -> Order | Verdict:
        """The pair to measure next, or the verdict; a void pair is measured again in its order."""
        verdict = judge(self._pairs, self._limit, self._plan)
        done = len(self.log_ratios)
        if verdict.outcome != "inconclusive" or done >= self._plan.pairs_max or verdict.voids > self._plan.voids_max:
            return verdict
        return self._orders[done]

    def add(self, pair: Pair) -> None:
        """Take what was measured."""
        self._pairs.append(pair)

    def stop(self, reason: str) -> Verdict:
        """The verdict of what there is, where no more can be measured."""
        verdict = judge(self._pairs, self._limit, self._plan)
        return verdict if verdict.outcome != "inconclusive" else msgspec.structs.replace(verdict, reason=reason)


def judge(pairs: Sequence[Pair], limit: Limit, plan: GatePlan) -> Verdict:
    """Judge what was measured so far: the first look that decides stands, whatever came after it.

    Pass: the whole interval is within the limit. Fail: the whole interval is beyond it, or B missed its rate more often
    than `shorts_max`. Everything else, and too many void pairs, is inconclusive.
    """
    valid = [pair for pair in pairs if not pair.void]
    voids = [pair.void for pair in pairs if pair.void]
    verdict = _nothing_yet(limit, plan, len(valid), len(voids))
    for number, look in enumerate((look for look in plan.looks if look <= len(valid)), 1):
        verdict = _look(valid[:look], limit, plan, number, len(voids))
        if verdict.outcome != "inconclusive":
            break
    shorts = sum(not pair.held for pair in valid)
    if shorts > plan.shorts_max:
        reason = f"it did not answer at the rate it was given in {shorts} pairs"
        return msgspec.structs.replace(verdict, outcome="fail", reason=reason)
    if len(voids) > plan.voids_max and verdict.outcome == "inconclusive":
        return msgspec.structs.replace(verdict, reason=f"{len(voids)} pairs were void, the last because {voids[-1]}")
    return verdict


def interval(values: npt.ArrayLike, alpha: float) -> tuple[float, float, float]:
    """Estimate the centre of a symmetric distribution, and bound it.

    Args:
        values: [n], independent.
        alpha: bound on the probability that the centre is below the interval, and on that above it.

    Returns:
        The estimate (Hodges-Lehmann), the lower and the upper end; infinite where n is too small for `alpha`.

    Example:
        >>> interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.025)
        (0.35, 0.1, 0.6)
    """
    x = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(x))
    walsh = np.sort((x[first] + x[second]) / 2)
    cut = _cut(len(x), alpha)
    ends = (float(walsh[cut - 1]), float(walsh[-cut])) if cut else (-math.inf, math.inf)
    return float(np.median(walsh)), *ends


def _cut(n: int, alpha: float) -> int:
    """The largest c with P(W < c) <= alpha, W being the sum of the positive ranks of n values centred at 0."""
    ways = np.ones(1)
    for rank in range(1, n + 1):
        with_it = np.concatenate([np.zeros(rank), ways])
        with_it[: len(ways)] += ways
        ways = with_it / 2
    return int(np.searchsorted(np.cumsum(ways), alpha, side="right"))


def _look(pairs: Sequence[Pair], limit: Limit, plan: GatePlan, number: int, voids: int) -> Verdict:
    estimate, low, high = interval([pair.log_ratio for pair in pairs], plan.look_alpha)
    bound = math.log(limit.ratio)
    best, worst = (low, high) if limit.worse == "higher" else (-high, -low)
    bound = bound if limit.worse == "higher" else -bound
    outcome: Literal["pass", "fail", "inconclusive"] = "inconclusive"
    reason = f"after {len(pairs)} pairs the interval still spans the limit"
    if worst <= bound:
        outcome, reason = "pass", "the whole interval is within the limit"
    elif best > bound:
        outcome, reason = "fail", "the whole interval is beyond the limit"
    return Verdict(
        outcome=outcome,
        reason=reason,
        limit=limit,
        ratio=math.exp(estimate),
        low=math.exp(low),
        high=math.exp(high),
        confidence=1 - 2 * plan.look_alpha,
        pairs=len(pairs),
        voids=voids,
        looks=number,
    )


def _nothing_yet(limit: Limit, plan: GatePlan, pairs: int, voids: int) -> Verdict:
    return Verdict(
        outcome="inconclusive",
        reason=f"{pairs} of at least {plan.pairs_min} pairs were measured",
        limit=limit,
        ratio=None,
        low=None,
        high=None,
        confidence=1 - 2 * plan.look_alpha,
        pairs=0,
        voids=voids,
        looks=0,
    )


def _orders(plan: GatePlan) -> list[Order]:
    """ABBA or BAAB for each two pairs."""
    draw = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    orders: list[Order] = []
    for _ in range(plan.pairs_max // 2):
        orders += draw.choice([[("a", "b"), ("b", "a")], [("b", "a"), ("a", "b")]])
    return orders
