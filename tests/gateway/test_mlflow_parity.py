"""What `mlflow models serve` answers and what hotgate answers: one corpus to both."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from harness import serving, wait_until
from scoring_corpus import CORPUS, JSON, NAMED, ROWS
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from converters import Column, Provenance, build_model_file
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
    ],
    "MLflow's message is about pandas, or about what it made of the body before it failed": [
        "split, a name twice",
        "instances as a number",
        "instances as null",
        "inputs as a word",
        "a chat",
    ],
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
def classifier(tmp_path_factory, cancer):
    """A classifier of three columns."""
    rows, target, _ = cancer
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    yield from _serve(estimator, rows[:, :3], target, ["malignant", "benign"], tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def lenient(tmp_path_factory, cancer):
    """One that takes missing values, and whose classes are texts."""
    rows, target, _ = cancer
    rows = np.where(rows > np.quantile(rows, 0.95, axis=0), np.nan, rows)
    names = np.array(["malignant", "benign"])[target]
    yield from _serve(
        make_pipeline(SimpleImputer(), LogisticRegression()),
        rows[:, :3],
        names,
        None,
        tmp_path_factory.mktemp("lenient"),
    )


def _serve(estimator, rows, target, labels, folder):
    """Both servers at once; MLflow's has the model as `hotgate train` logs it."""
    estimator.fit(rows[:400], target[:400])
    file = build_model_file(
        estimator,
        columns=[Column(name=name, missing=bool(np.isnan(rows).any())) for name in "abc"],
        labels=labels,
        train_rows=rows[:400],
        heldout_rows=rows[400:],
        provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
    )
    (folder / "model.onnx").write_bytes(file.data)
    signature = infer_signature(pd.DataFrame(rows[:5], columns=list("abc")), estimator.predict(rows[:5]))
    save_sklearn(estimator, folder / "model", signature=signature)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow starts uvicorn by name
    env = {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        serving(folder, command=lambda port: _mlflow(folder / "model", port), env=env, ready=None) as reference,
        serving(folder, "--model", f"cells={folder / 'model.onnx'}", "--workers", "1") as hotgate,
    ):
        wait_until(lambda: _pings(reference), what=f"MLflow's scoring server: {reference.text()}")
        yield Pair(reference, hotgate)


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
        return json.loads(their_body) == json.loads(body)
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


@pytest.mark.parametrize("name", CORPUS)
def test_both_answer_alike_but_for_the_listed_differences(classifier, name):
    """An unlisted difference fails, and so does a listed one that is none any more."""
    content_type, body = CORPUS[name]
    theirs, ours = classifier.ask("POST", "/invocations", body, content_type)
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


MISSING = ["null", "NaN", "the string nan", "csv, missing value", "csv, NA", "csv, a field too few"]


@pytest.mark.parametrize("name", ["split", "csv", *MISSING, "records, one without a name"])
def test_missing_values_are_scored_alike(lenient, name):
    """By a model that takes them; its classes are texts."""
    content_type, body = CORPUS[name]
    theirs, ours = lenient.ask("POST", "/invocations", body, content_type)
    assert (theirs[0], ours[0]) == (200, 200)
    assert same(theirs, ours)
    assert set(json.loads(ours[2])["predictions"]) <= {"malignant", "benign"}


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
