"""The quick way through MLflow's shapes takes what needs no conversion, and gives the rows that the full way gives."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeMetadata
from hypothesis import given
from hypothesis import strategies as st
from scoring_corpus import CORPUS, JSON

from gateway.errors import BadRequest
from gateway.invocations import read_table
from gateway.plain_rows import plain_rows
from gateway.rows import RowPacker

METADATA = FakeMetadata(3, "accepted")
NAMES = ("c0", "c1", "c2")


def quick(body):
    """The rows as a batcher packs them, or None if it would have to take the full way."""
    rows = plain_rows(body, "matrix", NAMES)
    if rows is None:
        return None
    block = np.zeros((len(rows), 3), dtype=np.float32)
    space = SimpleNamespace(bytes=block.reshape(-1).data.cast("B"), texts=None)
    try:
        for place, row in enumerate(rows):
            RowPacker(METADATA).pack(space, place, row, "")
    except BadRequest:
        return None
    return block


def full(body):
    return read_table(body, JSON, METADATA.signature).numbers


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": list(NAMES), "data": [[1.0, 2, None], [4.0, 5.0, 6.0]]}},
        {"dataframe_split": {"columns": list(NAMES), "index": [4], "data": [[1.0, 2.0, 3.0]]}},
        {"dataframe_split": {"data": [[1.0, 2.0, 3.0]]}},
        {"dataframe_records": [{"c2": 3.0, "c0": None, "c1": 2.0}]},
        {"instances": [{"c0": 1.0, "c1": 2.0, "c2": 3.0}, {"c2": 1.0, "c1": 2.0, "c0": 3.0}]},
        {"instances": [[1.0, 2.0, 3.0]], "params": {"x": 1}, "other": "x"},
        {"inputs": {"c2": [3.0, 6.0], "c1": [2.0, 5.0], "c0": [1.0, None]}},
        {"inputs": [[1.0, 2.0, 3.0], [1e-46, 0.1, 3.4e38]]},
    ],
)
def test_what_clients_usually_send_takes_the_quick_way(body):
    """In every shape."""
    body = json.dumps(body).encode()
    assert quick(body) is not None
    np.testing.assert_array_equal(quick(body), full(body))


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"c0": [1.0, 2.0], "c1": [1.0, 2.0], "c2": [1.0, 2.0], "d": [1.0]}},
        {"dataframe_split": {"columns": ["c1", "c0", "c2"], "data": [[1.0, 2.0, 3.0]]}},
        {"dataframe_split": {"columns": list(NAMES), "index": [1, 2], "data": [[1.0, 2.0, 3.0]]}},
        {"instances": [[1.0, 2.0, 3.0], dict.fromkeys(NAMES, 1.0)]},
        {"instances": [[1.0, 2.0, 3.0]], "inputs": [[1.0, 2.0, 3.0]]},
        {"inputs": [[1.0, "2.0", 3.0]]},
        {"inputs": []},
    ],
)
def test_what_must_be_converted_or_refused_takes_the_full_way(body):
    """Nothing is guessed on the quick one."""
    assert quick(json.dumps(body).encode()) is None


def same(body):
    """Whether it took the quick way; then the full way must give the same rows."""
    found = quick(body)
    if found is not None:
        np.testing.assert_array_equal(found, full(body))
    return found is not None


def test_what_the_quick_way_takes_of_the_corpus_is_what_the_full_way_reads():
    """With the columns' other names."""
    taken = [
        same(body.replace(b'"a"', b'"c0"').replace(b'"b"', b'"c1"').replace(b'"c"', b'"c2"'))
        for content_type, body in CORPUS.values()
        if content_type == JSON
    ]
    assert 10 < sum(taken) < len(taken) - 40


numbers = st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = numbers | st.booleans() | st.sampled_from(["1.5", "x", "nan"]) | st.just([1.0])
names = st.permutations([*NAMES, "d"]).flatmap(lambda order: st.integers(2, 4).map(lambda count: order[:count]))
lists = st.lists(st.lists(numbers, min_size=3, max_size=3) | st.lists(values, max_size=4), max_size=3)
records = st.lists(
    st.fixed_dictionaries(dict.fromkeys(NAMES, numbers), optional={"d": values}) | st.just({}), max_size=3
)
columns = st.fixed_dictionaries(
    {name: st.lists(numbers, min_size=2, max_size=2) for name in NAMES},
    optional={"d": st.lists(values, min_size=1, max_size=2)},
)
bodies = (
    st.fixed_dictionaries(
        {"dataframe_split": st.fixed_dictionaries({"columns": names | st.just(NAMES), "data": lists})}
    )
    | st.fixed_dictionaries({"dataframe_records": records | lists})
    | st.fixed_dictionaries({"instances": records | lists | columns}, optional={"inputs": lists})
    | st.fixed_dictionaries({"inputs": records | lists | columns})
)


@given(bodies)
def test_generated_rows_come_out_alike(body):
    """Whatever the quick way takes."""
    same(json.dumps(body).encode())
