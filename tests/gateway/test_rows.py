"""A row becomes float32 exactly, or an error that names the value."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeMetadata
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.rows import RowPacker

FITS = st.floats(width=64, allow_nan=False, allow_infinity=False).filter(lambda value: abs(value) < 3.4e38)


def packed(row, width=3, missing="refused", path="$.features"):
    block = np.full((2, width), 7.0, dtype=np.float32)
    space = SimpleNamespace(bytes=block.reshape(-1).data.cast("B"), texts=None)
    RowPacker(FakeMetadata(width, missing)).pack(space, 1, row, path)
    assert (block[0] == 7.0).all()
    return block[1]


@given(st.lists(FITS, min_size=3, max_size=3))
def test_values_are_rounded_as_numpy_rounds_them(values):
    """What the gateway feeds the graph is what the certificate compared: the nearest float32."""
    assert packed(values).tobytes() == np.array(values).astype(np.float32).tobytes()


@given(st.permutations(["c0", "c1", "c2"]))
def test_names_come_in_any_order(names):
    """By name equals by position."""
    assert packed({name: float(name[1]) for name in names}).tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1.0], "1 values, the model takes 3 - at `$.features`"),
        ([], "0 values, the model takes 3"),
        ([1.0] * 4, "4 values, the model takes 3"),
        ([1.0, 1e39, 1.0], "1e+39 does not fit float32 (largest 3.402823e+38) - at `$.features[1]`"),
        ([1.0, 1.0, -3.5e38], "-3.5e+38 does not fit float32"),
        ([1.0, None, 1.0], "the model takes no missing value (null) - at `$.features[1]`"),
        ({"c0": 1.0, "c1": 1.0, "c2": None}, "no missing value (null) - at `$.features.c2`"),
        ({"c0": 1.0, "c1": 1e39, "c2": 0.0}, "at `$.features.c1`"),
        ({"c0": 1.0, "c1": 1.0}, "missing feature 'c2' - at `$.features`"),
        ({"c0": 1.0, "c1": 1.0, "x": 1.0}, "unknown feature 'x' - at `$.features`; the model takes 'c0', 'c1', 'c2'"),
        ({}, "missing feature 'c0', 'c1', 'c2'"),
    ],
)
def test_a_wrong_row_names_the_value_and_where_it_stood(row, message):
    """The text says what, which value and where."""
    with pytest.raises(BadRequest) as caught:
        packed(row)
    assert message in str(caught.value)


def test_long_lists_of_names_are_cut():
    """An error stays readable with a thousand columns."""
    with pytest.raises(BadRequest, match="and 995 more"):
        packed({}, width=1000)


def test_a_missing_value_is_nan_where_the_model_takes_it():
    """`null` becomes NaN, by position and by name."""
    assert np.isnan(packed([1.0, None, 2.0], missing="accepted")).tolist() == [False, True, False]
    assert np.isnan(packed({"c0": None, "c1": 1.0, "c2": 2.0}, missing="accepted")).tolist() == [True, False, False]
