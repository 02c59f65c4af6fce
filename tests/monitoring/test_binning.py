import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitoring.binning import Bins, as_seen, count_codes_into, count_into, fence

FLOATS = st.floats(width=32)  # with NaN, both infinities, both zeros and subnormals
COLUMNS = hnp.arrays(np.float32, st.integers(0, 60), elements=FLOATS)
EDGES = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=12, unique=True).map(sorted)


def cells_of(edges, values):
    cells = np.zeros(len(edges) + 2, dtype=np.int64)
    count_into(cells, fence(edges, np.float32), values)
    return cells.tolist()


def test_value_on_an_edge_belongs_to_the_bin_below_it():
    """Bins are open below and closed above; NaN has a cell of its own after the last bin."""
    values = np.array([-np.inf, 0.9, 1.0, 1.1, 2.0, 2.1, np.inf, np.nan], dtype=np.float32)

    assert cells_of([1.0, 2.0], values) == [3, 2, 2, 1]


def test_column_without_edges_has_one_bin():
    """A constant column still tells values from missing ones."""
    assert cells_of([], np.array([3.0, np.nan, np.inf], dtype=np.float32)) == [2, 1]


@given(EDGES, COLUMNS)
def test_counting_agrees_with_the_definition(edges, values):
    """Every cell holds exactly the values between its edges, and together they hold all n."""
    bounds = [-np.inf, *edges, np.inf]
    expected = [int(((values > low) & (values <= high)).sum()) for low, high in itertools.pairwise(bounds)]
    expected[0] += int((values == -np.inf).sum())
    expected.append(int(np.isnan(values).sum()))

    assert cells_of(edges, values) == expected
    assert sum(expected) == values.size


CODES = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8, unique=True)


@given(CODES, COLUMNS, st.data())
def test_counting_codes_agrees_with_the_definition(codes, others, data):
    """In whatever order the codes come: each has what equals it, then come the others and the missing."""
    chosen = data.draw(st.lists(st.sampled_from(codes), max_size=30)) if codes else []
    values = np.concatenate([others, np.array(chosen, dtype=np.float32)])
    cells = np.zeros(len(codes) + 2, dtype=np.int64)
    count_codes_into(cells, np.array(codes, dtype=np.float32), values)
    missing = int(np.isnan(values).sum())
    expected = [int((values == np.float32(code)).sum()) for code in codes]

    assert cells.tolist() == [*expected, values.size - missing - sum(expected), missing]


def test_codes_of_another_dtype_are_refused():
    """The double of 0.1 is no float32 of 0.1."""
    with pytest.raises(TypeError, match="values are float64, codes are float32"):
        count_codes_into(np.zeros(3, dtype=np.int64), np.float32([0.1]), np.array([0.1]))


@given(EDGES, COLUMNS, COLUMNS)
def test_counts_of_parts_add_up_to_the_counts_of_the_union(edges, first, second):
    """Counting blocks into one vector, or adding vectors, is counting all rows at once."""
    bins = Bins([edges, edges], "float32", [False, True])
    merged, one, other = bins.zeros(), bins.zeros(), bins.zeros()
    bins.count(merged, [np.concatenate([first, second])] * 2)
    bins.count(one, [first] * 2)
    bins.count(other, [second] * 2)

    assert (one + other == merged).all()
    assert merged.sum() == 2 * (first.size + second.size)


def test_values_of_another_dtype_are_refused():
    """A double beside float32 edges raises, because it would look like drift."""
    with pytest.raises(TypeError, match="values are float64, edges are float32"):
        count_into(np.zeros(3, dtype=np.int64), fence([0.1], np.float32), np.array([0.1]))


def test_float32_values_do_not_drift_from_their_own_doubles():
    """A feature of tenths, profiled from doubles and counted as float32, falls into the same bins."""
    doubles = np.arange(1, 11) / 10
    edges = as_seen(doubles[:-1], np.float32)

    assert cells_of(edges, as_seen(doubles, np.float32)) == [1] * 10 + [0]


def test_what_the_dtype_cannot_hold_becomes_infinite():
    """A double beyond float32 counts in the outer bin, without a warning."""
    assert cells_of([1.0], as_seen([1e39, -1e39], np.float32)) == [1, 1, 0]


def test_counting_leaves_the_values_alone():
    """The block belongs to the batcher: nothing is sorted in place."""
    values = np.array([3.0, 1.0, 2.0], dtype=np.float32)
    cells_of([1.5], values)

    assert values.tolist() == [3.0, 1.0, 2.0]


def test_repr_tells_columns_and_cells():
    """An operator sees how large a count vector is."""
    assert repr(Bins([[1.0], []], "float32")) == "Bins(columns=2, cells=5)"
