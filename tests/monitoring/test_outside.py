import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from monitoring import RowCounter, build_reference, judge
from monitoring.outside import outside_by_chance, outside_p_value
from monitoring.verdict import MIN_OUTSIDE


@given(st.integers(0, 60), st.integers(1, 300), st.integers(10, 300), st.integers(0, 5))
def test_p_value_is_scipys_hypergeometric_tail(outside, n, m, spare):
    """Of outside + spare values drawn from n + m, at most spare are the reference's."""
    outside = min(outside, n)
    expected = hypergeom(n + m, m, outside + spare).cdf(spare)

    assert outside_p_value(outside, n, m, spare) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("spare", [0, 1])
def test_values_beyond_the_extremes_are_as_frequent_as_stated(spare):
    """4,000 draws of 60 new values against 40 of the reference: above the largest one, or beyond both extremes."""
    draws = np.random.default_rng(spare).random((4000, 100))
    reference, live = draws[:, :40], draws[:, 40:]
    outside = (live > reference.max(axis=1, keepdims=True)).sum(axis=1)
    if spare:
        outside += (live < reference.min(axis=1, keepdims=True)).sum(axis=1)

    assert outside.mean() / 60 == pytest.approx(outside_by_chance(40, spare), rel=0.06)
    for k in (1, 3, 6, 10):
        p_value = outside_p_value(k, 60, 40, spare)
        assert (outside >= k).mean() == pytest.approx(p_value, abs=4 * math.sqrt(p_value / 4000))


def test_p_value_holds_for_millions():
    """Logarithms of factorials neither overflow nor lose what decides."""
    assert outside_p_value(50, 10**7, 10**6, 1) == pytest.approx(51 * (10 / 11) ** 50 - 50 * (10 / 11) ** 51, rel=1e-3)
    assert outside_p_value(10**6, 10**7, 5 * 10**6, 1) == 0.0


def found(reference_values, live_values, kind="float"):
    reference = build_reference(
        np.reshape(reference_values, (-1, 1)), [0.5] * 50, names=["x"], kinds=[kind], graph_sha256="00"
    )
    counter = RowCounter(reference)
    counts = counter.zeros()
    counter.add(counts, np.reshape(live_values, (-1, 1)), np.full(len(live_values), 0.5))
    return judge(reference, counts).features[0]


RNG = np.random.default_rng(4)
NORMAL = RNG.normal(size=1000)


@pytest.mark.parametrize(
    ("odd", "share", "drifts"),
    [(-999.0, 0.08, True), (999.0, 0.08, True), (np.inf, 0.08, True), (999.0, 0.04, False), (0.0, 0.5, False)],
)
def test_values_out_of_range_are_told_apart_from_drift(odd, share, drifts):
    """An impossible value in one row of twelve; one in 25 is left alone, and so is what lies within the range."""
    live = np.random.default_rng(5).normal(size=500).clip(-2, 2)
    live[: round(share * 500)] = odd
    column = found(NORMAL, live)

    assert column.outside == (pytest.approx(share) if odd else 0.0)
    assert column.outside_chance == pytest.approx(2 / 1001)
    assert column.outside_drift == drifts


def test_values_beyond_a_small_reference_are_no_surprise():
    """Of 50 rows the extremes are no limits: one row in eight beyond them is chance, one in three is not."""
    assert not found(np.arange(50.0), np.append(np.full(14, 99.0), np.full(100, 25.0))).outside_drift
    assert found(np.arange(50.0), np.append(np.full(50, 99.0), np.full(100, 25.0))).outside_drift


def test_range_is_that_of_the_reference_whatever_comes():
    """One live value anywhere moves no other's place."""
    live = np.append(RNG.normal(size=300).clip(-2, 2), 1e30)

    assert found(NORMAL, live).outside == pytest.approx(1 / 301)
    assert found(NORMAL, live[:-1]).outside == 0.0


def test_infinities_in_the_reference_leave_no_outside_on_their_side():
    """Above infinity there is nothing; below the smallest value there is."""
    reference = np.append(NORMAL, np.full(30, np.inf))
    low, high = (found(reference, np.append(NORMAL[:200], np.full(40, odd))) for odd in (-1e9, 1e9))

    assert (low.outside, low.outside_drift) == (pytest.approx(40 / 240), True)
    assert (high.outside, high.outside_drift) == (0.0, False)


def test_too_few_values_are_never_outside_for_sure():
    """Fewer than 100 live ones, or than 20 in the reference."""
    assert not found(NORMAL, np.full(99, 99.0)).outside_drift
    assert found(NORMAL, np.full(100, 99.0)).outside_drift
    few = np.where(np.arange(1000) < 19, NORMAL, np.nan)
    assert not found(few, np.full(1000, 99.0)).outside_drift
    assert found(np.full(1000, np.nan), np.full(1000, 99.0)).outside is None


@pytest.mark.parametrize(("unseen", "drifts"), [(0.0, False), (0.04, False), (0.08, True)])
def test_categories_that_the_reference_does_not_have_are_told(unseen, drifts):
    """They have no cell of their own, whatever their number."""
    reference = np.repeat([0, 1, 2], [500, 300, 200])
    live = np.random.default_rng(6).choice(reference, 500)
    live[: round(unseen * 500)] = np.arange(100, 100 + round(unseen * 500))
    column = found(reference, live, "category")

    assert (column.outside, column.outside_drift) == (pytest.approx(unseen), drifts)
    assert column.categories[-1].current == pytest.approx(unseen)


def test_unseen_categories_are_expected_where_many_were_seen_once():
    """Good's estimate: 30 of 300 rows are the only ones of their kind, so one new row in ten is of a new kind."""
    reference = np.concatenate([np.zeros(270), np.arange(1, 31)])
    column = found(reference, np.concatenate([np.zeros(850), np.arange(100, 250)]), "category")

    assert column.outside == pytest.approx(0.15)
    assert column.outside_chance == pytest.approx(31 / 301)
    assert not column.outside_drift
    assert column.outside_chance + MIN_OUTSIDE > column.outside


def test_where_the_reference_has_others_itself_nothing_is_unseen():
    """More categories than have a cell: rare ones and new ones are one."""
    column = found(np.arange(3000) % 200, np.full(500, 999), "category")

    assert (column.outside, column.outside_drift, column.drift) == (None, False, True)
