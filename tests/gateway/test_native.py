"""The native wire: three forms of the same request, each held to what JSON could say, and answered in its own."""

from __future__ import annotations

import math
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter

from converters.modelfile import Column, Signature, Target
from gateway.admission import Admission
from gateway.errors import BadRequest, NotFound, UnsupportedMediaType
from gateway.floats import read_floats, write_floats
from gateway.native import NativeWire
from gateway.tickets import Ticket

ROWS = np.array([[0.5, -1.25], [1e30, 3.4e38]], np.float32)


def signature(kinds=("float", "float"), dtype="float32"):
    return Signature(
        columns=tuple(Column(name=f"c{index}", kind=kind) for index, kind in enumerate(kinds)),
        form="table" if "string" in kinds else "matrix",
        dtype=dtype,
        input_name="X",
        text_input="S" if "string" in kinds else "",
        targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
        score_output="p",
    )


class Models:
    """One model, whose batcher keeps what it is given."""

    def __init__(self, **more):
        metadata = SimpleNamespace(signature=signature(**more))
        self.tables = frozenset({None} if metadata.signature.form == "table" else ())
        self.rows = []
        self.model = SimpleNamespace(engine=SimpleNamespace(metadata=metadata), batcher=self)

    def find(self, name):
        if name == "other":
            raise NotFound("no model 'other'")
        return self.model

    def submit_one(self, row, path, member):
        self.rows.append((path, row))

    submit_many = submit_one

    def submit_array(self, rows, texts, member):
        self.rows.append((rows.dtype.name, rows.tolist(), texts))


def begin(body, content_type="application/msgpack", parameters=(), headers=None, **more):
    models = Models(**more)
    admission = Admission(Counter("errors", "Errors.", ("status",), registry=CollectorRegistry()))
    wire = NativeWire(models, admission)
    wire.begin(Ticket(0.0), parameters, {"content-type": content_type, **(headers or {})}, body)
    return models.rows


def test_rows_of_floats_are_what_was_sent():
    """In the signature's dtype, value by value; the shape may be said."""
    assert read_floats(ROWS.tobytes(), None, signature()).tolist() == ROWS.tolist()
    double = read_floats(ROWS.tobytes(), "2,2", signature(dtype="float64"))
    assert double.dtype == np.float64
    assert double.tolist() == ROWS.astype(np.float64).tolist()
    assert begin(ROWS.tobytes(), "application/octet-stream") == [("float32", ROWS.tolist(), None)]


@pytest.mark.parametrize("shape", ["2,2", "2, 2", "2 ,2"])
def test_a_shape_that_is_right_is_taken(shape):
    """With a space or without."""
    assert read_floats(ROWS.tobytes(), shape, signature()).shape == (2, 2)


@pytest.mark.parametrize("shape", ["4,1", "1,2", "2,3", "2", "2,2,1", "", "-2,2", "2.0,2", "\u0662,2", "two,two"])
def test_a_shape_that_is_not_the_body_s_is_refused(shape):
    """The error says what was sent, and what the body has."""
    with pytest.raises(BadRequest, match=r"the body has 2,2 \(rows,columns\)") as caught:
        read_floats(ROWS.tobytes(), shape, signature())
    assert f"X-Shape is {shape!r}" in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 4, 7, 12])
def test_a_body_that_is_no_whole_number_of_rows_is_refused(length):
    """The error says what a row is."""
    with pytest.raises(
        BadRequest, match=f"{length} bytes are no rows of this model: 2 float32 values are one, 8 bytes"
    ):
        read_floats(ROWS.tobytes()[:length], None, signature())


def test_a_model_with_text_takes_no_floats():
    """The error names the column, and what to send."""
    with pytest.raises(BadRequest, match="column 'c1' is text, which float32 values cannot say: send JSON or msgpack"):
        read_floats(ROWS.tobytes(), None, signature(("float", "string")))


def test_scores_are_written_as_they_are():
    """None at all has a width too."""
    assert write_floats(ROWS.tolist(), 2) == (ROWS.tobytes(), "2,2")
    assert write_floats([], 3) == (b"", "0,3")


def test_what_json_cannot_say_msgpack_may_not_either():
    """NaN is a missing value, which the batcher judges; an infinity is refused where it stands."""
    pack = msgspec.msgpack.encode
    assert begin(pack({"features": [1, math.nan]})) == [("$.features", [1.0, None])]
    assert begin(pack({"instances": [[1, 2], {"c0": math.nan}]})) == [("$.instances", [[1.0, 2.0], {"c0": None}])]
    with pytest.raises(BadRequest, match=r"inf is no number to score - at `\$.features\[1\]`"):
        begin(pack({"features": [1, math.inf]}))
    with pytest.raises(BadRequest, match=r"-inf is no number to score - at `\$.instances\[1\].c0`"):
        begin(pack({"instances": [[1, 2], {"c0": -math.inf}]}))


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_only_a_model_with_columns_of_several_kinds_takes_text(form):
    """The others, and models that are not there, keep the error that names the value."""
    encode = getattr(msgspec, form).encode
    body, content_type = encode({"features": [1, "Bern"]}), f"application/{form}"
    assert begin(body, content_type, kinds=("float", "string")) == [("$.features", [1.0, "Bern"])]
    for parameters in ((), ("other",)):
        with pytest.raises(BadRequest, match=r"Expected `float | null`, got `str` - at `\$.features\[1\]`"):
            begin(body, content_type, parameters)


def test_another_content_type_is_refused_with_those_that_are_taken():
    """As it was sent."""
    words = "must be application/json, application/msgpack or application/octet-stream, not 'text/csv; header=present'"
    with pytest.raises(UnsupportedMediaType, match=words):
        begin(b"1,2", "text/csv; header=present")
