"""Models of mixed columns and every kind of target: what V2 answers is what `/predict` answers."""

from __future__ import annotations

import json
import sys

import msgspec
import numpy as np
import pytest
import tritonclient.http as triton
from harness import serving
from mixed_model import COLUMNS, TARGETS, mixed_model, rows_of
from tritonclient.utils import triton_to_np_dtype

from gateway.settings import WORKER_CONFIG, GatewaySettings, WorkerConfig
from gateway.store import Entry, ModelRoles, ModelStore

pytestmark = pytest.mark.process

ROWS = rows_of(40, seed=3)
KINDS = {kind.replace(" ", "-"): (kind, "float32") for kind in TARGETS} | {"double": ("several", "float64")}
DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL", "string": "BYTES"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One worker with a model of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    store = ModelStore(folder / "store")
    with store.writer() as writer:
        models = {}
        for name, kind in KINDS.items():
            sha256 = writer.put(mixed_model(*kind)[0])
            models[name] = ModelRoles(champion=Entry(version="1", sha256=sha256))
        writer.publish(models)
    config = WorkerConfig(settings=GatewaySettings(), store=str(store.root), monitor=str(folder / "monitor"))
    options = ["--interface", "rsgi", "--loop", "asyncio", "--no-ws", "--runtime-threads", "1"]
    with serving(
        folder,
        command=lambda port: [sys.executable, "-m", "granian", "--port", str(port), *options, "gateway.app:app"],
        env={WORKER_CONFIG: msgspec.json.encode(config).decode()},
    ) as server:
        yield server


@pytest.fixture(scope="module")
def client(served):
    """Triton's own."""
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as found:
        yield found


def inputs_of(rows, *, binary):
    """One input a column, last column first."""
    found = []
    for place, column in reversed(list(enumerate(COLUMNS))):
        values = [row[place] for row in rows]
        found.append(triton.InferInput(column.name, [len(rows)], DATATYPES[column.kind]))
        dtype = np.object_ if column.kind == "string" else triton_to_np_dtype(DATATYPES[column.kind])
        found[-1].set_data_from_numpy(np.array(values, dtype=dtype), binary_data=binary)
    return found


def native(served, model):
    status, _, content = served.predict(json.dumps({"instances": ROWS}).encode(), path=f"/predict/{model}")
    assert status == 200
    return json.loads(content)["predictions"]


def expected_of(predictions):
    """Name → values of the outputs, as the native answer has them."""
    found = {}
    for row in predictions:
        for target, outcome in row.get("targets", {"": row}).items():
            suffix = f".{target}" if target else ""
            for field, value in outcome.items():
                if field == "label":
                    continue
                name = {"prediction": "label"}.get(field, field) + suffix
                found.setdefault(name, []).append(list(value.values()) if isinstance(value, dict) else value)
    return found


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("model", KINDS)
def test_every_kind_of_target_is_answered_as_natively(served, client, model, binary):
    """By columns, with texts as bytes or as JSON; outputs as metadata list them."""
    rows = [[*row[:1], row[1] or "", *row[2:]] for row in ROWS]
    outputs = client.get_model_metadata(model)["outputs"]
    asked = [triton.InferRequestedOutput(one["name"], binary_data=binary) for one in outputs]
    result = client.infer(model, inputs_of(rows, binary=binary), outputs=asked)
    body = json.dumps({"instances": rows}).encode()
    predictions = json.loads(served.predict(body, path=f"/predict/{model}")[2])["predictions"]
    expected = expected_of(predictions)
    assert list(expected) == [one["name"] for one in outputs]
    for one in outputs:
        values = result.as_numpy(one["name"])
        assert list(values.shape) == [len(rows), *one["shape"][1:]]
        found = [text.decode() if isinstance(text, bytes) else text for text in values.tolist()]
        assert found == expected[one["name"]]


def test_a_missing_text_is_null(served):
    """As in the native body."""
    columns = {column.name: [row[place] for row in ROWS] for place, column in enumerate(COLUMNS)}
    assert None in columns["city"]
    inputs = [
        {"name": column.name, "shape": [len(ROWS)], "datatype": DATATYPES[column.kind], "data": columns[column.name]}
        for column in COLUMNS
    ]
    status, _, content = served.request(
        "POST", "/v2/models/probabilities/infer", json.dumps({"inputs": inputs}).encode()
    )
    assert status == 200
    label, probabilities = json.loads(content)["outputs"]
    expected = expected_of(native(served, "probabilities"))
    assert label["data"] == expected["label"]
    assert probabilities["data"] == [value for row in expected["probabilities"] for value in row]


@pytest.mark.parametrize(
    ("column", "change", "error"),
    [
        ("visits", {"datatype": "FP64", "data": [1.5]}, "1.5 is no int - in row 0, column 'visits'"),
        ("note", {"data": [None]}, "the model takes no missing value - in row 0, column 'note'"),
        ("age", {"data": [None]}, "the model takes no missing value (NaN) - in row 0, column 'age'"),
        ("member", {"datatype": "INT8", "data": [2]}, "2.0 is no bool - in row 0, column 'member'"),
        ("city", {"datatype": "FP32", "data": [1]}, "'city' data-type is 'FP32', but model 'value' expects 'BYTES'"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_column(served, column, change, error):
    """And nothing is scored."""
    one = [50.5, "Bern", 2, True, "x"]
    inputs = [
        {"name": known.name, "shape": [1], "datatype": DATATYPES[known.kind], "data": [value]}
        | (change if known.name == column else {})
        for known, value in zip(COLUMNS, one, strict=True)
    ]
    status, _, content = served.request("POST", "/v2/models/value/infer", json.dumps({"inputs": inputs}).encode())
    assert status == 400
    assert error in json.loads(content)["error"]
