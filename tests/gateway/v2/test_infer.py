"""Inference over HTTP, by the clients that people have."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def client(served):
    """Triton's own, synchronous."""
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as found:
        yield found


@pytest.fixture(scope="module")
def rows(cancer):
    """A few rows, as the model is fed them."""
    return np.asarray(cancer[0][:5], dtype=np.float32)


@pytest.fixture(scope="module")
def truth(linear, cancer):
    """What scikit-learn says of them."""
    return linear.estimator.predict_proba(cancer[0][:5]), linear.estimator.predict(cancer[0][:5])


def columns_of(names, rows, dtype, datatype, *, binary=True):
    found = []
    for place, name in enumerate(names):
        found.append(triton.InferInput(name, [len(rows)], datatype))
        found[-1].set_data_from_numpy(rows[:, place].astype(dtype), binary_data=binary)
    return found


def check(result, truth):
    probabilities, labels = truth
    assert np.abs(result.as_numpy("probabilities") - probabilities).max() < 1e-5
    assert result.as_numpy("probabilities").dtype == np.float32
    assert result.as_numpy("label").tolist() == labels.tolist()
    assert result.as_numpy("label").dtype == np.int64


@pytest.fixture(scope="module")
def input_name(linear):
    """What the graph calls its tensor."""
    return linear.file.metadata.signature.input_name


CODINGS = [(None, None), ("gzip", None), (None, "gzip"), ("deflate", "deflate"), ("gzip", "deflate")]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("request_coding", "response_coding"), CODINGS)
def test_tritonclient_infers(client, rows, truth, input_name, binary, request_coding, response_coding):
    """Binary or JSON, each way, compressed or not; all outputs."""
    inputs = triton.InferInput(input_name, [5, 30], "FP32")
    inputs.set_data_from_numpy(rows, binary_data=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=not binary) for name in ("probabilities", "label")]
    result = client.infer(
        "cancer",
        [inputs],
        outputs=outputs,
        request_compression_algorithm=request_coding,
        response_compression_algorithm=response_coding,
    )
    check(result, truth)
    assert [one["name"] for one in result.get_response()["outputs"]] == ["probabilities", "label"]


def test_tritonclient_of_asyncio_infers(served, rows, truth, input_name):
    """With no output named it asks for all of them as bytes."""

    async def infer():
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
            inputs = triton_aio.InferInput(input_name, [5, 30], "FP32")
            inputs.set_data_from_numpy(rows)
            plain, *packed = await asyncio.gather(
                client.infer("cancer", [inputs], request_id="mine"),
                *(
                    client.infer(
                        "cancer", [inputs], response_compression_algorithm=way, request_compression_algorithm=way
                    )
                    for way in ("gzip", "deflate")
                ),
            )
            return plain, *packed

    for result in asyncio.run(infer()):
        check(result, truth)
        assert all("binary_data_size" in one["parameters"] for one in result.get_response()["outputs"])


def test_tritonclient_takes_columns_by_name(client, cancer, truth):
    """In any order, in a datatype of its own, as bytes and as JSON."""
    rows, _, names = cancer
    for binary in (True, False):
        inputs = columns_of(names, rows[:5], np.float64, "FP64", binary=binary)
        check(client.infer("cancer", inputs[::-1]), truth)


def test_a_version_is_named_or_not(client, rows, input_name):
    """It must be the one that serves."""
    inputs = triton.InferInput(input_name, [5, 30], "FP32")
    inputs.set_data_from_numpy(rows)
    result = client.infer("cancer", [inputs], model_version="7", request_id="abc")
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("cancer", "7", "abc")
    with pytest.raises(
        triton.InferenceServerException, match="'cancer' version 8 is not found: version 7 serves"
    ) as caught:
        client.infer("cancer", [inputs], model_version="8")
    assert caught.value.status() == "404"


def test_an_unknown_model_is_told_in_the_words_that_clients_match(client, rows, input_name):
    """As Triton words it."""
    inputs = triton.InferInput(input_name, [5, 30], "FP32")
    inputs.set_data_from_numpy(rows)
    with pytest.raises(triton.InferenceServerException) as caught:
        client.infer("other", [inputs])
    assert caught.value.message() == "Request for unknown model: 'other' is not found"
    assert caught.value.status() == "404"


def body_of(input_name, rows, **fields):
    data = rows.tolist()
    inputs = [{"name": input_name, "shape": list(rows.shape), "datatype": "FP32", "data": data}]
    return {"inputs": inputs, **fields}


def post(served, body, *, model="cancer", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"http://127.0.0.1:{served.port}/v2/models/{model}/infer", content=content, headers=headers)


def test_an_answer_is_stamped(served, rows, input_name):
    """As those of every protocol are."""
    answer = post(served, body_of(input_name, rows))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-name"] == "cancer"
    assert answer.headers["x-model-version"] == "7"
    assert len(answer.headers["x-model-sha256"]) == 64
    assert "id" not in answer.json()
    assert "content-encoding" not in answer.headers  # httpx takes several codings without being told to


def test_an_answer_with_bytes_says_where_they_begin(served, rows, input_name):
    """By the length of its JSON, and is of no JSON type."""
    answer = post(served, body_of(input_name, rows, parameters={"binary_data_output": True}))
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    assert sum(one["parameters"]["binary_data_size"] for one in json.loads(answer.content[:length])["outputs"]) == (
        len(answer.content) - length
    )


@pytest.mark.parametrize(
    ("body_id", "header", "expected"),
    [("b-1", None, "b-1"), ("b-1", "h-1", "h-1"), (None, "h-1", "h-1"), ("no spaces", None, None), ("", None, None)],
)
def test_the_requests_id_is_the_headers_or_the_bodys(served, rows, input_name, body_id, header, expected):
    """The body's is echoed in any case, and is the request's if it is one that the header could give."""
    fields = {} if body_id is None else {"id": body_id}
    answer = post(served, body_of(input_name, rows, **fields), **({"X-Request-Id": header} if header else {}))
    assert answer.status_code == 200
    assert answer.json().get("id") == body_id
    made = answer.headers["x-request-id"]
    assert made == expected if expected else made not in {body_id, header}


def test_a_timeout_is_a_deadline(served, rows, input_name):
    """In microseconds; the header goes before it."""
    body = body_of(input_name, rows, parameters={"timeout": 1})
    answer = post(served, body)
    assert answer.status_code == 504
    assert answer.json() == {"error": "the deadline is over"}
    assert post(served, body, **{"X-Deadline-Ms": "60000"}).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_is_compressed_where_one_coding_is_named(served, rows, input_name, coding):
    """And no error is."""
    url = f"http://127.0.0.1:{served.port}/v2/models/cancer/infer"
    body = body_of(input_name, rows)
    with httpx.stream("POST", url, json=body, headers={"Accept-Encoding": coding, "X-Request-Id": "a"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == coding
    unpacked = gzip.decompress(packed) if coding == "gzip" else zlib.decompress(packed)
    assert unpacked == post(served, body).content
    refused = post(served, b"{", **{"Accept-Encoding": coding})
    assert (refused.status_code, "content-encoding" in refused.headers) == (400, False)


def test_no_rows_have_no_predictions(served, input_name):
    """As in the native protocol."""
    answer = post(served, body_of(input_name, np.zeros((0, 30), dtype=np.float32)))
    assert [(one["shape"], one["data"]) for one in answer.json()["outputs"]] == [([0], []), ([0, 2], [])]


def test_a_missing_value_is_refused_by_its_column(served, rows, input_name, cancer):
    """Where the model takes none."""
    bad = rows.copy()
    bad[2, 3] = np.nan
    inputs = triton.InferInput(input_name, [5, 30], "FP32")
    inputs.set_data_from_numpy(bad)
    content, length = triton.InferenceServerClient.generate_request_body([inputs])
    answer = post(served, content, **{"Inference-Header-Content-Length": str(length)})
    assert answer.status_code == 400
    assert answer.json()["error"] == f"the model takes no missing value (NaN) - in row 2, column {cancer[2][3]!r}"
