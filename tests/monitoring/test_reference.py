import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitoring import FeatureReference, Reference, build_reference
from monitoring.reference import MAX_BINS, MAX_CATEGORIES, MIN_ROWS_PER_BIN, quantile_edges

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
def test_every_bin_holds_at_least_ten_rows_or_lies_beside_a_heavy_one(values):
    """Whatever the ties and infinities, edges ascend and are finite values of the dtype."""
    column = profile(values)
    known = values[~np.isnan(values)]
    bins = np.bincount(np.searchsorted(quantile_edges(known), known))

    for place, count in enumerate(bins):
        beside = [*bins[max(place - 1, 0) : place], *bins[place + 1 : place + 2]]
        assert count >= MIN_ROWS_PER_BIN or not beside or max(beside) >= 2 * MIN_ROWS_PER_BIN
    assert np.float32(column.edges).tolist() == column.edges
    assert all(low < high for low, high in zip(column.edges, column.edges[1:], strict=False))
    assert column.missing == np.isnan(values).sum()


def test_large_smooth_column_has_the_most_bins_and_near_equal_shares():
    """Five thousand distinct values make bins of 40 rows each, but for the last."""
    column = profile(np.random.default_rng(0).normal(size=5000))

    assert len(column.counts) == 125 + 2
    assert set(column.counts[1:-2]) == {40}


def test_no_column_has_more_bins_than_allowed():
    """Heavy values that get a bin of their own do not push the number of bins over the limit."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.repeat(np.arange(100), 400), rng.random(10_000) * 100])

    assert 60 < len(profile(values).counts) <= MAX_BINS + 2


def test_reference_of_50_rows_has_five_bins():
    """A small reference is coarse rather than noisy."""
    assert profile(np.arange(50.0)).counts == [0, *[10] * 5, 0]


def test_outer_cells_hold_what_lies_outside_the_reference():
    """The first edge is the last float below the smallest value, the last one the largest value: both are empty."""
    column = profile(np.random.default_rng(0).normal(size=5000))
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)

    assert column.edges[0] == np.nextafter(values.min(), np.float32(-np.inf))
    assert column.edges[-1] == values.max()
    assert (column.counts[0], column.counts[-1]) == (0, 0)


def test_constant_column_has_a_bin_and_two_beside_it():
    """What is below and what is above."""
    column = profile(np.full(500, 3.25))

    assert column.edges == [np.nextafter(np.float32(3.25), np.float32(0)), 3.25]
    assert (column.counts, column.missing) == ([0, 500, 0], 0)


def test_constant_score_leaves_room_for_another_runtime():
    """What the parity certificate may allow is no change."""
    score = build_reference(np.zeros((50, 1)), np.full(50, 0.6), names=["x"], kinds=["float"], graph_sha256="00").score

    assert score.edges == pytest.approx([0.599, 0.601], abs=1e-6)
    assert score.counts == [0, 50, 0]


def test_rare_values_stay_visible_on_both_sides_of_a_heavy_one():
    """A flag that is 0 in three of 5,000 rows keeps its own bin, and so does one that is 1 in three, or 2."""
    rare_zero = profile(np.repeat([0.0, 1.0], [3, 4997]))
    rare_one = profile(np.repeat([0.0, 1.0], [4997, 3]))
    rare_two = profile(np.repeat([0.0, 1.0, 2.0], [2500, 2497, 3]))

    assert (rare_zero.counts, rare_one.counts) == ([0, 3, 4997, 0], [0, 4997, 3, 0])
    assert rare_two.counts == [0, 2500, 2497, 3, 0]


def test_integers_are_cut_between_and_never_parted():
    """Each whole number is in one bin, with its edges halfway to its neighbours."""
    column = profile(np.repeat(np.arange(6), 100), kind="int")

    assert (column.kind, column.edges[1:]) == ("int", [0.5, 1.5, 2.5, 3.5, 4.5, 5.0])
    assert column.counts == [0, *[100] * 6, 0]


def test_another_runtimes_last_bit_does_not_move_tied_scores():
    """Scores with few distinct values stay in their bins when each is off by one unit in the last place."""
    scores = np.repeat(np.arange(11) / 10, 50).astype(np.float32)
    column = build_reference(np.zeros((50, 1)), scores, names=["x"], kinds=["float"], graph_sha256="00").score
    for other in (np.nextafter(scores, np.float32(2)), np.nextafter(scores, np.float32(-2))):
        cells = np.histogram(other, [-np.inf, *column.edges, np.inf])[0]
        assert cells.tolist() == column.counts == [0, *[50] * 11, 0]


def test_edge_between_neighbouring_floats_parts_them():
    """Where no float lies halfway, the edge is the lower value, which belongs to the bin below."""
    low = np.nextafter(np.float32(1), np.float32(2))
    high = np.nextafter(low, np.float32(2))  # the middle rounds up to this one
    column = profile(np.repeat([low, high], 30))

    assert (column.edges, column.counts) == ([1.0, float(low), float(high)], [0, 30, 30, 0])


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

    assert (column.edges[1:-1], column.counts) == ([9.5, 19.5, 29.5, 39.5, 49.5, 59.5], [0, *[10] * 7, 0])
    assert (column.missing, column.n) == (30, 100)


def test_edges_are_values_of_the_dtype():
    """Tenths are profiled as float32: every edge is exact in it, and none is the double's."""
    edges = profile(np.repeat(np.arange(11) / 10, 20)).edges

    assert np.float32(edges).tolist() == edges
    assert edges != quantile_edges(np.repeat(np.arange(11) / 10, 20)).tolist()


def test_reference_with_an_edge_outside_its_dtype_is_refused():
    """A double edge in a float32 reference does not decode."""
    column = FeatureReference(name="x", kind="float", edges=[0.1], counts=[10, 10], missing=0, categories=[])
    with pytest.raises(ValueError, match="x: edges and codes must be exact in float32"):
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
    ],
)
def test_input_that_does_not_fit_is_refused(rows, scores, kinds, message):
    """Shapes, names and kinds must agree."""
    with pytest.raises(ValueError, match=message):
        build_reference(rows, scores, names=["x"], kinds=kinds, graph_sha256="00")


def test_categories_are_the_codes_the_most_frequent_first():
    """Each has its count, equally frequent ones stand in the order of their codes; others and missing ones are last."""
    column = profile([3, 7, 7, 0, np.nan, np.inf, 3, 3, 0.1], kind="category")

    assert column.categories == ["3", "7", "0", "0.1"]
    assert column.codes == [3.0, 7.0, 0.0, float(np.float32(0.1))]
    assert (column.counts, column.missing, column.edges) == ([3, 2, 1, 1, 1], 1, [])


def test_booleans_are_the_categories_that_a_client_sends():
    """JSON for a number model: 0 and 1."""
    assert profile([True, False, True], kind="category").categories == ["1", "0"]


def test_categories_beyond_the_most_frequent_are_others():
    """The number of cells is bounded whatever the data."""
    column = profile(np.concatenate([np.arange(200), np.arange(100)]), kind="category")

    assert (len(column.codes), column.codes[:100]) == (MAX_CATEGORIES, list(range(100)))
    assert column.counts[-1] == 200 - MAX_CATEGORIES
    assert column.n == 300


def test_labels_are_named_by_their_class_and_none_is_left_out():
    """Also a class that is never predicted."""
    labels = np.repeat([2.0, 0.0, np.nan], [30, 19, 1])
    label = build_reference(
        np.zeros((50, 1)), np.zeros(50), names=["x"], kinds=["float"], graph_sha256="00",
        labels=labels, classes=("ham", "eggs", "spam"),
    ).label  # fmt: skip

    assert (label.name, label.kind, label.categories) == ("label", "category", ["spam", "ham", "eggs"])
    assert (label.codes, label.counts, label.missing) == ([2.0, 0.0, 1.0], [30, 19, 0, 0], 1)


def test_labels_of_other_rows_than_the_scores_are_refused():
    """One each."""
    settings = {"names": ["x"], "kinds": ["float"], "graph_sha256": "00", "classes": ("a", "b")}
    with pytest.raises(ValueError, match=r"labels must be as many as scores, 50, got \(49,\)"):
        build_reference(np.zeros((50, 1)), np.zeros(50), labels=np.zeros(49), **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": [1.0, 1.0]}, "codes must be finite and distinct"),
        ({"codes": [1.0, np.inf]}, "codes must be finite and distinct"),
        ({"counts": [10, 10]}, "2 codes need one count more, there are 2"),
        ({"edges": [1.0]}, "a category has codes, each with a name, and no edges"),
        ({"categories": ["a"]}, "a category has codes, each with a name, and no edges"),
        ({"kind": "int"}, "a category has codes, each with a name, and no edges"),
    ],
)
def test_categories_that_do_not_fit_are_refused(change, message):
    """As for numbers."""
    good = {"name": "x", "kind": "category", "edges": [], "codes": [1.0, 2.0], "counts": [9, 8, 7], "missing": 0}
    with pytest.raises(ValueError, match=f"x: {message}"):
        FeatureReference(**{"categories": ["a", "b"], **good, **change})


def test_a_reference_of_five_million_rows_is_as_small_as_any():
    """And as fine."""
    column = profile(np.random.default_rng(0).random(5_000_000, dtype=np.float32))

    assert 120 < len(column.counts) <= MAX_BINS + 2
    assert max(column.counts) < 2 * 5_000_000 / MAX_BINS
