"""The codec of the protocol, with no server around it."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from v2.signatures import MIXED, NUMBERS, with_targets

from converters.modelfile import MISSING_TEXT, Column, Signature, Target
from gateway.errors import BadRequest
from gateway.v2.inputs import Inputs
from gateway.v2.outputs import Outputs
from gateway.v2.request import parse
from gateway.v2.tensors import DATATYPES, Tensor, as_bytes, as_list, from_bytes

NUMERIC = [name for name in DATATYPES if name != "BYTES"]


def strings(*texts):
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def tensor(name, datatype, shape, data=None, **parameters):
    found = {"name": name, "datatype": datatype, "shape": shape}
    if data is not None:
        found["data"] = data
    return {**found, "parameters": parameters} if parameters else found


def binary(name, datatype, shape, data):
    return tensor(name, datatype, shape, binary_data_size=len(data)), data


def read(signature, *inputs, behind=b"", **fields):
    head = json.dumps({"inputs": inputs, **fields}).encode()
    request, rest = parse(head + behind, str(len(head)))
    return Inputs("m", signature).read(request.inputs, rest)


def refused(signature, *inputs, behind=b""):
    with pytest.raises(BadRequest) as caught:
        read(signature, *inputs, behind=behind)
    return str(caught.value)


def answered(signature, scores, binary=(), **fields):
    outputs = Outputs("m", signature)
    request, _ = parse(json.dumps({"inputs": [], **fields}).encode(), None)
    body, length = outputs.answer(scores, outputs.wanted(request), "3", request.id)
    head = json.loads(body[:length])
    for output, kind in zip(head["outputs"], binary or [], strict=False):
        assert output["datatype"] == kind
    return head, body[length:] if length is not None else b""


# what goes in


@pytest.mark.parametrize("data", [[1, 2.5, None, 3, 4, 5], [[1, 2.5, None], [3, 4, 5]]])
def test_one_tensor_comes_flat_or_nested(data):
    """And null is a missing value."""
    rows, texts = read(NUMBERS, tensor("X", "FP32", [2, 3], data))
    assert texts is None
    assert rows.dtype == np.float32
    assert np.array_equal(rows, np.array([[1, 2.5, np.nan], [3, 4, 5]], dtype=np.float32), equal_nan=True)


def test_a_binary_tensor_is_a_view_of_the_body():
    """No byte of it is copied before the batcher's block."""
    given = np.arange(6, dtype=np.float32)
    head = json.dumps({"inputs": [tensor("X", "FP32", [2, 3], binary_data_size=24)]}).encode()
    body = head + given.tobytes()
    request, behind = parse(body, str(len(head)))
    rows, _ = Inputs("m", NUMBERS).read(request.inputs, behind)
    assert np.array_equal(rows, given.reshape(2, 3))
    assert np.shares_memory(rows, np.frombuffer(body, dtype=np.uint8))


@pytest.mark.parametrize("datatype", NUMERIC)
def test_each_numeric_datatype_is_taken_as_json_and_as_bytes(datatype):
    """Where its values fit the column."""
    values = np.array([[0, 1, 1]], dtype=DATATYPES[datatype])
    as_json, _ = read(NUMBERS, tensor("X", datatype, [1, 3], values.tolist()))
    head, data = binary("X", datatype, [1, 3], values.tobytes())
    from_binary, _ = read(NUMBERS, head, behind=data)
    assert as_json.tolist() == from_binary.tolist() == [[0.0, 1.0, 1.0]]
    assert as_json.dtype == from_binary.dtype == np.float32


def test_columns_come_by_name_in_any_order():
    """For a model of numbers too; [n] and [n, 1] are the same."""
    rows, _ = read(
        NUMBERS,
        tensor("c", "FP64", [2, 1], [[5], [6]]),
        tensor("a", "INT64", [2], [1, 2]),
        tensor("b", "BOOL", [2], [True, False]),
    )
    assert rows.tolist() == [[1, 1, 5], [2, 0, 6]]


def test_a_model_with_text_takes_one_input_a_column():
    """Text as JSON or as bytes, null where it may be missing."""
    head, data = binary("income", "FP32", [2], np.array([1.5, -2], dtype=np.float32).tobytes())
    rows, texts = read(
        MIXED,
        tensor("town", "BYTES", [2], ["Zürich", None]),
        head,
        tensor("member", "BOOL", [2], [True, False]),
        tensor("age", "INT64", [2], [40, 50]),
        behind=data,
    )
    assert rows.tolist() == [[40, 0, 1, 1.5], [50, 0, 0, -2]]
    assert texts.tolist() == [["Zürich"], [MISSING_TEXT]]
    head, data = binary("town", "BYTES", [2], strings("Zürich".encode(), b""))
    _, texts = read(
        MIXED,
        tensor("age", "INT64", [2], [1, 2]),
        head,
        tensor("member", "BOOL", [2], [True, True]),
        tensor("income", "FP32", [2], [1, 2]),
        behind=data,
    )
    assert texts.tolist() == [["Zürich"], [""]]


def test_null_among_whole_numbers_is_a_missing_value():
    """They are doubles then, and still exact."""
    rows, _ = read(
        NUMBERS,
        tensor("a", "INT64", [2], [1, 2]),
        tensor("b", "UINT8", [2], [3, 4]),
        tensor("c", "INT64", [2], [None, 7]),
    )
    assert np.isnan(rows[0, 2])
    assert rows[1, 2] == 7


def test_metadata_list_the_tensor_or_the_columns():
    """By the column's kind."""
    assert [(kind.name, kind.datatype, kind.shape) for kind in Inputs("m", NUMBERS).kinds] == [("X", "FP32", [-1, 3])]
    assert [(kind.name, kind.datatype, kind.shape) for kind in Inputs("m", MIXED).kinds] == [
        ("age", "INT64", [-1]),
        ("town", "BYTES", [-1]),
        ("member", "BOOL", [-1]),
        ("income", "FP32", [-1]),
    ]


def test_one_column_may_have_the_name_of_the_tensor():
    """Then [n, 1] and [n] are the same."""
    signature = Signature(columns=(Column(name="X"),), input_name="X", targets=NUMBERS.targets, score_output="s")
    assert read(signature, tensor("X", "FP32", [2], [1, 2]))[0].tolist() == [[1], [2]]
    assert read(signature, tensor("X", "FP32", [2, 1], [1, 2]))[0].tolist() == [[1], [2]]


def test_no_rows_are_no_error():
    """As in the native protocol."""
    assert read(NUMBERS, tensor("X", "FP32", [0, 3], []))[0].shape == (0, 3)


X6 = [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([tensor("y", "FP32", [2, 3], X6)], "unexpected inference input 'y' for model 'm'"),
        ([tensor("X", "FP32", [2, 3], X6), tensor("a", "FP32", [2], [1, 2])], "unexpected inference input 'X'"),
        ([], "expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required input(s) ['X']"),
        (
            [tensor("b", "FP32", [1], [1])],
            (
                "expected 3 inputs but got 1 inputs for model 'm'. Got input(s) ['b'], but missing required input(s) "
                "['a','c']. Please provide all required input(s)."
            ),
        ),
        ([tensor("a", "FP32", [1], [1])] * 2, "input 'a' already exists in request"),
        ([tensor("X", "FP32", [6], X6)], "unexpected shape for input 'X' for model 'm'. Expected [-1,3], got [6]"),
        ([tensor("X", "FP32", [3, 2], X6)], "Expected [-1,3], got [3,2]"),
        ([tensor(name, "FP32", [1, 2], [1, 2]) for name in "abc"], "Expected [-1], got [1,2]"),
        ([tensor("X", "FP32", [2, 3], X6[:5])], "shape does not match true shape: input 'X', [2,3], 5 values"),
        ([tensor("X", "BYTES", [1, 3], ["1", "2", "3"])], "'X' data-type is 'BYTES', but model 'm' expects 'FP32'"),
        ([tensor("X", "BF16", [2, 3], X6)], "invalid datatype for input X: 'BF16', send one of BOOL, UINT8"),
        (
            [tensor("X", "FP32", [2, 3])],
            "Input must set only one of the following fields: 'data', 'binary_data_size' in",
        ),
        ([tensor("X", "FP32", [2, 3])], "But no field is set"),
        ([tensor("X", "FP32", [2, 3], X6, binary_data_size=24)], "But set 'data' 'binary_data_size'"),
        ([tensor("X", "FP32", [2, 3], shared_memory_region="r")], "no shared memory here"),
        (
            [tensor("X", "FP32", [2, 3], [1, 2, 3, 4, 5, "6"])],
            "Unable to parse 'data': Expected `float | array | null`",
        ),
        ([tensor("X", "FP32", [2, 3], [[1, 2, "3"], [1, 2, 3]])], "at `$.inputs[0].data[0][2]`"),
        (
            [tensor("X", "FP32", [2, 3], 7)],
            "Unable to parse 'data': Expected `array`, got `int` - at `$.inputs[0].data`",
        ),
        ([tensor("X", "FP32", [1, 3], [[1, 2], 3])], "arrays stand beside values"),
        ([tensor("X", "FP32", [1, 3], [1, 2, [3]])], "arrays stand beside values"),
        ([tensor("X", "FP32", [1, 3], [1, 2, 1e39])], "1e+39 does not fit FP32 - in input 'X'"),
        ([tensor("X", "FP16", [1, 3], [1, 2, 7e4])], "70000.0 does not fit FP16"),
        ([tensor("X", "FP64", [1, 3], [1, 2, -1e39])], "-1e+39 does not fit FP32 - in input 'X'"),
        ([tensor("X", "INT8", [1, 3], [1, 2, 200])], "200 does not fit INT8 - in input 'X'"),
        ([tensor("X", "UINT8", [1, 3], [1, 2, -1])], "-1 does not fit UINT8"),
        ([tensor("X", "INT64", [1, 3], [1, 2, 2**24 + 1])], "16777217 does not fit FP32 - in input 'X'"),
        ([tensor("X", "UINT64", [1, 3], [1, 2, 2**63])], "9223372036854775808 does not fit FP32"),
        ([tensor("X", "INT64", [1, 3], [1, None, 2**53 + 1])], "9007199254740993 does not fit INT64"),
        ([tensor("X", "INT64", [1, 3], [1.5, 2, 3])], "Expected `int | array | null`, got `float`"),
        ([tensor("X", "BOOL", [1, 3], [True, 1, True])], "Expected `bool | array | null`, got `int`"),
        (
            [tensor("a", "FP32", [1], [1]), tensor("b", "FP32", [2], [1, 2]), tensor("c", "FP32", [1], [1])],
            "input 'b' batch size does not match other inputs for 'm': 2 rows, the first has 1",
        ),
    ],
)
def test_what_does_not_fit_is_named(inputs, message):
    """In Triton's words where it has some."""
    assert message in refused(NUMBERS, *inputs)


def test_a_text_that_is_not_utf_8_is_refused():
    """Whoever looks for the end of `data` does not look into it."""
    inputs = [
        tensor("age", "INT64", [1], [1]),
        tensor("member", "BOOL", [1], [True]),
        tensor("income", "FP32", [1], [1.5]),
        tensor("town", "BYTES", [1], ["HERE"]),
    ]
    request, rest = parse(json.dumps({"inputs": inputs}).encode().replace(b"HERE", b"\xff"), None)
    with pytest.raises(BadRequest, match="failed to parse the request JSON buffer: "):
        Inputs("m", MIXED).read(request.inputs, rest)


def test_numbers_are_no_text():
    """Each column says what it wants."""
    inputs = [
        tensor("age", "INT64", [1], [1]),
        tensor("town", "INT64", [1], [2]),
        tensor("member", "BOOL", [1], [True]),
        tensor("income", "FP32", [1], [1]),
    ]
    assert "'town' data-type is 'INT64', but model 'm' expects 'BYTES'" in refused(MIXED, *inputs)
    inputs[0] = tensor("age", "BYTES", [1], ["1"])
    inputs[1] = tensor("town", "BYTES", [1], ["Bern"])
    assert "'age' data-type is 'BYTES', but model 'm' expects 'INT64'" in refused(MIXED, *inputs)


@pytest.mark.parametrize(
    ("datatype", "size", "data", "message"),
    [
        ("FP32", 12, b"\0" * 8, "input byte size mismatch for input 'X' for model 'm'. Expected 12, got 8"),
        ("FP32", 12, b"\0" * 16, "unexpected additional input data for model 'm'"),
        ("FP64", 12, b"\0" * 12, "Expected 24, got 12"),
        (
            "BYTES",
            3,
            b"\0\0\0",
            "incomplete string length indicator for inference input 'X' for model 'm', expecting 4",
        ),
        (
            "BYTES",
            5,
            b"\2\0\0\0a",
            "incomplete string data for inference input 'X' for model 'm', expecting string of length 2",
        ),
        (
            "BYTES",
            5,
            b"\1\0\0\0a",
            "unexpected number of string elements 1 for inference input 'X' for model 'm', expecting 3",
        ),
        ("BYTES", 5, b"\1\0\0\0\xff", "value 0 of input 'X' is no UTF-8: invalid start byte"),
    ],
)
def test_binary_data_are_as_long_as_they_say(datatype, size, data, message):
    """Neither shorter nor longer."""
    assert message in refused(NUMBERS, tensor("X", datatype, [1, 3], binary_data_size=size), behind=data)


@pytest.mark.parametrize("length", ["0", "-1", "x", "99", "1e1", "", "+5", "٣"])
def test_the_length_of_the_json_lies_within_the_body(length):
    """Else nothing of the body is looked at."""
    with pytest.raises(BadRequest, match=r"inference header size should be in range \(0, 12\), got: "):
        parse(b'{"inputs":1}', length)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "failed to parse the request JSON buffer: Input data was truncated"),
        (b"{", "failed to parse the request JSON buffer"),
        (b"[1]", "failed to parse the request JSON buffer: Expected `object`, got `array`"),
        (b"[" * 100_000, "failed to parse the request JSON buffer"),
        (b'{"inputs":[],"id":"\xff"}', "failed to parse the request JSON buffer"),
        (b"{}", "Unable to parse 'inputs': Object missing required field `inputs`"),
        (
            b'{"inputs":[{"shape":[1],"datatype":"FP32"}]}',
            "Unable to parse 'name': Object missing required field `name`",
        ),
        (b'{"inputs":[{"name":"x","datatype":"FP32"}]}', "Unable to parse 'shape': "),
        (b'{"inputs":[{"name":"x","shape":[1]}]}', "Unable to parse 'datatype': "),
        (
            b'{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32"}]}',
            "Unable to parse 'shape': Expected `int` >= 0 - at",
        ),
        (b'{"inputs":[],"id":7}', "Unable to parse 'id': "),
        (b'{"inputs":[],"outputs":[{"name":"x","parameters":{"binary_data":1}}]}', "Unable to parse 'binary_data': "),
        (b'{"inputs":[],"parameters":{"binary_data_output":"a"}}', "Unable to parse 'binary_data_output': "),
    ],
)
def test_a_body_that_is_no_request_is_refused_by_its_field(body, message):
    """In Triton's words, with the path behind them."""
    with pytest.raises(BadRequest) as caught:
        parse(body, None)
    assert message in str(caught.value)


# what comes out


def test_a_classifier_gives_label_and_probabilities():
    """FP32 in JSON is the double that equals it."""
    head, behind = answered(NUMBERS, [[0.25, 0.75], [0.9, 0.1]], id="q")
    assert head == {
        "model_name": "m",
        "model_version": "3",
        "id": "q",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 2],
                "data": [0.25, 0.75, float(np.float32(0.9)), float(np.float32(0.1))],
            },
        ],
    }
    assert behind == b""
    assert "id" not in answered(NUMBERS, [[0.25, 0.75]])[0]


@pytest.mark.parametrize(
    ("target", "scores", "outputs"),
    [
        (
            Target(classes=("x", "y"), labels=("x", "y"), width=2),
            [0, 1],
            [("label", "BYTES", ["y"]), ("probabilities", "FP32", [0, 1])],
        ),
        (
            Target(classes=(False, True), labels=("n", "y"), width=2),
            [0, 1],
            [("label", "BOOL", [True]), ("probabilities", "FP32", [0, 1])],
        ),
        (
            Target(classes=(1, 2.5), labels=("1", "2"), width=2),
            [0, 1],
            [("label", "FP64", [2.5]), ("probabilities", "FP32", [0, 1])],
        ),
        (
            Target(classes=(3, 4), labels=("3", "4"), width=1, scores="decision", decides="sign"),
            [-2],
            [("label", "INT64", [3]), ("scores", "FP32", [-2])],
        ),
        (
            Target(classes=(3, 4), labels=("3", "4"), width=2, decides="given"),
            [1, 0.5, 0.5],
            [("label", "INT64", [4]), ("probabilities", "FP32", [0.5, 0.5])],
        ),
        (Target(classes=(3, 4), labels=("3", "4"), width=0, decides="given"), [1], [("label", "INT64", [4])]),
        (Target(scores="value", width=1), [2.5], [("value", "FP32", [2.5])]),
        (Target(scores="value", width=2), [2.5, 3], [("value", "FP32", [2.5, 3])]),
    ],
)
def test_each_kind_of_target_has_its_outputs(target, scores, outputs):
    """As metadata list them."""
    signature = with_targets(target)
    head, _ = answered(signature, [scores])
    assert [(one["name"], one["datatype"], one["data"]) for one in head["outputs"]] == outputs
    for one, kind in zip(head["outputs"], Outputs("m", signature).kinds, strict=True):
        assert (one["name"], one["datatype"], one["shape"][1:]) == (kind.name, kind.datatype, kind.shape[1:])


def test_outputs_of_several_targets_are_named_after_them():
    """Each reads its own columns."""
    signature = with_targets(
        Target(name="colour", classes=("red", "blue"), labels=("red", "blue"), width=2),
        Target(name="size", scores="value", width=1),
    )
    head, _ = answered(signature, [[0.25, 0.75, 9]])
    assert [(one["name"], one["data"]) for one in head["outputs"]] == [
        ("label.colour", ["blue"]),
        ("probabilities.colour", [0.25, 0.75]),
        ("value.size", [9]),
    ]


def test_outputs_come_as_they_are_asked_for():
    """A subset, in the order asked for, each as JSON or as bytes."""
    wanted = [
        {"name": "probabilities", "parameters": {"binary_data": False}},
        {"name": "label", "parameters": {}},
    ]
    parameters = {"binary_data_output": True, "mine": [1]}
    head, behind = answered(NUMBERS, [[0.25, 0.75]], outputs=wanted, parameters=parameters)
    assert head["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
        {"name": "label", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}},
    ]
    assert behind == struct.pack("<q", 1)


def test_binary_outputs_follow_each_other():
    """Text with its lengths."""
    signature = with_targets(Target(classes=("x", "yß"), labels=("x", "yß"), width=2))
    head, behind = answered(signature, [[0.25, 0.75], [1, 0]], parameters={"binary_data_output": True})
    assert [one["parameters"]["binary_data_size"] for one in head["outputs"]] == [12, 16]
    assert behind == strings("yß".encode(), b"x") + struct.pack("<4f", 0.25, 0.75, 1, 0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([{"name": "x"}], "unexpected inference output 'x' for model 'm', which gives 'label','probabilities'"),
        ([{"name": "label"}] * 2, "output 'label' already exists in request"),
        ([{"name": "label", "parameters": {"classification": 2}}], "no classification of output 'label'"),
        ([{"name": "label", "parameters": {"shared_memory_region": "r"}}], "no shared memory here"),
    ],
)
def test_an_output_that_there_is_not_is_refused(wanted, message):
    """By its name, before anything is scored."""
    with pytest.raises(BadRequest) as caught:
        answered(NUMBERS, [[0, 1]], outputs=wanted)
    assert message in str(caught.value)


# bytes and arrays


@given(
    st.sampled_from(NUMERIC).flatmap(
        lambda name: st.tuples(st.just(name), hnp.arrays(DATATYPES[name], hnp.array_shapes(max_dims=2)))
    )
)
def test_numbers_survive_the_way_through_bytes(named):
    """Bit for bit, NaN too."""
    name, values = named
    found = from_bytes(Tensor("x", name, list(values.shape), "m"), memoryview(as_bytes(values)))
    assert found.tobytes() == values.tobytes()
    assert len(as_list(values)) == values.size


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts_survive_the_way_through_bytes(texts):
    """Each with its own characters."""
    values = np.empty(len(texts), dtype=object)
    values[:] = texts
    found = from_bytes(Tensor("x", "BYTES", [len(texts)], "m"), memoryview(as_bytes(values)))
    assert found.tolist() == texts


@given(st.binary(max_size=60), st.sampled_from(list(DATATYPES)), st.lists(st.integers(0, 2**64), max_size=3))
def test_any_bytes_are_read_or_refused(data, datatype, shape):
    """Never anything else."""
    try:
        found = from_bytes(Tensor("x", datatype, shape, "m"), memoryview(data))
    except BadRequest:
        return
    assert len(found) == Tensor("x", datatype, shape, "m").count
