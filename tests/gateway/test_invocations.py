"""Bodies of MLflow's protocol as the matrices that a batcher takes; against MLflow itself: test_mlflow_parity.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_corpus import COLUMNS, CORPUS, CSV, JSON, NAMED, ROWS

from converters import Column, Signature, Target
from converters.modelfile import MISSING_TEXT
from gateway.errors import BadRequest, UnsupportedMediaType
from gateway.frames import InvalidInput, SchemaMismatch
from gateway.invocations import read_table


def signature(*columns, dtype="float32", **more):
    return Signature(
        columns=columns or tuple(Column(name=name) for name in "abc"),
        dtype=dtype,
        input_name="input",
        targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
        score_output="scores",
        **more,
    )


MIXED = signature(
    Column(name="n", kind="int"),
    Column(name="city", kind="string", missing=True),
    Column(name="open", kind="bool"),
    Column(name="note", kind="string"),
    form="table",
    text_input="texts",
)


def read(body, content_type=JSON, of=None):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return read_table(body, content_type, of or signature())


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": ROWS}},
        {"dataframe_split": {"columns": ["c", "x", "b", "a"], "data": [[r[2], "x", r[1], r[0]] for r in ROWS]}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_records": NAMED},
        {"dataframe_records": [dict(reversed(row.items())) for row in NAMED]},
        {"instances": NAMED},
        {"instances": ROWS},
        {"instances": COLUMNS},
        {"inputs": COLUMNS},
        {"inputs": NAMED},
        {"inputs": [list(map(str, row)) for row in ROWS]},
        {"inputs": ROWS, "params": {"x": 1}, "other": 2},
    ],
)
def test_every_shape_of_json_gives_the_same_rows(body):
    """In the model's order and dtype, whatever the order of the names; extra columns are ignored."""
    table = read(body)
    assert table.numbers.dtype == np.float32
    assert table.numbers.flags.c_contiguous
    assert table.numbers.tolist() == ROWS
    assert table.texts is None


@pytest.mark.parametrize(
    "body",
    [
        b"a,b,c\n12.5,18.0,80.0\n20.5,25.0,130.0\n",
        b"\xef\xbb\xbfc,a,b,\r\n80.0,12.5,18.0,0\r\n\r\n130.0,20.5,25.0,1",
        b'"a","b","c","c"\n"12.5", 18.0 ,80,x\n20.5,25.0,130.0,\n',
    ],
)
def test_csv_gives_the_same_rows(body):
    """With an index, quotes, a byte order mark, blank lines, spaces and a second column of one name."""
    assert read(body, CSV).numbers.tolist() == ROWS


def test_float64_stays_exact():
    """A model that wants doubles is given the doubles of the text."""
    table = read({"inputs": [[0.1, 1e39, -1e-300]]}, of=signature(dtype="float64"))
    assert table.numbers.tolist() == [[0.1, 1e39, -1e-300]]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1.0, None, 3.0]]}}, JSON),
        (b'{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1.0, NaN, 3.0]]}}', JSON),
        ({"dataframe_records": [{"a": 1.0, "c": 3.0}, {"a": 1.0, "b": 2.0, "c": 3.0}]}, JSON),
        (b"a,b,c\n1,,3\n", CSV),
        (b"a,b,c\n1,NULL,3\n", CSV),
        (b"a,c,b\n1,3\n", CSV),
    ],
)
def test_missing_values_are_nan(body, content_type):
    """As null, as NaN, as a name that only other rows have, as what pandas takes for missing in CSV."""
    row = read(body, content_type).numbers[0].tolist()
    assert row[0::2] == [1.0, 3.0]
    assert np.isnan(row[1])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"inputs": {"note": ["x", "y"], "open": [True, False], "city": ["Oslo", None], "n": [3, 4]}}, JSON),
        (b'note,n,city,open\nx,3,"Oslo",True\ny,4,NA,false\n', CSV),
        (b'{"inputs": [{"n": 3, "note": "x", "open": 1, "city": "Oslo"}, {"n": 4, "note": "y", "open": 0}]}', JSON),
        (b'{"instances": {"n": [3, 4], "note": ["x", "y"], "open": [1, 0], "city": ["Oslo", NaN]}}', JSON),
    ],
)
def test_texts_stand_beside_the_numbers(body, content_type):
    """Numbers keep a place for the text column; a missing text is told apart from an empty one."""
    table = read(body, content_type, MIXED)
    assert table.numbers[:, [0, 2]].tolist() == [[3.0, 1.0], [4.0, 0.0]]
    assert table.texts.tolist() == [["Oslo", "x"], [MISSING_TEXT, "y"]]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"inputs": [[1.0, "x", 3.0]]}, InvalidInput, "column b to type 'float64'. Error: 'x' in row 0"),
        ({"inputs": [[1.0, 2.0, 3.0], [1.0, 1e39, 3.0]]}, InvalidInput, "type 'float32'. Error: 1e+39 in row 1"),
        ({"inputs": [[1.0, 10**400, 3.0]]}, InvalidInput, "column b"),
        (b'{"inputs": [[1.0, 1' + b"0" * 5000 + b", 3.0]]}", InvalidInput, "valid JSON"),
        ({"inputs": [[1.0, [2.0], 3.0]]}, InvalidInput, "[2.0] in row 0 is no number"),
        ({"inputs": [[[1.0], [2.0], [3.0]]]}, InvalidInput, "column a"),
        ({"inputs": [[1.0, 2.0]]}, SchemaMismatch, "2 values, the model takes 3: ['a', 'b', 'c']"),
        ({"inputs": {"b": [1.0], "z": [1.0]}}, SchemaMismatch, "missing inputs ['a', 'c']. Note that there were"),
        ({"inputs": {"b": [1.0], "z": [1.0]}}, SchemaMismatch, "there were extra inputs: ['z']."),
        ({"inputs": {str(n): [1.0] for n in range(50)}}, SchemaMismatch, "'19', and 30 more]"),
        ({"inputs": []}, SchemaMismatch, "missing inputs ['a', 'b', 'c']."),
        ({"inputs": {"a": [], "b": [], "c": []}}, InvalidInput, "no rows"),
        ({"dataframe_split": {"columns": ["a", "b", "c"], "data": []}}, InvalidInput, "no rows"),
        (b"[" * 100_000, InvalidInput, "nested too deeply"),
        (b"", InvalidInput, "it is empty"),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_by_name(body, kind, words):
    """The error names column, row and value."""
    with pytest.raises(kind) as caught:
        read(body)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", [3.5, ["Oslo"]])
def test_no_number_passes_for_a_text(text):
    """Pandas would make it one; the model was fitted on texts."""
    with pytest.raises(InvalidInput, match="column city to type 'str'"):
        read({"inputs": {"n": [1], "city": [text], "open": [True], "note": [""]}}, of=MIXED)


def test_an_error_does_not_repeat_a_long_value():
    """Nor does it fail over an integer that Python does not write."""
    with pytest.raises(InvalidInput) as caught:
        read({"inputs": [[1.0, "x" * 5000, 3.0]]})
    assert len(str(caught.value)) < 300


def test_every_request_of_the_corpus_is_read_or_refused():
    """Nothing but a client's error is raised."""
    read_well = 0
    for content_type, body in CORPUS.values():
        try:
            table = read(body, content_type)
        except (BadRequest, UnsupportedMediaType):
            continue
        read_well += 1
        assert table.numbers.shape[1] == 3
    assert 30 < read_well < len(CORPUS) - 30


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
shapes = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"])
split = st.fixed_dictionaries({"data": json_values}, optional={"columns": json_values, "index": json_values})


@given(shape=shapes, value=json_values | split, of=st.sampled_from([signature(), MIXED]))
def test_generated_bodies_are_read_or_refused(shape, value, of):
    """Whatever JSON is in a shape, there are rows of the model's width, or a client's error."""
    try:
        table = read({shape: value}, of=of)
    except BadRequest:
        return
    assert table.numbers.shape == (len(table.numbers), len(of.columns))
    assert len(table.numbers)


@given(text=st.text(alphabet='abc,"\n\r 1.5-\x00\ufeff', max_size=60), of=st.sampled_from([signature(), MIXED]))
def test_generated_csv_is_read_or_refused(text, of):
    """The same for CSV."""
    try:
        table = read(text.encode(), CSV, of)
    except BadRequest:
        return
    assert len(table.numbers)
