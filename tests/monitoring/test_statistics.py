import doctest
import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

import monitoring
from monitoring.binning import count_into, fence
from monitoring.ks import ks, ks_error, ks_p_value, null_ks
from monitoring.multiple import benjamini_hochberg
from monitoring.psi import merge_groups, null_psi, psi, psi_p_value
from monitoring.reference import quantile_edges
from monitoring.tails import chi_square_tail, kolmogorov_tail

HISTOGRAMS = hnp.arrays(np.int64, 10, elements=st.integers(0, 10_000)).filter(lambda cells: cells.sum() > 0)


def binned(reference, values):
    edges = quantile_edges(reference)
    cells = np.zeros((2, edges.size + 2), dtype=np.int64)
    count_into(cells[0], fence(edges, reference.dtype), reference)
    count_into(cells[1], fence(edges, reference.dtype), values)
    return cells[:, :-1]


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(monitoring.__path__)])
def test_examples_in_docstrings_run_as_printed(module):
    """Every example shows what it really gives."""
    assert doctest.testmod(importlib.import_module(f"monitoring.{module}")).failed == 0


@given(HISTOGRAMS, HISTOGRAMS)
def test_psi_is_never_negative_zero_on_itself_and_symmetric(reference, counts):
    """PSI is a distance of two histograms, and finite whatever cells are empty."""
    assert psi(reference, reference) == 0
    assert psi(reference, counts) >= 0
    assert psi(reference, counts) == pytest.approx(psi(counts, reference))
    assert np.isfinite(psi(reference, counts))


@given(st.floats(width=32, allow_nan=False))
def test_one_outlier_does_not_hide_a_shift(outlier):
    """A one-sigma shift keeps its PSI and KS when one live value is anything at all: edges are the reference's."""
    rng = np.random.default_rng(3)
    reference, live = rng.normal(size=2000).astype(np.float32), rng.normal(1, 1, 500).astype(np.float32)
    clean, dirty = binned(reference, live), binned(reference, np.append(live, np.float32(outlier)))
    starts = merge_groups(clean[0])
    distance = [psi(*np.add.reduceat(cells, starts, axis=1)) for cells in (clean, dirty)]

    assert distance[0] > 0.5
    assert distance[1] == pytest.approx(distance[0], abs=0.03)
    assert ks(*dirty) == pytest.approx(ks(*clean), abs=0.003)


def test_psi_is_the_textbook_formula_on_the_same_bins():
    """Deciles of the reference, shares from numpy's histogram, the sum written out."""
    rng = np.random.default_rng(1)
    reference, live = rng.normal(size=5000), rng.normal(0.4, 1.2, size=800)
    edges = [-np.inf, *np.quantile(reference, np.arange(1, 10) / 10), np.inf]
    cells = [np.histogram(values, edges)[0] for values in (reference, live)]
    textbook = sum(
        (actual / 800 - expected / 5000) * np.log((actual / 800) / (expected / 5000))
        for expected, actual in zip(*cells, strict=True)
    )

    assert psi(*cells) == pytest.approx(textbook, rel=1e-12)


def test_psi_counts_an_empty_cell_as_half_a_row():
    """The floor is half a row on the side that is empty; a cell empty on both sides changes nothing."""
    expected = (0.5 / 20 - 0.5) * np.log(0.5 / 20 / 0.5) + (1.0 - 0.5) * np.log(2)

    assert psi(np.array([10, 10]), np.array([0, 20])) == pytest.approx(expected)
    assert psi(np.array([100, 0, 100]), np.array([10, 0, 10])) == 0


@given(hnp.arrays(np.int64, st.integers(1, 128), elements=st.integers(0, 500)))
def test_groups_are_at_most_ten_and_keep_every_row(counts):
    """Merging starts at the first bin, ascends, and loses nothing."""
    starts = merge_groups(counts)

    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts.size <= 10
    assert np.add.reduceat(counts, starts).sum() == counts.sum()


def test_groups_of_a_smooth_column_are_near_equal_and_a_heavy_bin_stands_alone():
    """Equal fine bins make ten groups within one bin of each other; an atom leaves what is beside it apart."""
    assert set(np.add.reduceat(np.full(125, 40), merge_groups(np.full(125, 40)))) <= {480, 520}
    assert merge_groups(np.array([20, 4000, 20])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("n", "m"), [(100, 398), (1000, 398), (100_000, 398), (100, 5000), (1000, 50)])
def test_psi_p_value_and_null_mean_hold_without_drift(n, m):
    """Over 4,000 samples with edges from the reference, levels are kept within noise and PSI has its stated mean."""
    rng = np.random.default_rng([n, m])
    cells = min(10, m // 10)
    reference = np.diff(np.round(np.linspace(0, m, cells + 1)).astype(np.int64))
    # The reference's own quantiles as edges: the shares between them are Dirichlet.
    lives = rng.multinomial(n, rng.dirichlet(reference + (np.arange(cells) == cells - 1), size=4000))
    p_values = np.array([psi_p_value(reference, live) for live in lives])
    distances = [psi(reference, live) for live in lives]

    for alpha in (0.2, 0.05, 0.01):
        assert (p_values < alpha).mean() == pytest.approx(alpha, abs=4 * np.sqrt(alpha / 4000))
    assert np.mean(distances) == pytest.approx(null_psi(cells, n, m), rel=0.15)


def test_psi_p_value_agrees_with_scipys_likelihood_ratio():
    """Without Williams' divisor, 1 + O(1/n), the statistic is scipy's; one shared cell can tell nothing."""
    table = np.array([[4000, 5000, 6000], [400, 560, 590]])
    outside = stats.chi2_contingency(table, lambda_="log-likelihood", correction=False).pvalue

    assert psi_p_value(*table) == pytest.approx(outside, rel=0.01)
    assert psi_p_value(np.array([10, 0]), np.array([20, 0])) == 1.0


@given(st.integers(1, 40), st.floats(0, 1e4))
def test_chi_square_tail_is_scipys(freedom, x):
    """Odd and even degrees of freedom, from 1 down to where a double ends."""
    assert chi_square_tail(freedom, x) == pytest.approx(special.chdtrc(freedom, x), rel=1e-11, abs=1e-300)


@given(st.floats(0, 20))
def test_kolmogorov_tail_is_scipys(x):
    """On both sides of where the series change."""
    assert kolmogorov_tail(x) == pytest.approx(special.kolmogorov(x), rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("x", [-1.0, -0.0, 0.0, 5e-324, 1e-170])
def test_a_distance_of_nothing_is_no_surprise(x):
    """No division by a square that is too small for a double, and 1 where rounding went below zero."""
    assert kolmogorov_tail(x) == 1.0
    assert chi_square_tail(1, x) == pytest.approx(1.0)


@given(st.integers(0, 10_000), st.sampled_from(["normal", "ties", "integers"]), st.floats(0, 1))
def test_binned_ks_is_within_its_bound_of_scipys(seed, shape, shift):
    """The exact statistic lies between the binned one and the binned one plus the stated error."""
    rng = np.random.default_rng(seed)
    draw = {
        "normal": lambda mean, n: rng.normal(mean, 1, n),
        "ties": lambda mean, n: np.round(rng.normal(mean, 1, n), 1).clip(0, 1),
        "integers": lambda mean, n: rng.poisson(3 + mean, n),
    }[shape]
    reference, live = draw(0, 1500).astype(np.float32), draw(shift, 300).astype(np.float32)
    # The same values as doubles: a newer scipy computes in the precision that it is given.
    exact = stats.ks_2samp(reference.astype(np.float64), live.astype(np.float64), method="asymp").statistic
    cells = binned(reference, live)

    assert ks(*cells) <= exact + 1e-12
    assert exact <= ks(*cells) + ks_error(*cells) + 1e-12
    assert ks_error(*cells) <= cells[0].max() / 1500


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2])
def test_ks_p_value_agrees_with_scipys_asymptotic_one(shift):
    """The same limit: scipy's differs by its finite-sample correction only."""
    rng = np.random.default_rng(11)
    outside = stats.ks_2samp(rng.normal(size=3000), rng.normal(shift, 1, 2000), method="asymp")

    assert ks_p_value(outside.statistic, 2000, 3000) == pytest.approx(outside.pvalue, rel=0.1, abs=1e-4)


@pytest.mark.parametrize(("n", "m"), [(100, 398), (1000, 398), (100_000, 398), (1000, 5000)])
def test_ks_p_value_never_exceeds_its_level_and_null_mean_holds(n, m):
    """Over 2,000 samples without drift, binning only lowers the distance and raises the p-value."""
    rng = np.random.default_rng([n, m])
    reference = np.full(m // 10 if m < 1280 else 125, 10 if m < 1280 else 40)
    m = reference.sum()
    lives = rng.multinomial(n, rng.dirichlet(reference + (np.arange(reference.size) == 0), size=2000))
    distances = np.array([ks(reference, live) for live in lives])
    p_values = np.array([ks_p_value(distance, n, m) for distance in distances])

    for alpha in (0.2, 0.05, 0.01):
        assert (p_values < alpha).mean() <= alpha + 3 * np.sqrt(alpha / 2000)
    assert 0.8 * null_ks(n, m) < distances.mean() <= 1.01 * null_ks(n, m)


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0.001, 0.5))
def test_benjamini_hochberg_agrees_with_scipys_adjusted_p_values(p_values, alpha):
    """Rejected are those whose adjusted p-value is at most alpha; a test that was not made changes nothing."""
    rejected = benjamini_hochberg(p_values, alpha)
    # The adjusted value is the same comparison after a division: leave out what rounding decides.
    adjusted = stats.false_discovery_control(p_values) if p_values else np.array([])
    clear = np.abs(adjusted - alpha) > 1e-9

    assert (rejected == (adjusted <= alpha))[clear].all()
    assert benjamini_hochberg([*p_values, np.nan], alpha).tolist() == [*rejected.tolist(), False]
