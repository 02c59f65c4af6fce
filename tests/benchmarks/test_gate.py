"""The gate's statistics, held against simulated machines whose drift and neighbours are known."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from benchmarks.gate import Gate, GatePlan, Limit, Pair, Verdict, interval, judge

GATES = 200
P99_US = 500.0
"""Of the simulated server on a machine that is left alone."""
SPREAD = 0.08
"""Of a block's level, times Student's t with 3 degrees of freedom: tails as heavy as a shared machine's."""
HIT_SHARE, HIT = 0.06, 0.5
"""Blocks that a neighbour slows down, and by how much on average, in the logarithm."""
WALK, TREND = 0.03, 0.01
"""The machine's drift from one block to the next: random, and steady."""

SAME = Limit(ratio=1.0, worse="higher")


class Blocks(NamedTuple):
    """What one gate would measure: latencies in microseconds, [pairs, requests] of each side."""

    a: np.ndarray
    b: np.ndarray

    def pairs(self):
        """What the gate would be given."""
        p99 = (np.percentile(side, 99, axis=1) for side in self)
        return [Pair(a=a, b=b) for a, b in zip(*p99, strict=True)]


def simulate(rng, plan, *, busy_us=0.0, requests=1_000, walk=WALK, trend=TREND) -> Blocks:
    """Blocks in the order that the gate asks for; B does `busy_us` more for each request."""
    count = 2 * plan.pairs_max
    level = np.cumsum(rng.normal(0, walk, count)) + trend * np.arange(count) + SPREAD * rng.standard_t(3, count)
    level += np.where(rng.random(count) < HIT_SHARE, rng.exponential(HIT, count), 0)
    gate, found = Gate(SAME, plan), {"a": [], "b": []}
    for number in range(plan.pairs_max):
        for name in gate._orders[number]:
            own = rng.lognormal(math.log(P99_US) - 0.3 * 2.326, 0.3, requests) + (busy_us if name == "b" else 0)
            found[name].append(own * math.exp(level[sum(map(len, found.values()))]))
    return Blocks(np.array(found["a"]), np.array(found["b"]))


def outcomes(limit, plan, *, gates=GATES, **what):
    """The share of each outcome over simulated gates, each with its own seed of order and noise."""
    verdicts = []
    for seed in range(gates):
        own = GatePlan(**{name: getattr(plan, name) for name in plan.__struct_fields__} | {"seed": seed})
        verdicts.append(judge(simulate(np.random.default_rng(seed), own, **what).pairs(), limit, own).outcome)
    return {outcome: verdicts.count(outcome) / gates for outcome in ("pass", "fail", "inconclusive")}


def pooled(blocks: Blocks) -> tuple[float, float]:
    """The naive 99 % interval of the ratio of two p99: order statistics of all requests of a side together."""
    ends = []
    for side in blocks:
        ranks = stats.binom.ppf([0.005, 0.995], side.size, 0.99).astype(int)
        ends.append(np.sort(side, axis=None)[ranks])
    (a_low, a_high), (b_low, b_high) = ends
    return b_low / a_high, b_high / a_low


def constant(ratio, count, **changes):
    """Pairs that all say about the same: up to 1.1 % more than `ratio`, each twelve alike."""
    return [Pair(a=1.0, b=ratio * (1 + 0.001 * (number * 7 % 12)), **changes) for number in range(count)]


@pytest.mark.parametrize("plan", [GatePlan(), GatePlan(pairs_min=8, pairs_max=8)], ids=["full", "quick"])
def test_equal_servers_neither_fail_nor_pass_at_the_limit_itself(plan):
    """The A/A control: with the truth on the limit, over 200 gates, at most 2 % say one or the other."""
    found = outcomes(SAME, plan)
    assert found["fail"] <= 0.02
    assert found["pass"] <= 0.02


def test_an_interval_from_pooled_requests_does_not_pass_the_control():
    """The control is severe: on the same machines, requests taken for independent call equal servers different."""
    plan = GatePlan()
    lows = [pooled(simulate(np.random.default_rng(seed), plan))[0] for seed in range(40)]
    assert np.mean([low > SAME.ratio for low in lows]) > 0.2


def test_equal_servers_pass_a_limit_with_room():
    """A gate that never decides would hold every control: it does decide, and never against the equal one."""
    found = outcomes(Limit(ratio=1.3, worse="higher"), GatePlan())
    assert found["pass"] >= 0.9
    assert found["fail"] == 0


def test_a_clearly_worse_candidate_does_not_pass():
    """A fifth beyond the limit passes in at most 2 % of the gates."""
    found = outcomes(Limit(ratio=1.1, worse="higher"), GatePlan(), busy_us=160)
    assert found["pass"] <= 0.02
    assert found["fail"] >= 0.3


def test_a_busy_loop_of_three_tenths_of_a_millisecond_is_red():
    """p99 from 0.5 to 0.8 ms fails in nearly all gates, whatever the machine does."""
    assert outcomes(Limit(ratio=1.2, worse="higher"), GatePlan(), busy_us=300)["fail"] >= 0.9


def test_many_looks_do_not_add_up():
    """25 looks are wrong no more often together than one would be."""
    plan = GatePlan(pairs_min=12, pairs_max=60, pairs_step=2)
    assert len(plan.looks) == 25
    found = outcomes(SAME, plan, requests=100)
    assert found["fail"] <= 0.02
    assert found["pass"] <= 0.02
    assert plan.look_alpha * len(plan.looks) == pytest.approx(plan.alpha)


def test_a_steady_drift_hits_both_sides_alike():
    """A machine that slows by 5 % a block makes neither side worse: each was as often first."""
    assert outcomes(SAME, GatePlan(), trend=0.05)["fail"] <= 0.02


@pytest.mark.parametrize("seed", range(5))
def test_order_is_balanced_and_seeded(seed):
    """Every two pairs are ABBA or BAAB; another seed draws others, the same seed the same."""
    plan = GatePlan(seed=seed)
    orders = Gate(SAME, plan)._orders
    assert len(orders) == plan.pairs_max
    rounds = [orders[at : at + 2] for at in range(0, len(orders), 2)]
    assert all(first[::-1] == second and sorted(first) == ["a", "b"] for first, second in rounds)
    assert len({first for first, _ in rounds}) == 2
    assert orders == Gate(SAME, plan)._orders
    assert orders != Gate(SAME, GatePlan(seed=seed + 1))._orders


def test_interval_is_the_signed_rank_tests():
    """It holds just those centres that scipy's exact test does not reject: the outside oracle."""
    rng = np.random.default_rng(3)
    for n in (8, 12, 24):
        values = rng.standard_t(3, n)
        estimate, low, high = interval(values, 0.01)
        centres = np.linspace(values.min(), values.max(), 301)
        above, below = (
            np.array([stats.wilcoxon(values - c, alternative=side, method="exact").pvalue for c in centres])
            for side in ("greater", "less")
        )
        assert ((above > 0.01) == (centres >= low)).all()
        assert ((below > 0.01) == (centres <= high)).all()
        assert low < estimate < high


def test_interval_of_too_few_values_is_endless():
    """Four values can be wrong on one side once in sixteen times, which is as sure as they get."""
    assert interval([1.0, 1.1, 1.2, 1.3], 0.06)[1:] == (-math.inf, math.inf)
    assert interval([1.0, 1.1, 1.2, 1.3], 1 / 16)[1:] == (1.0, 1.3)


@pytest.mark.parametrize(
    ("worse", "ratio", "outcome"),
    [
        ("higher", 1.1, "pass"),
        ("higher", 1.5, "fail"),
        ("higher", 1.194, "inconclusive"),
        ("lower", 1.5, "pass"),
        ("lower", 1.1, "fail"),
        ("lower", 1.194, "inconclusive"),
    ],
)
def test_direction_is_the_limits(worse, ratio, outcome):
    """A p99 beyond the limit is worse, a throughput beyond it better; the ends are in order both ways."""
    verdict = judge(constant(ratio, 24), Limit(ratio=1.2, worse=worse), GatePlan())
    assert verdict.outcome == outcome
    assert ratio <= verdict.low < verdict.ratio < verdict.high < ratio * 1.03


def test_no_verdict_before_the_first_look():
    """However clear eleven pairs are, they are too few."""
    verdict = judge(constant(9.0, 11), SAME, GatePlan())
    assert (verdict.outcome, verdict.ratio, verdict.looks) == ("inconclusive", None, 0)
    assert verdict.reason == "11 of at least 12 pairs were measured"


def test_first_look_that_decides_stands():
    """What comes after it, or between two looks, changes nothing."""
    early = judge(constant(1.5, 12), SAME, GatePlan())
    late = judge(constant(1.5, 12) + constant(0.1, 12), SAME, GatePlan())
    assert early == late
    assert (early.outcome, early.pairs, early.looks) == ("fail", 12, 1)
    undecided = constant(0.9, 6) + constant(1.1, 6)
    assert judge(undecided + constant(9.0, 3), SAME, GatePlan()).pairs == 12


def test_gate_asks_for_pairs_until_it_is_decided():
    """The driver ends with what `judge` says of the same pairs; a clear case needs the fewest."""
    for ratio, pairs in ((2.0, 12), (0.5, 12), (0.98, 24)):
        gate, measured = Gate(SAME, GatePlan()), []
        while not isinstance(step := gate.next(), Verdict):
            measured.append(Pair(a=1.0, b=ratio + 0.04 * (len(measured) % 2)))
            gate.add(measured[-1])
        assert len(measured) == pairs
        assert step == judge(measured, SAME, GatePlan())
        assert len(gate.log_ratios) == pairs


def test_void_pair_is_measured_again_in_its_order():
    """It counts for nothing, and leaves the order balanced."""
    gate, plan = Gate(SAME, GatePlan()), GatePlan()
    for order in gate._orders[:5]:
        assert gate.next() == order
        gate.add(Pair(a=1.0, b=99.0, void="a stall"))
        assert gate.next() == order
        gate.add(Pair(a=1.0, b=1.0))
    assert repr(gate) == f"Gate(pairs=5/{plan.pairs_max}, voids=5)"
    assert gate.log_ratios == (0.0,) * 5
    clean = constant(1.1, 12)
    with_voids = [each for pair in clean for each in (Pair(a=1.0, b=99.0, void="x"), pair)][:12] + clean[6:]
    assert judge(with_voids, SAME, plan).low == judge(clean, SAME, plan).low


def test_too_many_void_pairs_end_the_gate():
    """A machine that is too busy to measure gives no verdict, and says why."""
    gate = Gate(SAME, GatePlan(voids_max=2))
    for reason in ("noise", "noise", "the generator was late"):
        assert not isinstance(gate.next(), Verdict)
        gate.add(Pair(a=1.0, b=9.0, void=reason))
    verdict = gate.next()
    assert isinstance(verdict, Verdict)
    assert (verdict.outcome, verdict.voids) == ("inconclusive", 3)
    assert verdict.reason == "3 pairs were void, the last because the generator was late"


def test_side_that_cannot_hold_its_rate_fails():
    """Once may be the machine's fault; twice is a fail at once, however good the figures look."""
    gate = Gate(SAME, GatePlan())
    gate.add(Pair(a=1.0, b=0.5, held=False))
    assert not isinstance(gate.next(), Verdict)
    gate.add(Pair(a=1.0, b=0.5, held=False, void="noise"))
    assert not isinstance(gate.next(), Verdict)
    gate.add(Pair(a=1.0, b=0.5, held=False))
    verdict = gate.next()
    assert isinstance(verdict, Verdict)
    assert verdict.outcome == "fail"
    assert verdict.reason == "it did not answer at the rate it was given in 2 pairs"


def test_stopped_gate_says_why_it_does_not_know():
    """A verdict that was there already stays."""
    gate = Gate(SAME, GatePlan())
    assert gate.stop("time was up").reason == "time was up"
    for pair in constant(2.0, 12):
        gate.add(pair)
    assert gate.stop("time was up") == gate.next()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pairs_min": 11}, "even"),
        ({"pairs_max": 10}, "in order"),
        ({"pairs_step": 0}, "even"),
        ({"alpha": 0.5}, "alpha must be between 0 and 0.5, not 0.5"),
        ({"pairs_min": 6}, "6 pairs can never be this sure"),
    ],
)
def test_impossible_plans_are_refused(wrong, said):
    """At construction, with the value given."""
    with pytest.raises(ValueError, match=said):
        GatePlan(**wrong)
