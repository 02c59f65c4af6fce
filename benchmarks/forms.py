"""The same rows in the form of every protocol that the gateway speaks, and what its answers say of them."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["FORMS", "Form", "Sent", "check_form"]

JSON = "application/json"
BINARY = "application/octet-stream"


class Sent(NamedTuple):
    """A request's path, headers and body."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Form(NamedTuple):
    """One way to ask."""

    make: Callable[[Floats, Sequence[str], str], Sent]
    """Of rows, the columns' names and the model's name."""
    read: Callable[[dict[str, str], bytes], list[Any]]
    """Of an answer's headers, by lower-case name, and body: what it says of each row, the last class's probability or
    its prediction."""
    predictions: bool = False
    """Whether an answer has predictions only."""


def _native(rows: Floats, _: Sequence[str], model: str) -> Sent:
    return Sent(f"/predict/{model}", (("Content-Type", JSON),), msgspec.json.encode(_instances(rows.tolist())))


def _named(rows: Floats, names: Sequence[str], model: str) -> Sent:
    named = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    return Sent(f"/predict/{model}", (("Content-Type", JSON),), msgspec.json.encode(_instances(named)))


def _msgpack(rows: Floats, _: Sequence[str], model: str) -> Sent:
    body = msgspec.msgpack.encode(_instances(rows.tolist()))
    return Sent(f"/predict/{model}", (("Content-Type", "application/msgpack"),), body)


def _instances(rows: list[Any]) -> dict[str, Any]:
    return {"features": rows[0]} if len(rows) == 1 else {"instances": rows}


def _raw(rows: Floats, _: Sequence[str], model: str) -> Sent:
    return Sent(f"/predict/{model}", (("Content-Type", BINARY),), rows.astype("<f4").tobytes())


def _v2(rows: Floats, _: Sequence[str], model: str) -> Sent:
    tensor = {"name": "X", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    body = msgspec.json.encode({"inputs": [tensor], "outputs": [{"name": "probabilities"}]})
    return Sent(f"/v2/models/{model}/infer", (("Content-Type", JSON),), body)


def _v2_binary(rows: Floats, _: Sequence[str], model: str) -> Sent:
    data = rows.astype("<f4").tobytes()
    tensor = {
        "name": "X",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(data)},
    }
    output = {"name": "probabilities", "parameters": {"binary_data": True}}
    head = msgspec.json.encode({"inputs": [tensor], "outputs": [output]})
    headers = (("Content-Type", BINARY), ("Inference-Header-Content-Length", str(len(head))))
    return Sent(f"/v2/models/{model}/infer", headers, head + data)


def _invocations(rows: Floats, names: Sequence[str], _: str) -> Sent:
    body = msgspec.json.encode({"dataframe_split": {"columns": list(names), "data": rows.tolist()}})
    return Sent("/invocations", (("Content-Type", JSON),), body)


def _read_native(decode: Callable[[bytes], Any]) -> Callable[[dict[str, str], bytes], list[Any]]:
    def read(_: dict[str, str], body: bytes) -> list[Any]:
        answer = decode(body)
        return [list(row["probabilities"].values())[-1] for row in answer.get("predictions", [answer])]

    return read


def _read_raw(headers: dict[str, str], body: bytes) -> list[Any]:
    shape = [int(part) for part in headers["x-shape"].split(",")]
    found: list[Any] = np.frombuffer(body, dtype="<f4").reshape(shape)[:, -1].tolist()
    return found


def _read_v2(headers: dict[str, str], body: bytes) -> list[Any]:
    length = int(headers.get("inference-header-content-length", len(body)))
    (output,) = msgspec.json.decode(body[:length])["outputs"]
    data = output["data"] if length == len(body) else np.frombuffer(body[length:], dtype="<f4")
    found: list[Any] = np.reshape(np.asarray(data, dtype=np.float64), output["shape"])[:, -1].tolist()
    return found


def _read_invocations(_: dict[str, str], body: bytes) -> list[Any]:
    found: list[Any] = msgspec.json.decode(body)["predictions"]
    return found


FORMS = {
    "JSON": Form(_native, _read_native(msgspec.json.decode)),
    "JSON, by name": Form(_named, _read_native(msgspec.json.decode)),
    "msgpack": Form(_msgpack, _read_native(msgspec.msgpack.decode)),
    "raw float32": Form(_raw, _read_raw),
    "V2 JSON": Form(_v2, _read_v2),
    "V2 binary": Form(_v2_binary, _read_v2),
    "/invocations": Form(_invocations, _read_invocations, predictions=True),
}


def check_form(form: Form, port: int, sent: Sent, expected: Sequence[Any], tolerance: float) -> None:
    """Ask once and hold the answer to what is expected of each row.

    Raises:
        BenchError: it is another.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", sent.path, sent.body, dict(sent.headers))
        answer = connection.getresponse()
        headers, body = {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchError(f"{sent.path} answered {answer.status}: {body[:300]!r}")
    found = form.read(headers, body)
    right = found == list(expected) if form.predictions else np.allclose(found, expected, rtol=0, atol=tolerance)
    if len(found) != len(expected) or not right:
        raise BenchError(f"{sent.path} answered {found[:3]}, expected {list(expected[:3])}")
