import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitoring import FeatureReference, Reference, build_reference
from monitoring.reference import MAX_BINS, MIN_ROWS_PER_BIN, quantile_edges

FLOATS = st.floats(width=32)
DOUBLES = st.one_of(st.floats(), st.sampled_from([0.1, 0.2, 0.3, -0.0, 1e39, 1e-45, 1 / 3]))


def profile(column, dtype="float32", kind="float"):
    rows = np.reshape(column, (-1, 1))
    reference = build_reference(rows, [0.5], names=["x"], kinds=[kind], graph_sha256="00", dtype=dtype)
    return reference.features[0]


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 90), st.just(2)), elements=DOUBLES), st.data())
def test_reference_survives_json_bit_for_bit(rows, data):
    """decode(encode(x)) = x for any data: no NaN, no infinity, no rounded edge."""
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    reference = build_reference(
        rows, rows[:, 0], names=["a", "b"], kinds=["float", "int"], graph_sha256="00", dtype=dtype
    )
    again = msgspec.json.decode(msgspec.json.encode(reference), type=Reference)

    assert again == reference
    assert [column.n for column in (*again.features, again.score)] == [len(rows)] * 3


@given(hnp.arrays(np.float32, st.integers(0, 400), elements=st.one_of(st.sampled_from([0, 1, 2, np.inf]), FLOATS)))
def test_every_bin_holds_at_least_ten_rows(values):
    """Whatever the ties and infinities, no bin is thin, edges ascend and are finite values of the dtype."""
    column = profile(values)

    assert not column.edges or min(column.counts) >= MIN_ROWS_PER_BIN
    assert np.float32(column.edges).tolist() == column.edges
    assert all(low < high for low, high in zip(column.edges, column.edges[1:], strict=False))
    assert column.missing == np.isnan(values).sum()


def test_large_smooth_column_has_the_most_bins_and_near_equal_shares():
    """Five thousand distinct values make bins of 40 rows each, but for the last."""
    column = profile(np.random.default_rng(0).normal(size=5000))

    assert len(column.counts) == 125
    assert set(column.counts[:-1]) == {40}


def test_no_column_has_more_bins_than_allowed():
    """Heavy values that get a bin of their own do not push the number of bins over the limit."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.repeat(np.arange(100), 400), rng.random(10_000) * 100])

    assert 60 < len(profile(values).counts) <= MAX_BINS


def test_reference_of_50_rows_has_five_bins():
    """A small reference is coarse rather than noisy."""
    assert profile(np.arange(50.0)).counts == [10] * 5


def test_constant_column_has_one_bin_and_no_edge():
    """Nothing can be cut where all values are equal."""
    column = profile(np.full(500, 3.25))

    assert (column.edges, column.counts, column.missing) == ([], [500], 0)


def test_rare_values_stay_visible_on_both_sides_of_a_heavy_one():
    """A flag that is 0 in 0.4 % of many rows keeps its own bin, and so does one that is 1 in 0.4 %."""
    rare_zero = profile(np.repeat([0.0, 1.0], [20, 4980]))
    rare_one = profile(np.repeat([0.0, 1.0], [4980, 20]))

    assert (rare_zero.counts, rare_one.counts) == ([20, 4980], [4980, 20])


def test_integers_are_cut_between_and_never_parted():
    """Each whole number is in one bin, with its edges halfway to its neighbours."""
    column = profile(np.repeat(np.arange(6), 100), kind="int")

    assert (column.kind, column.edges, column.counts) == ("int", [0.5, 1.5, 2.5, 3.5, 4.5], [100] * 6)


def test_another_runtimes_last_bit_does_not_move_tied_scores():
    """Scores with few distinct values stay in their bins when each is off by one unit in the last place."""
    scores = np.repeat(np.arange(11) / 10, 50).astype(np.float32)
    column = profile(scores)
    for other in (np.nextafter(scores, np.float32(2)), np.nextafter(scores, np.float32(-2))):
        cells = np.histogram(other, [-np.inf, *column.edges, np.inf])[0]
        assert cells.tolist() == column.counts == [50] * 11


def test_edge_between_neighbouring_floats_parts_them():
    """Where no float lies halfway, the edge is the lower value, which belongs to the bin below."""
    low = np.nextafter(np.float32(1), np.float32(2))
    high = np.nextafter(low, np.float32(2))  # the middle rounds up to this one
    column = profile(np.repeat([low, high], 30))

    assert (column.edges, column.counts) == ([float(low)], [30, 30])


def test_infinite_values_count_in_the_outer_bins_and_make_no_edge():
    """Infinities and doubles beyond float32 lie outside the finite edges."""
    column = profile(np.concatenate([np.repeat([-np.inf, np.inf, 1e39], 30), np.arange(100.0)]))

    assert np.isfinite(column.edges).all()
    assert column.counts[0] >= 30
    assert column.counts[-1] >= 60
    assert column.n == 190


def test_missing_values_are_counted_apart():
    """NaN is no value: the bins are those of the rest."""
    column = profile(np.concatenate([np.full(30, np.nan), np.arange(70.0)]))

    assert (column.edges, column.counts) == ([9.5, 19.5, 29.5, 39.5, 49.5, 59.5], [10] * 7)
    assert (column.missing, column.n) == (30, 100)


def test_edges_are_values_of_the_dtype():
    """Tenths are profiled as float32: every edge is exact in it, and none is the double's."""
    edges = profile(np.repeat(np.arange(11) / 10, 20)).edges

    assert np.float32(edges).tolist() == edges
    assert edges != quantile_edges(np.repeat(np.arange(11) / 10, 20)).tolist()


def test_reference_with_an_edge_outside_its_dtype_is_refused():
    """A double edge in a float32 reference does not decode."""
    column = FeatureReference(name="x", kind="float", edges=[0.1], counts=[10, 10], missing=0, categories=[])
    with pytest.raises(ValueError, match="x: edges must be exact in float32"):
        Reference(graph_sha256="00", dtype="float32", features=[], score=column)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": [1.0, 1.0]}, "edges must be finite and ascending"),
        ({"edges": [1.0, np.inf]}, "edges must be finite and ascending"),
        ({"counts": [10, 10]}, "2 edges need one count more, there are 2"),
        ({"missing": -1}, "counts must not be negative"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    """A profile that counting could not have made names its column and what is wrong."""
    good = {"name": "x", "kind": "float", "edges": [1.0, 2.0], "counts": [10, 10, 10], "missing": 0, "categories": []}
    with pytest.raises(ValueError, match=f"x: {message}"):
        FeatureReference(**{**good, **change})


@pytest.mark.parametrize(
    ("rows", "scores", "kinds", "message"),
    [
        ([1.0, 2.0], [0.5], ["float"], "need one name and one kind a column"),
        ([[1.0, 2.0]], [0.5], ["float"], "need one name and one kind a column"),
        ([[1.0]], [[0.5]], ["float"], "scores must be one number a row"),
        ([[1.0]], [0.5], ["category"], "column 'x': a category has no numeric reference"),
    ],
)
def test_input_that_does_not_fit_is_refused(rows, scores, kinds, message):
    """Shapes, names and kinds must agree, and categories are not numbers."""
    with pytest.raises(ValueError, match=message):
        build_reference(rows, scores, names=["x"], kinds=kinds, graph_sha256="00")
