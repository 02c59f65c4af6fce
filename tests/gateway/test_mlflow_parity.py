"""What `mlflow models serve` answers and what hotgate answers: one corpus to both."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from harness import serving, wait_until
from scoring_corpus import CORPUS, JSON, MIXED, MIXED_ROW, NAMED, ROWS
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from converters import convert
from gateway.mlflow_wire import PROTOCOL_VERSION
from training.tracking import save_sklearn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints while it is imported
    from mlflow.models import infer_signature
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

pytestmark = pytest.mark.process

DOCS = Path(__file__).parents[2] / "docs" / "mlflow.md"

DIFFERENCES = {
    "MLflow takes rows as lists only of a model without a signature; here every model has an order of columns, so they"
    " are taken, and an error speaks of their width": [
        "split without columns",
        "split, columns null",
        "records as lists",
        "instances as lists",
        "instances, too narrow",
        "instances, ragged",
        "instances, one row flat",
        "inputs as lists",
    ],
    "the model is served in float32, and a number beyond its range is refused rather than made infinite": [
        "beyond float32",
    ],
    "MLflow says that an unexpected error happened; hotgate says which value, or that there are no rows": [
        "split, no rows",
        "split, data null",
        "null",
        "NaN",
        "Infinity",
        "the string nan",
        "records, one without a name",
        "inputs as records, one without a name",
        "inputs, empty lists",
        "csv, header only",
        "csv, a field too few",
        "csv, missing value",
        "csv, NA",
        "csv, inf",
    ],
    "the message names the column and the row as well": [
        "instances, a word",
        "instances, a word by name",
        "instances, a list for a value",
        "inputs, a word",
        "inputs, a matrix for a column",
        "csv, a word",
        "csv, a NUL",
        "mixed, city a list",
        "mixed csv, visits 3.5",
    ],
    "MLflow's message is about pandas, or about what it made of the body before it failed": [
        "split, a name twice",
        "instances as a number",
        "instances as null",
        "inputs as a word",
        "a chat",
    ],
    "a value of another kind than its column's is refused; MLflow cuts the fraction off, takes any text for true"
    " (`false` too), and a number for a category that nobody has": [
        "mixed, city a number",
        "mixed, visits 3.5",
        "mixed, member 2",
        "mixed, member as a string",
    ],
    "whether a value may be missing follows from the model, not from the type that MLflow inferred": [
        "mixed, visits null",
        "mixed, member null",
        "mixed csv, visits missing",
    ],
    "1 and 0 are booleans in CSV too": ["mixed csv, member 1"],
    "a row that is too short is not filled up with missing values": ["split, one row too narrow"],
    "fields without a name in the header are not taken for an index": ["csv, all rows too wide"],
    "MLflow answers 500": ["deeply nested", "no content type"],
    "hotgate takes no Parquet, and does not name it among what it takes": [
        "upper case",
        "plain text",
        "form",
        "parquet",
    ],
}
"""Names of the corpus by why the answers differ; docs/mlflow.md shows them."""


class Pair:
    """Both servers of one model."""

    def __init__(self, reference, hotgate):
        self.reference = reference
        self.hotgate = hotgate

    def ask(self, method, path, body=b"", content_type=None):
        """The two answers: MLflow's and hotgate's."""
        headers = {"Content-Type": content_type} if content_type else {}
        return [server.request(method, path, body, headers) for server in (self.reference, self.hotgate)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, cancer):
    """Of a classifier of three columns, and a regressor of columns of several kinds; MLflow starts first."""
    models = {"cells": _classifier(cancer), "mixed": _mixed()}
    with contextlib.ExitStack() as stack:
        references = {}
        for name, (estimator, signature, file) in models.items():
            folder = tmp_path_factory.mktemp(name)
            (folder / "model.onnx").write_bytes(file.data)
            save_sklearn(estimator, folder / "model", signature=signature)
            references[name] = folder, stack.enter_context(_reference(folder))
        found = {}
        for name, (folder, reference) in references.items():
            arguments = ("--model", f"{name}={folder / 'model.onnx'}", "--workers", "1")
            found[name] = Pair(reference, stack.enter_context(serving(folder, *arguments)))
        for pair in found.values():
            wait_until(partial(_pings, pair.reference), what=f"MLflow's server: {pair.reference.text()}")
        yield found


@pytest.fixture
def classifier(pairs):
    """Of three columns, as `hotgate train` logs it."""
    return pairs["cells"]


def _classifier(cancer):
    rows, target, _ = cancer
    frame = pd.DataFrame(rows[:, :3], columns=list("abc"))
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame[:400].to_numpy(), target[:400])
    file = convert(estimator, frame[:400].to_numpy(), heldout=frame[400:].to_numpy(), columns=list("abc"))
    return estimator, _signature(frame[:5], target[:5]), file


def _signature(frame, target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that whole numbers might be missing
        return infer_signature(frame, target)


def _mixed():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(300) < 0.1, np.nan, rng.integers(18, 90, 300) + 0.5),
            "city": rng.choice(["Bern", "Basel", "Genf"], 300),
            "visits": rng.integers(0, 20, 300),
            "member": rng.random(300) < 0.5,
        }
    )
    target = frame.age.fillna(40) + 3 * frame.visits + 10 * frame.member + frame.city.str.len()
    columns = make_column_transformer(
        (SimpleImputer(), ["age", "visits"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ("passthrough", ["member"]),
    )
    estimator = make_pipeline(columns, Ridge()).fit(frame[:200], target[:200])
    return estimator, _signature(frame, target), convert(estimator, frame[:200], heldout=frame[200:])


def _reference(folder):
    """MLflow's own server, which starts uvicorn by name; it answers some seconds later."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return serving(folder, command=partial(_mlflow, folder / "model"), env=env, ready=None)


def _mlflow(model, port):
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model), *options]


def _pings(server):
    if server.process.poll() is not None:
        raise AssertionError(f"ended with code {server.process.returncode}: {server.text()}")
    try:
        return server.request("GET", "/ping", timeout=2.0)[0] == 200
    except OSError:
        return False


def same(theirs, ours):
    """Whether two answers say the same: status and predictions, or status, code and what stands before `Error:`."""
    (their_status, their_headers, their_body), (status, headers, body) = theirs, ours
    if their_status != status or their_headers["content-type"] != headers["content-type"]:
        return False
    if status == 200:
        their_rows, rows = json.loads(their_body)["predictions"], json.loads(body)["predictions"]
        return len(rows) == len(their_rows) and rows == pytest.approx(their_rows, rel=1e-6)  # one computed in float32
    if headers["content-type"] != "application/json":
        return body in their_body
    their_error, error = json.loads(their_body), json.loads(body)
    assert error.keys() == {"error_code", "message"}
    words = _ordered(error["message"]).partition(" Error: ")[0].rstrip(".")
    return their_error["error_code"] == error["error_code"] and words in _ordered(their_error["message"])


def _ordered(message):
    """A message with its sets in order, which MLflow writes as they come."""
    message = re.sub(r"\{[^{}]*'dataframe_split'[^{}]*\}", "{the four shapes}", message)
    return re.sub(r"extra inputs: \[(.*?)\]\.", lambda found: str(sorted(found[1].split(", "))), message)


@pytest.mark.parametrize("name", [*CORPUS, *MIXED])
def test_both_answer_alike_but_for_the_listed_differences(pairs, name):
    """An unlisted difference fails, and so does a listed one that is none any more."""
    model, (content_type, body) = ("mixed", MIXED[name]) if name in MIXED else ("cells", CORPUS[name])
    theirs, ours = pairs[model].ask("POST", "/invocations", body, content_type)
    listed = any(name in names for names in DIFFERENCES.values())
    assert same(theirs, ours) is not listed, f"MLflow: {theirs}\nhotgate: {ours}"


def test_no_answer_is_a_servers_error(classifier):
    """Whatever a client sends; and every error names a code."""
    for content_type, body in CORPUS.values():
        status, headers, _ = classifier.hotgate.request(
            "POST", "/invocations", body, {"Content-Type": content_type} if content_type else {}
        )
        assert status in {200, 400, 415}
        assert headers["x-request-id"]
        assert ("x-model-version" in headers) is (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/invocations/other", {}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/invocations/cells/1", {}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/invocations", {}, 405, "BAD_REQUEST"),
        ("POST", "/invocations", {"X-Deadline-Ms": "0.000001"}, 504, "DEADLINE_EXCEEDED"),
        ("POST", "/invocations", {"X-Deadline-Ms": "soon"}, 400, "BAD_REQUEST"),
        ("POST", "/invocations", {"X-Request-Id": "no spaces"}, 400, "BAD_REQUEST"),
        ("POST", "/invocations", {"Content-Encoding": "br"}, 415, None),
    ],
)
def test_every_error_of_the_path_has_mlflows_shape(classifier, method, path, headers, status, code):
    """Also those of HTTP, which come from elsewhere."""
    body = CORPUS["split"][1]
    found = classifier.hotgate.request(method, path, body, {"Content-Type": JSON, "X-Request-Id": "id-1", **headers})
    assert found[0] == status
    assert (found[1]["x-request-id"] == "id-1") is ("X-Request-Id" not in headers)
    if code is None:
        assert found[1]["content-type"] == "text/plain; charset=utf-8"
    else:
        error = json.loads(found[2])
        assert error.keys() == {"error_code", "message"}
        assert error["error_code"] == code


def test_the_path_may_name_the_model(classifier):
    """The same answer as the default one's."""
    content_type, body = CORPUS["split"]
    found = [
        classifier.hotgate.request("POST", path, body, {"Content-Type": content_type, "X-Request-Id": "id-1"})
        for path in ("/invocations", "/invocations/cells")
    ]
    assert found[0][2] == found[1][2] == b'{"predictions":[1,0]}'
    assert found[0][1]["x-model-name"] == found[1][1]["x-model-name"] == "cells"


@pytest.mark.parametrize("name", ["split", "csv"])
def test_a_compressed_request_is_scored(classifier, name):
    """As on every scoring route; MLflow's server does not inflate."""
    content_type, body = CORPUS[name]
    headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
    found = classifier.hotgate.request("POST", "/invocations", gzip.compress(body), headers)
    assert (found[0], found[2]) == (200, b'{"predictions":[1,0]}')


def test_the_schema_describes_both_media_types(classifier):
    """A body of JSON by its shapes, one of CSV as a string."""
    schema = json.loads(classifier.hotgate.request("GET", "/schema")[2])
    for path in ("/invocations", "/invocations/{model}"):
        posted = schema["paths"][path]["post"]
        content = posted["requestBody"]["content"]
        assert content.keys() == {"application/json", "text/csv"}
        assert "MlflowRequest" in json.dumps(content["application/json"])
        assert content["text/csv"]["schema"]["type"] == "string"
        assert set(posted["responses"]) == {"200", "400", "404", "413", "415", "422", "503", "504"}
    shapes = schema["components"]["schemas"]["MlflowRequest"]["properties"]
    assert set(shapes) == {"dataframe_split", "dataframe_records", "instances", "inputs", "params"}


@pytest.mark.parametrize("path", ["/ping", "/version"])
def test_both_say_alike_that_they_are_there(classifier, path):
    """Status, media type and body; `/version` is that of the MLflow which is installed here."""
    theirs, ours = classifier.ask("GET", path)
    assert ours[0] == theirs[0] == 200
    assert ours[2] == theirs[2]
    assert ours[1]["content-type"] == theirs[1]["content-type"]
    assert mlflow.__version__ == PROTOCOL_VERSION


def test_health_is_hotgates_own_with_mlflows_status(classifier):
    """A probe that asks for the status finds 200 on both."""
    theirs, ours = classifier.ask("GET", "/health")
    assert (theirs[0], ours[0]) == (200, 200)
    assert json.loads(ours[2])["model_loaded"]


@pytest.mark.parametrize(
    "data", [pd.DataFrame(NAMED), pd.DataFrame(NAMED, index=[5, 6])[["c", "a", "b"]], NAMED, np.array(ROWS)]
)
def test_mlflows_own_client_is_answered(classifier, data):
    """`ScoringServerClient`, which MLflow's deployments and Spark functions use: data frames, records, arrays."""
    client = ScoringServerClient("127.0.0.1", classifier.hotgate.port)
    client.wait_server_ready(timeout=10)
    assert client.get_version() == PROTOCOL_VERSION
    found = client.invoke(data, params={"unknown": 1})
    assert found.get_predictions("ndarray").tolist() == [1, 0]
    assert found.get_predictions()[0].tolist() == [1, 0]


def test_mlflows_client_sends_missing_values(pairs):
    """It writes NaN, which is no JSON; both servers answer the same numbers."""
    frame = pd.DataFrame([MIXED_ROW, {**MIXED_ROW, "age": np.nan}, {**MIXED_ROW, "city": "Oslo"}])
    theirs, ours = (
        ScoringServerClient("127.0.0.1", server.port).invoke(frame).get_predictions("ndarray")
        for server in (pairs["mixed"].reference, pairs["mixed"].hotgate)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert len(set(ours.tolist())) == 3


def test_every_difference_is_documented():
    """The table of docs/mlflow.md is this module's."""
    part = DOCS.read_text().split("## Differences")[1].split("\n## ")[0]
    found = {}
    for line in part.splitlines():
        if line.startswith("| ") and not line.startswith("| why"):
            why, names = (cell.strip() for cell in line.strip("|").split("|"))
            found[why] = [name.strip("` ") for name in names.split(";")]
    assert found == DIFFERENCES


def test_the_lines_of_the_documentation_print_what_stands_under_them(classifier):
    """Each is run as it stands, but for the port."""
    block = re.search(r"```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    lines = block.splitlines()
    for line, printed in zip(lines[::2], lines[1::2], strict=True):
        command = line.replace("localhost:8000", f"127.0.0.1:{classifier.hotgate.port}")
        found = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=20, check=True)
        assert f"# {found.stdout}" == printed
    assert len(lines) == 16
