import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from monitoring import build_reference, judge
from monitoring.distances import jensen_shannon, wasserstein
from monitoring.window import RowCounter

HISTOGRAMS = hnp.arrays(np.int64, 8, elements=st.integers(0, 1000)).filter(lambda cells: cells.sum() > 0)


@given(HISTOGRAMS, HISTOGRAMS)
def test_jensen_shannon_is_scipys(reference, counts):
    """In bits, and the same both ways round."""
    assert jensen_shannon(reference, counts) == pytest.approx(jensenshannon(reference, counts, 2), abs=1e-7)
    assert jensen_shannon(reference, counts) == pytest.approx(jensen_shannon(counts, reference))


@given(HISTOGRAMS, HISTOGRAMS)
def test_wasserstein_is_scipys_where_all_values_lie_on_the_edges(reference, counts):
    """With every value at the upper edge of its bin the steps of F and G are known: scipy's is the area between steps.

    Ours runs straight from edge to edge, so it can only be smaller, by no more than half the largest gap a bin.
    """
    edges = np.arange(7.0)
    values = np.arange(8.0)
    exact = wasserstein_distance(values, values, reference, counts)
    p, q = reference / reference.sum(), counts / counts.sum()
    assert wasserstein(edges, reference, counts) <= exact + 1e-9
    assert exact - wasserstein(edges, reference, counts) <= np.abs(np.cumsum(p - q)).max() * 4 + 1e-9


def test_wasserstein_of_a_shift_is_the_shift_in_the_columns_unit():
    """A normal moved by half a unit, seen at 127 quantiles: within a twentieth of 0.5, and of scipy's on the values."""
    rng = np.random.default_rng(0)
    reference, live = rng.normal(size=20_000), rng.normal(0.5, 1, size=20_000)
    edges = np.quantile(reference, np.arange(1, 128) / 128)
    cells = [np.bincount(np.searchsorted(edges, values), minlength=128) for values in (reference, live)]
    assert wasserstein(edges, *cells) == pytest.approx(wasserstein_distance(reference, live), rel=0.1)


def test_wasserstein_of_a_column_reaches_from_the_references_smallest_value_to_its_largest():
    """Within 2 % of scipy's for a shift whose tail goes beyond; a value further out moves it no further."""
    rng = np.random.default_rng(0)
    before, now = rng.random(5000).astype(np.float32), (rng.random(3000) ** 2).astype(np.float32)
    reference = build_reference(before.reshape(-1, 1), [0.5], names=["x"], kinds=["float"], graph_sha256="00")
    counter = RowCounter(reference)
    found = []
    for values in (now, np.append(now, np.float32(1e9))):
        counts = counter.zeros()
        counter.add(counts, values.reshape(-1, 1), np.full(len(values), 0.5))
        found.append(judge(reference, counts).features[0].wasserstein)

    assert found[0] == pytest.approx(wasserstein_distance(before, now), rel=0.02)
    assert found[1] == pytest.approx(found[0], rel=0.02)


def test_wasserstein_where_the_distributions_cross_within_a_bin_is_two_triangles():
    """F is 1/2 at both edges, G rises from 0 to 1 between them: a quarter, not nothing."""
    assert wasserstein([0.0, 1.0], np.array([5, 0, 5]), np.array([0, 10, 0])) == pytest.approx(0.25)


def test_wasserstein_needs_a_unit():
    """One edge has no width."""
    assert wasserstein([1.0], np.array([5, 5]), np.array([1, 9])) is None


@pytest.mark.parametrize(
    ("before", "now", "rows", "drifts"),
    [
        (0.0, 0.2, 500, True),
        (0.3, 0.0, 500, True),
        (0.0, 0.04, 5000, False),
        (0.1, 0.1, 500, False),
        (0.1, 0.16, 100, False),
        (0.0, 0.3, 60, False),
    ],
)
def test_a_change_of_how_many_values_are_missing_is_told_apart_from_drift(before, now, rows, drifts):
    """Only if it is large and more than chance; the values that are there have not drifted."""
    rng = np.random.default_rng(1)

    def column(n, share):
        values = rng.normal(size=(n, 1))
        values[: round(share * n)] = np.nan
        return values

    reference = build_reference(column(1000, before), rng.random(1000), names=["x"], kinds=["float"], graph_sha256="00")
    counter = RowCounter(reference)
    counts = counter.zeros()
    counter.add(counts, column(rows, now), rng.random(rows))
    (found,) = judge(reference, counts).features
    assert found.missing == pytest.approx(now, abs=1e-9)
    assert (found.missing_drift, found.drift) == (drifts, False)
