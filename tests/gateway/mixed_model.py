"""A model file made by hand: numbers, a flag, a category and a note in; any kind of target out."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
from onnx import TensorProto, helper

from converters.answers import label_of, score_of
from converters.graph import graph_sha256, serialize, with_properties
from converters.modelfile import (
    MISSING_TEXT,
    Certificate,
    Column,
    Golden,
    Metadata,
    Provenance,
    Signature,
    Target,
    write_metadata,
)
from converters.session import open_session, score
from monitoring import build_reference

COLUMNS = (
    Column(name="age"),
    Column(name="city", kind="string", missing=True),
    Column(name="visits", kind="int"),
    Column(name="member", kind="bool"),
    Column(name="note", kind="string"),
)
CITIES = ("Bern", "Basel", "<b>Chur</b>")
"""Those that the reference has a name for; what a city is worth grows with its place."""
TARGETS = {
    "probabilities": (Target(name="buys", classes=("n", "y"), labels=("no", "yes"), width=2),),
    "three": (Target(classes=(0, 1, 2), labels=("a", "b", "c"), width=3),),
    "decision": (Target(classes=(False, True), labels=("no", "yes"), scores="decision", width=1, decides="sign"),),
    "given": (Target(classes=(7, 9), labels=("7", "9"), scores="decision", width=2, decides="given"),),
    "only the class": (Target(classes=(7, 9), labels=("7", "9"), width=0, decides="given"),),
    "one class": (Target(classes=(1,), labels=("1",), width=0, decides="given"),),
    "value": (Target(name="price", scores="value", width=1),),
    "values": (Target(name="place", scores="value", width=3),),
    "several": (
        Target(name="price", scores="value", width=1),
        Target(name="buys", classes=("n", "y"), labels=("no", "yes"), width=2),
    ),
    "class first": (
        Target(name="buys", classes=("n", "y"), labels=("no", "yes"), width=2),
        Target(name="price", scores="value", width=1),
    ),
}
"""Every kind of target that a signature knows."""


def rows_of(n, seed=0, cities=(*CITIES, None)):
    """Rows as a client sends them."""
    rng = np.random.default_rng(seed)
    return [
        [round(float(rng.uniform(20, 80)), 3), cities[rng.integers(len(cities))], int(rng.integers(0, 9)),
         bool(rng.random() < 0.3), "x" * int(rng.integers(0, 40))]
        for _ in range(n)
    ]  # fmt: skip


def mixed_model(kind="probabilities", dtype="float32"):
    """A whole model file and its metadata: the target's numbers follow from z = (age - 50) / 10 + place of the city."""
    targets = TARGETS[kind]
    signature = Signature(
        columns=COLUMNS, form="table", dtype=dtype, input_name="X", text_input="S",
        task="classification" if targets[0].classes else "regression", targets=targets, score_output="answer",
    )  # fmt: skip
    model = _graph(signature)
    session = open_session(serialize(model))
    rows = rows_of(600)
    numbers, texts = packed(signature, rows)
    answers = score(session, signature, numbers, texts)
    labels, graph = label_of(signature, answers), graph_sha256(model)
    reference = build_reference(
        numbers, score_of(signature, answers), names=[column.name for column in COLUMNS],
        kinds=["float", "category", "int", "category", "int"], graph_sha256=graph, dtype=dtype,
        labels=labels, classes=targets[0].labels,
    )  # fmt: skip
    city = reference.features[1]
    named = msgspec.structs.replace(city, categories=[CITIES[int(code)] for code in city.codes])
    reference.features[1] = named
    golden = Golden(
        graph_sha256=graph,
        rows=tuple((age, city, visits, float(member), note) for age, city, visits, member, note in rows[:3]),
        answers=tuple(map(tuple, answers[:3].astype(float).tolist())),
    )
    metadata = Metadata(
        signature=signature, reference=reference, golden=golden, parity=_certificate(graph),
        provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
    )  # fmt: skip
    data = with_properties(model, write_metadata(metadata))
    return data, hashlib.sha256(data).hexdigest(), metadata


def packed(signature, rows):
    """What a block holds of them: numbers, with codes and lengths where a column is text, and the texts."""
    numbers = np.array(
        [
            [age, np.nan if city is None else CITIES.index(city) if city in CITIES else -1, visits, member, len(note)]
            for age, city, visits, member, note in rows
        ],
        dtype=signature.dtype,
    )
    texts = np.array([[MISSING_TEXT if row[1] is None else row[1], row[4]] for row in rows], dtype=object)
    return numbers, texts


def _certificate(graph):
    return Certificate(
        graph_sha256=graph, passed=True, rows=3, heldout_rows=3, adversarial_rows=0, tolerance=1e-5, error_max=0.0,
        error_p999=0.0, label_flips=0, flip_margin_max=0.0, versions={},
    )  # fmt: skip


def _graph(signature):
    nodes, parts = [], []

    def node(operator, inputs, name, **attributes):
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    node("Gather", ["X", "first"], "age", axis=1)
    node("Cast", ["age"], "age32", to=TensorProto.FLOAT)
    node("Sub", ["age32", "fifty"], "centred")
    node("Div", ["centred", "ten"], "scaled")
    node("Gather", ["S", "first"], "city", axis=1)
    node(
        "LabelEncoder", ["city"], "worth", domain="ai.onnx.ml",
        keys_strings=CITIES, values_floats=[float(place) for place in range(len(CITIES))], default_float=0.5,
    )  # fmt: skip
    node("Add", ["scaled", "worth"], "z")
    node("Neg", ["z"], "minus")
    node("Mul", ["z", "none"], "zero")
    node("Greater", ["z", "none"], "above")
    node("Cast", ["above"], "place", to=TensorProto.FLOAT)
    for number, target in enumerate(signature.targets):
        if target.decides == "given":
            parts.append("place" if len(target.classes) > 1 else "zero")
        columns = ["z"] if target.width == 1 else ["minus", "zero", "z"] if target.width == 3 else ["minus", "z"]
        if target.scores == "probabilities" and target.width:
            node("Concat", ["zero", "z"] if target.width == 2 else columns, f"logits{number}", axis=1)
            columns = [node("Softmax", [f"logits{number}"], f"p{number}", axis=1)]
        parts += columns if target.width else []
    node("Concat", parts, "answer", axis=1)
    constants = [("fifty", TensorProto.FLOAT, 50.0), ("ten", TensorProto.FLOAT, 10.0), ("none", TensorProto.FLOAT, 0.0)]
    graph = helper.make_graph(
        nodes, "mixed",
        [
            helper.make_tensor_value_info("X", getattr(TensorProto, _TYPES[signature.dtype]), [None, len(COLUMNS)]),
            helper.make_tensor_value_info("S", TensorProto.STRING, [None, 2]),
        ],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [None, signature.width])],
        [helper.make_tensor("first", TensorProto.INT64, [1], [0])]
        + [helper.make_tensor(name, kind, [], [value]) for name, kind, value in constants],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


_TYPES = {"float32": "FLOAT", "float64": "DOUBLE"}
