"""All lanes answer alike: one corpus through the express lane and through Litestar, over RSGI and over ASGI."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import sys
import zlib

import msgspec
import numpy as np
import pytest
from harness import serving, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_corpus import CORPUS

from gateway.application import Gateway
from gateway.settings import WORKER_CONFIG, GatewaySettings, WorkerConfig
from gateway.store import Entry, ModelRoles, ModelStore

pytestmark = pytest.mark.process

LANES = ["rsgi-direct", "rsgi-loop", "rsgi-off", "asgi-loop", "asgi-off"]
MAX_BODY = 1 << 20


@pytest.fixture(scope="module")
def lanes(tmp_path_factory, linear):
    """The same application five times: every lane of granian's RSGI, and on uvicorn's ASGI with the lane on and off."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for lane in LANES:
            folder = tmp_path_factory.mktemp(lane)
            store = ModelStore(folder / "store")
            with store.writer() as writer:
                sha256 = writer.put(linear.file.data)
                writer.publish({"cancer": ModelRoles(champion=Entry(version="7", sha256=sha256))})
            config = WorkerConfig(
                settings=GatewaySettings(lane=lane.partition("-")[2], max_body_bytes=MAX_BODY),
                store=str(store.root),
                monitor=str(folder / "monitor"),
            )
            env = {WORKER_CONFIG: msgspec.json.encode(config).decode()}
            servers[lane] = stack.enter_context(serving(folder, command=_command(lane), env=env))
        yield servers


def _command(lane):
    if lane.startswith("rsgi"):
        options = ["--interface", "rsgi", "--loop", "asyncio", "--no-ws", "--runtime-threads", "1"]
        return lambda port: [sys.executable, "-m", "granian", "--port", str(port), *options, "gateway.app:app"]
    return lambda port: [sys.executable, "-m", "uvicorn", "--port", str(port), "--no-access-log", "gateway.app:app"]


def exchange(port, head, body):
    """Send bytes as they are on a new connection; status line's code, comparable headers and body, or None if none."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head + b"\r\n\r\n" + body)
        answer = connection.makefile("rb")
        line = answer.readline()
        if not line:
            return None
        headers = {}
        for raw in iter(answer.readline, b"\r\n"):
            name, _, value = raw.decode("latin-1").partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        length = headers.get("content-length")
        content = answer.read(int(length[0])) if length else answer.read()
    for name in ("date", "server", "connection", "transfer-encoding"):
        headers.pop(name, None)
    return int(line.split()[1]), headers, content


def post(port, body, path="/predict", content_type="application/json", extra=()):
    """POST with a stated length; the request id is given, so that answers can be compared to the byte."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if not any(line.lower().startswith("x-request-id") for line in extra):
        lines.append("X-Request-Id: fixed.id-1")
    return exchange(port, "\r\n".join([*lines, *extra]).encode(), body)


def same(lanes, ask):
    """Put one question to every lane; all answers must be equal, and one is returned."""
    answers = {lane: ask(server.port) for lane, server in lanes.items()}
    first = answers[LANES[0]]
    for lane, answer in answers.items():
        assert answer == first, f"{lane} answers {answer}, {LANES[0]} {first}"
    return first


def row(width=30, **changed):
    values = [float(index) for index in range(width)]
    for index, value in changed.items():
        values[int(index[1:])] = value
    return values


def features(values):
    return json.dumps({"features": values}).encode()


BAD = {
    "empty": (b"", 400, "empty"),
    "no JSON": (b"features", 400, "malformed"),
    "truncated": (features(row())[:-20], 400, "truncated"),
    "a list": (b"[1,2]", 400, "Expected `object`"),
    "null": (b"null", 400, "Expected `object`"),
    "no member": (b"{}", 400, "send `features`"),
    "both members": (b'{"features":[1],"instances":[[1]]}', 400, "not both"),
    "unknown member": (b'{"feature":[1]}', 400, "unknown field `feature`"),
    "wrong type": (features(row(_3="x")), 400, "$.features[3]"),
    "bool": (features(row(_3=True)), 400, "$.features[3]"),
    "nested": (features(row(_3=[1.0])), 400, "$.features[3]"),
    "29 features": (features(row(29)), 400, "29 values, the model takes 30"),
    "31 features": (features(row(31)), 400, "31 values, the model takes 30"),
    "NaN": (features(row(_3=float("nan"))), 400, "malformed"),
    "Infinity": (features(row(_3=float("inf"))), 400, "malformed"),
    "1e400": (features(row()).replace(b"3.0", b"1e400", 1), 400, "$.features[3]"),
    "1e39": (features(row()).replace(b"3.0", b"1e39", 1), 400, "does not fit float32"),
    "missing value": (features(row(_3=None)), 400, "no missing value (null) - at `$.features[3]`"),
    "unknown name": (b'{"features":{"nope":1}}', 400, "unknown feature 'nope'"),
    "deep nesting": (b'{"features":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, ""),
    "not UTF-8": (b'{"features":{"\xff":1}}', 400, ""),
    "bad instance": (json.dumps({"instances": [row(), row(_3="x")]}).encode(), 400, "$.instances[1][3]"),
    "short instance": (json.dumps({"instances": [row(), row(29)]}).encode(), 400, "at `$.instances[1]`"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_gets_the_same_clear_error_on_every_lane(lanes, name):
    """Status, headers and body are equal to the byte, and the detail says what is wrong."""
    body, status, detail = BAD[name]
    got, headers, content = same(lanes, lambda port: post(port, body))
    assert got == status
    assert headers["content-type"] == ["application/problem+json"]
    assert headers["x-request-id"] == ["fixed.id-1"]
    assert detail in json.loads(content)["detail"]


GOOD = {
    "a list": features(row()),
    "integers": json.dumps({"features": list(range(30))}).encode(),
    "zero rows": b'{"instances":[]}',
    "many rows": json.dumps({"instances": [row(), row(_0=99.5)] * 200}).encode(),
    "white space": b' \n {"features" : ' + json.dumps(row()).encode() + b"}\r\n ",
    "denormal": features(row(_3=1e-42)),
    "largest float32": features(row(_3=3.4e38)),
    "escaped key": features(row()).replace(b"features", b"\\u0066eatures"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_body_gets_the_same_answer_on_every_lane(lanes, name):
    """Status, headers and body are equal to the byte, and stamped with the model."""
    status, headers, _ = same(lanes, lambda port: post(port, GOOD[name]))
    assert status == 200
    assert headers["x-model-name"] == ["cancer"]
    assert headers["x-model-version"] == ["7"]
    assert headers["content-type"] == ["application/json"]


def invoked(lanes, content_type, body):
    return same(lanes, lambda port: post(port, body, "/invocations", content_type))


def test_mlflows_requests_get_the_same_answers_on_every_lane(lanes, cancer):
    """Those of its corpus, which this model mostly refuses, and some that it takes."""
    names = cancer[2]
    good = [
        {"dataframe_split": {"columns": names, "data": [row(), row(_0=99.5)]}},
        {"dataframe_split": {"columns": names[::-1], "data": [row()[::-1], row(_0=99.5)[::-1]]}},
        {"inputs": {name: [value, value + 1] for name, value in zip(names, row(), strict=True)}, "params": {}},
    ]
    table = ",".join(names) + "\n" + ",".join(map(str, row())) + "\n" + ",".join(map(str, row(_0=99.5))) + "\n"
    bodies = [("application/json", json.dumps(body).encode()) for body in good] + [("text/csv", table.encode())]
    for content_type, body in bodies:
        status, headers, content = invoked(lanes, content_type, body)
        assert (status, headers["x-model-version"]) == (200, ["7"])
        assert len(json.loads(content)["predictions"]) == 2
    for content_type, body in CORPUS.values():
        status, headers, _ = invoked(lanes, content_type, body)
        assert status in {400, 415}
        assert headers["x-request-id"] == ["fixed.id-1"]


def test_names_in_any_order_answer_as_the_list(lanes, cancer):
    """A row by name equals the same row in order."""
    values = dict(zip(cancer[2], row(), strict=True))
    shuffled = dict(sorted(values.items()))
    by_name = same(lanes, lambda port: post(port, json.dumps({"features": shuffled}).encode()))
    assert by_name == same(lanes, lambda port: post(port, features(row())))


@pytest.mark.parametrize(
    ("extra", "content_type", "status"),
    [
        ((), "application/json; charset=utf-8", 200),
        ((), "Application/JSON", 200),
        ((), "text/plain", 415),
        ((), None, 415),
        ((), "application/x-www-form-urlencoded", 415),
        ((), "multipart/form-data; boundary=x", 415),
        (("Accept: application/msgpack",), "application/json", 200),
        (("Content-Encoding: gzip",), "application/json", 400),
        (("Content-Encoding: br",), "application/json", 415),
        (("Content-Encoding: gzip, gzip",), "application/json", 415),
        (("Content-Encoding: identity",), "application/json", 200),
        (("Origin: http://localhost",), "application/json", 200),
        (("X-Request-Id: " + "a" * 128,), "application/json", 200),
        (("X-Request-Id: " + "a" * 129,), "application/json", 400),
        (("X-Request-Id: no spaces",), "application/json", 400),
        (("X-Request-Id: one", "X-Request-Id: two"), "application/json", 200),
        (("X-Other: 1",), "application/json", 200),
        (("X-Deadline-Ms: 60000",), "application/json", 200),
        (("X-Deadline-Ms: 0",), "application/json", 400),
        (("X-Deadline-Ms: soon",), "application/json", 400),
        (("X-Deadline-Ms: 0.000001",), "application/json", 504),
    ],
)
def test_unusual_headers_are_answered_alike(lanes, extra, content_type, status):
    """What the lane does not take, and what it does, looks the same from outside."""
    body = features(row())
    answer = same(lanes, lambda port: _without_made_id(post(port, body, content_type=content_type, extra=extra)))
    assert answer[0] == status


def _without_made_id(answer):
    status, headers, content = answer
    if status == 400 and headers["x-request-id"] != ["fixed.id-1"]:  # the caller's id is refused, so one was made
        made = headers.pop("x-request-id")[0]
        headers.pop("content-length")
        content = content.replace(made.encode(), b"")
    return status, headers, content


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/predict/cancer", 200),
        ("/predict/other", 404),
        ("/predict/", 200),
        ("/predict/cancer/x", 404),
        ("/predict/%63ancer", 200),
        ("/predict/can%2Fcer", 404),
        ("/predict/%25", 404),
        ("/predict?x=1", 200),
        ("/predict/%C3%A4", 404),
        ("//predict", 200),
        ("/Predict", 404),
        ("/nope", 404),
    ],
)
def test_paths_are_answered_alike(lanes, path, status):
    """Escapes, queries, unknown models and unknown routes."""
    answer = same(lanes, lambda port: post(port, features(row()), path=path))
    assert answer[0] == status


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_405_as_a_problem(lanes, method):
    """The error shape is the same for what Litestar refuses by itself."""
    head = f"{method} /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: a".encode()
    status, headers, _ = same(lanes, lambda port: exchange(port, head, b""))
    assert status == 405
    assert headers["content-type"] == ["application/problem+json"]


def test_a_body_over_the_limit_is_413(lanes):
    """A stated length over the limit is refused."""
    body = features(row()) + b" " * MAX_BODY
    assert same(lanes, lambda port: post(port, body))[0] == 413


def test_a_chunked_body_is_scored(lanes):
    """A body of unstated length goes over the bridge and is read whole."""
    body = features(row())
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nX-Request-Id: fixed.id-1"
    )
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:50], body[50:])) + b"0\r\n\r\n"
    answer = same(lanes, lambda port: exchange(port, head, chunks))
    assert answer == same(lanes, lambda port: post(port, body))


def test_a_chunked_body_of_floats_is_scored(lanes):
    """As one of stated length."""
    body = floats(row(), row(_0=99.5))
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/octet-stream\r\n"
        b"Transfer-Encoding: chunked\r\nX-Request-Id: fixed.id-1"
    )
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:50], body[50:])) + b"0\r\n\r\n"
    answer = same(lanes, lambda port: exchange(port, head, chunks))
    assert answer == same(lanes, lambda port: post(port, body, content_type=OCTETS))


def test_a_chunked_body_over_the_limit_is_413(lanes):
    """An unstated length is counted while it comes."""
    part = b" " * 65_536
    chunks = (b"%x\r\n%s\r\n" % (len(part), part)) * (MAX_BODY // len(part) + 1) + b"0\r\n\r\n"
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nX-Request-Id: fixed.id-1"
    )
    assert same(lanes, lambda port: exchange(port, head, chunks))[0] == 413


def packed(values):
    return msgspec.msgpack.encode({"features": values})


def floats(*rows):
    return np.array(rows, "<f4").tobytes()


MSGPACK, OCTETS = "application/msgpack", "application/octet-stream"
BAD_FORMS = {
    "empty": (MSGPACK, b"", 400, "empty"),
    "JSON": (MSGPACK, features(row()), 400, ""),
    "truncated": (MSGPACK, packed(row())[:-3], 400, "truncated"),
    "followed by more": (MSGPACK, packed(row()) + b"x", 400, ""),
    "wrong type": (MSGPACK, packed(row(_3="x")), 400, "$.features[3]"),
    "29 features": (MSGPACK, packed(row(29)), 400, "29 values, the model takes 30"),
    "NaN": (MSGPACK, packed(row(_3=float("nan"))), 400, "no missing value (null) - at `$.features[3]`"),
    "inf": (MSGPACK, packed(row(_3=float("inf"))), 400, "inf is no number to score - at `$.features[3]`"),
    "deep nesting": (MSGPACK, b"\x81\xa8features" + b"\x91" * 100_000, 400, ""),
    "not UTF-8": (MSGPACK, b"\x81\xa8features\x81\xa1\xff\x01", 400, ""),
    "msgpack, as JSON": ("application/json", packed(row()), 400, "malformed"),
    "no floats": (OCTETS, b"", 400, "0 bytes are no rows"),
    "half a row": (OCTETS, floats(row(45)), 400, "180 bytes are no rows of this model: 30 float32 values are one"),
    "a byte less": (OCTETS, floats(row())[:-1], 400, "119 bytes are no rows"),
    "NaN among floats": (
        OCTETS,
        floats(row(), row(_3=float("nan"))),
        400,
        "no missing value (NaN) - in row 1, column ",
    ),
    "-inf among floats": (OCTETS, floats(row(_3=float("-inf"))), 400, "-inf is no number to score - in row 0, column "),
    "too many rows": (OCTETS, floats(row(1)) * 30 * 8193, 413, "8193 rows in one request"),
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_bad_body_of_another_form_gets_the_same_clear_error_on_every_lane(lanes, name):
    """Problems are JSON whatever was sent."""
    content_type, body, status, detail = BAD_FORMS[name]
    got, headers, content = same(lanes, lambda port: post(port, body, content_type=content_type))
    assert got == status
    assert headers["content-type"] == ["application/problem+json"]
    assert detail in json.loads(content)["detail"]


SENT = [features(row()), json.dumps({"instances": [row(), row(_0=99.5)] * 200}).encode()]


@pytest.mark.parametrize("content_type", [MSGPACK, "application/x-msgpack", "Application/MsgPack; x=1"])
@pytest.mark.parametrize("body", SENT, ids=["one", "many"])
def test_msgpack_is_answered_as_json_says_it(lanes, body, content_type):
    """In msgpack unless JSON is asked for, with the same stamp and to the bit the same numbers."""
    status, headers, content = same(lanes, lambda port: post(port, body))
    sent = msgspec.msgpack.encode(json.loads(body))
    asked = ("Accept: application/json",)
    assert same(lanes, lambda port: post(port, sent, content_type=content_type, extra=asked)) == (200, headers, content)
    _, packed_headers, packed_content = same(lanes, lambda port: post(port, sent, content_type=content_type))
    assert status == 200
    assert msgspec.msgpack.decode(packed_content) == json.loads(content)
    assert packed_headers["content-type"] == [MSGPACK]
    assert len(packed_content) == int(packed_headers["content-length"][0])
    del headers["content-type"], packed_headers["content-type"], headers["content-length"]
    del packed_headers["content-length"]
    assert packed_headers == headers


def _probabilities(content):
    return [list(one["probabilities"].values()) for one in json.loads(content)["predictions"]]


@pytest.mark.parametrize("shape", [(), ("X-Shape: 400,30",)])
def test_floats_are_answered_by_floats(lanes, shape):
    """To the bit the numbers that the same rows in JSON get, and the shape beside them."""
    _, headers, content = same(lanes, lambda port: post(port, SENT[1]))
    sent = floats(*json.loads(SENT[1])["instances"])
    status, got, scores = same(lanes, lambda port: post(port, sent, content_type=OCTETS, extra=shape))
    assert status == 200
    assert (got["x-shape"], got["content-type"]) == (["400,2"], [OCTETS])
    assert got["x-model-sha256"] == headers["x-model-sha256"]
    assert np.frombuffer(scores, "<f4").reshape(400, 2).tolist() == _probabilities(content)


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("*/*", OCTETS),
        ("application/octet-stream", OCTETS),
        ("application/json", "application/json"),
        ("text/html, Application/JSON;q=0.9, */*", "application/json"),
        ("application/x-msgpack", MSGPACK),
        ("text/html", OCTETS),
        ("", OCTETS),
    ],
)
def test_the_first_form_that_is_accepted_is_answered(lanes, accept, answered):
    """The request's own if none is named that there is; and floats are answered as many rows even if there is one."""
    extra = (f"Accept: {accept}",)
    status, headers, content = same(lanes, lambda port: post(port, floats(row()), content_type=OCTETS, extra=extra))
    assert (status, headers["content-type"]) == (200, [answered])
    if answered == "application/json":
        assert len(json.loads(content)["predictions"]) == 1


def test_one_row_of_msgpack_may_be_answered_by_floats(lanes):
    """Two scores, of one row."""
    extra = ("Accept: application/octet-stream",)
    _, headers, content = same(lanes, lambda port: post(port, packed(row()), content_type=MSGPACK, extra=extra))
    assert (headers["x-shape"], len(content)) == (["1,2"], 8)


def test_a_shape_that_is_not_the_body_s_is_refused_on_every_lane(lanes):
    """It is checked if it is there."""
    extra = ("X-Shape: 2,15",)
    status, _, content = same(lanes, lambda port: post(port, floats(row()), content_type=OCTETS, extra=extra))
    assert status == 400
    assert "X-Shape is '2,15', the body has 1,30" in json.loads(content)["detail"]


@pytest.mark.parametrize("content_type", [MSGPACK, OCTETS])
def test_another_form_may_be_compressed_or_named_by_path(lanes, content_type):
    """The same answer, and the same 404."""
    body = packed(row()) if content_type == MSGPACK else floats(row())
    plain = same(lanes, lambda port: post(port, body, content_type=content_type))
    extra = ("Content-Encoding: gzip",)
    squeezed = gzip.compress(body)
    assert same(lanes, lambda port: post(port, squeezed, content_type=content_type, extra=extra)) == plain
    assert same(lanes, lambda port: post(port, body, "/predict/cancer", content_type)) == plain
    assert same(lanes, lambda port: post(port, body, "/predict/other", content_type))[0] == 404


PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "Deflate": lambda body: zlib.compress(body, wbits=-15)}


@pytest.mark.parametrize("coding", PACK)
def test_a_compressed_body_is_answered_as_the_plain_one(lanes, coding):
    """Good, bad, cut off and followed by something: a body that inflates is answered to the byte as if sent plain."""
    extra = (f"Content-Encoding: {coding}",)
    for body in (features(row()), GOOD["many rows"], BAD["29 features"][0], b""):
        packed = PACK[coding](body)
        plain = same(lanes, lambda port, body=body: post(port, body))
        assert same(lanes, lambda port, packed=packed: post(port, packed, extra=extra)) == plain
    packed = PACK[coding](features(row()))
    for damaged, words in ((packed[:-3], "cut off"), (packed + b"more", "4 bytes follow"), (b"", "cut off after 0")):
        status, headers, content = same(lanes, lambda port, body=damaged: post(port, body, extra=extra))
        assert (status, headers["content-type"]) == (400, ["application/problem+json"])
        assert words in json.loads(content)["detail"]


def test_a_body_that_inflates_over_the_limit_is_413(lanes):
    """Whatever it is sent as: 64 MiB in 64 kB."""
    bomb = gzip.compress(bytes(1 << 26))
    status, _, content = same(lanes, lambda port: post(port, bomb, extra=("Content-Encoding: gzip",)))
    assert status == 413
    assert f"more than {MAX_BODY} bytes (max_body_bytes)" in json.loads(content)["detail"]


def test_a_body_that_is_cut_off_hurts_nobody_else(lanes):
    """The connection ends in the middle of its body; the next request is answered, and no row was scored."""
    body = features(row())
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    cut = {b"application/json": body, MSGPACK.encode(): packed(row()), OCTETS.encode(): floats(row(), row())}
    for lane, server in lanes.items():
        before = _rows_scored(server)
        for content_type, whole in cut.items():
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(head % (content_type, len(whole)) + whole[:120])
        assert post(server.port, body)[0] == 200, lane
        wait_until(lambda server=server, before=before: _rows_scored(server) == before + 1, what="one row more")
        assert "Traceback" not in server.text(), lane


def _rows_scored(server):
    metrics = server.request("GET", "/metrics")[2].decode()
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("hotgate_rows_total{"))


def values_with(integers):
    return st.recursive(
        st.none() | st.booleans() | integers | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )


json_values = values_with(st.integers())
bodies = (
    st.binary(max_size=60)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(lambda value: json.dumps({"features": value}).encode(), json_values)
    | st.builds(lambda value: json.dumps({"instances": value}).encode(), st.lists(json_values, max_size=3))
    | st.lists(st.floats(width=64) | st.none(), min_size=30, max_size=30).map(features)
)


@settings(max_examples=150)
@given(body=bodies)
def test_generated_bodies_are_answered_alike(lanes, body):
    """Whatever the body is, the lanes agree to the byte, and none answers 5xx."""
    answer = same(lanes, lambda port: post(port, body))
    assert answer[0] < 500


# Open Inference Protocol

V2 = "/v2/models/cancer/infer"


def tensor(rows, datatype="FP32", **fields):
    shape = [len(rows), len(rows[0])]
    return {"name": "X", "shape": shape, "datatype": datatype, "data": rows, **fields}


def v2(*inputs, **fields):
    return json.dumps({"inputs": inputs, **fields}).encode()


def post_v2(port, body, length=None, path=V2, content_type="application/octet-stream", extra=()):
    named = () if length is None else (f"Inference-Header-Content-Length: {length}",)
    return post(port, body, path, content_type, (*named, *extra))


def v2_binary(count, *, name="X", **fields):
    head = v2(
        {"name": name, "shape": [count, 30], "datatype": "FP32", "parameters": {"binary_data_size": 120 * count}},
        **fields,
    )
    return head + struct.pack(f"<{30 * count}f", *range(30 * count)), len(head)


GOOD_V2 = {
    "one row": (v2(tensor([row()])), None),
    "many rows": (v2(tensor([row(), row(_0=99.5)] * 200)), None),
    "flat": (v2({"name": "X", "shape": [1, 30], "datatype": "INT32", "data": list(range(30))}), None),
    "no rows": (v2({"name": "X", "shape": [0, 30], "datatype": "FP32", "data": []}), None),
    "an id, and one output": (v2(tensor([row()]), id="q", outputs=[{"name": "label"}]), None),
    "bytes in": v2_binary(3),
    "bytes in and out": v2_binary(300, parameters={"binary_data_output": True}),
    "JSON in, bytes out": (v2(tensor([row()]), parameters={"binary_data_output": True}), None),
    "JSON with its length": (v2(tensor([row()])), len(v2(tensor([row()])))),
}


@pytest.mark.parametrize("name", GOOD_V2)
@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", None])
def test_a_v2_body_gets_the_same_answer_on_every_lane(lanes, name, content_type):
    """Status, headers and body are equal to the byte, whatever the content type says."""
    body, length = GOOD_V2[name]
    status, headers, _ = same(lanes, lambda port: post_v2(port, body, length, content_type=content_type))
    assert status == 200
    assert headers["x-model-version"] == ["7"]
    assert headers["x-request-id"] == ["fixed.id-1"]


BAD_V2 = {
    "empty": (b"", None, "failed to parse the request JSON buffer"),
    "truncated": (v2(tensor([row()]))[:-20], None, "truncated"),
    "deep nesting": (b'{"inputs":' + b"[" * 100_000, None, "Unable to parse 'inputs'"),
    "deep data": (v2(tensor([row()])).replace(b"[[", b"[" * 100_000), None, "nested too deeply"),
    "no inputs": (b"{}", None, "Unable to parse 'inputs'"),
    "another input": (v2(tensor([row()]) | {"name": "Y"}), None, "unexpected inference input 'Y' for model 'cancer'"),
    "29 columns": (v2(tensor([row(29)])), None, "unexpected shape for input 'X' for model 'cancer'"),
    "text": (v2(tensor([row(_3="x")])), None, "$.inputs[0].data[0][3]"),
    "1e39": (v2(tensor([row()])).replace(b"3.0", b"1e39", 1), None, "does not fit FP32"),
    "null": (v2(tensor([row(_3=None)])), None, "the model takes no missing value (NaN) - in row 0"),
    "another output": (v2(tensor([row()]), outputs=[{"name": "x"}]), None, "unexpected inference output 'x'"),
    "a length too long": (v2(tensor([row()])), 10**6, "inference header size should be in range"),
    "no length": (v2_binary(3)[0], None, "failed to parse the request JSON buffer"),
    "bytes too short": (v2_binary(3)[0][:-1], v2_binary(3)[1], "input byte size mismatch for input 'X'"),
    "bytes too long": (v2_binary(3)[0] + b"x", v2_binary(3)[1], "unexpected additional input data"),
}


@pytest.mark.parametrize("name", BAD_V2)
def test_a_bad_v2_body_gets_the_same_clear_error_on_every_lane(lanes, name):
    """In the protocol's shape."""
    body, length, detail = BAD_V2[name]
    status, headers, content = same(lanes, lambda port: post_v2(port, body, length))
    assert status == 400
    assert headers["content-type"] == ["application/json"]
    assert headers["x-request-id"] == ["fixed.id-1"]
    assert detail in json.loads(content)["error"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_v2_is_answered_alike(lanes, coding):
    """The length of the JSON is that of the inflated body; the answer is compressed as well."""
    body, length = GOOD_V2["bytes in and out"]
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    headers = (f"Content-Encoding: {coding}", f"Accept-Encoding: {coding}")
    status, found, content = same(lanes, lambda port: post_v2(port, packed, length, extra=headers))
    assert (status, found["content-encoding"]) == (200, [coding])
    plain = gzip.decompress(content) if coding == "gzip" else zlib.decompress(content)
    assert plain == post_v2(lanes["rsgi-direct"].port, body, length)[2]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/cancer/versions/7/infer", 200),
        ("/v2/models/cancer/versions/8/infer", 404),
        ("/v2/models/other/infer", 404),
        ("/v2/models/%63ancer/infer", 200),
        ("/v2/models/can%2Fcer/infer", 404),
        ("/v2/models//infer", 405),
        ("/v2/models/cancer/infer/", 200),
        ("/v2/models/cancer/infer?x=1", 200),
        ("/v2/models/cancer", 405),
        ("/v2/nope", 404),
    ],
)
def test_v2_paths_are_answered_alike(lanes, path, status):
    """Errors are the protocol's."""
    got, _, content = same(lanes, lambda port: post_v2(port, v2(tensor([row()])), path=path))
    assert got == status
    assert got == 200 or list(json.loads(content)) == ["error"]


v2_bodies = (
    st.builds(lambda value: v2(tensor([row()]) | {"data": value}), json_values)
    | st.builds(lambda value: json.dumps({"inputs": value}).encode(), json_values)
    | st.builds(
        lambda shape, datatype: v2({"name": "X", "shape": shape, "datatype": datatype, "data": row()}),
        st.lists(st.integers(0, 40), max_size=3) | json_values,
        st.sampled_from(["FP32", "INT8", "BOOL", "BYTES", "BF16", "FP16", "UINT64"]),
    )
    | st.builds(lambda value: v2(tensor([row()]), outputs=value), json_values)
)


@settings(max_examples=100)
@given(body=v2_bodies | st.binary(max_size=60), length=st.none() | st.integers(0, 200))
def test_generated_v2_bodies_are_answered_alike(lanes, body, length):
    """Whatever the body is, the lanes agree to the byte, and none answers 5xx."""
    assert same(lanes, lambda port: post_v2(port, body, length))[0] < 500


packed_values = st.lists(values_with(st.integers(-(2**63), 2**64 - 1)), max_size=3).map(
    lambda rows: msgspec.msgpack.encode({"instances": rows})
)
float_bodies = st.lists(st.floats(width=32), min_size=29, max_size=31).map(floats)


@settings(max_examples=60)
@given(body=st.binary(max_size=60) | packed_values | float_bodies, content_type=st.sampled_from([MSGPACK, OCTETS]))
def test_generated_bodies_of_other_forms_are_answered_alike(lanes, body, content_type):
    """As with JSON."""
    answer = same(lanes, lambda port: post(port, body, content_type=content_type))
    assert answer[0] < 500


def test_every_server_takes_the_lane_that_it_is_there_for(lanes):
    """The comparison would mean nothing if all took the same way."""
    taken = {lane: server.request("GET", "/metrics")[2].decode() for lane, server in lanes.items()}
    for lane, metrics in taken.items():
        server, _, way = lane.partition("-")
        if server == "rsgi":
            assert f'hotgate_lane{{lane="{way}"}} 1.0' in metrics
    for way in ("direct", "loop", "off"):
        gateway = Gateway(WorkerConfig(settings=GatewaySettings(lane=way), store="unused", monitor="unused"))
        assert (gateway._express.find("/predict") is not None) is (way != "off")
