"""Right requests in every form of every protocol, and what their answers say of each row."""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.fuzz.models import CITIES, MARKS, score_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Rows = list[list[Any]]

__all__ = ["COLUMNS", "FORMS", "Case", "read_scores", "right_case"]

JSON = "application/json"
MSGPACK = "application/msgpack"
OCTETS = "application/octet-stream"
HEADER_LENGTH = "Inference-Header-Content-Length"
COLUMNS = {MARKS: ("mark", "x", "y"), "people": ("mark", "city")}
_SPACING = 5000
_MARKS_MAX = 800
"""Marks are so far apart that no two rows have nearly the same score, and so few that float32 holds them."""


class Case(NamedTuple):
    """One request."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    expected: tuple[float, ...] | None
    """What must be answered of each row; None where anything documented may be."""
    method: str = "POST"
    chunked: bool = False


def right_case(rng: Random, request_id: str) -> Case:
    """A request that must be answered with the scores of its rows."""
    model = rng.choice(tuple(COLUMNS))
    forms = FORMS if model == MARKS else {name: form for name, form in FORMS.items() if name not in _NUMBERS_ONLY}
    form = rng.choice(tuple(forms.values()))
    rows = [_row(rng, model) for _ in range(rng.choice((1, 1, 1, 2, 5, 60)))]
    path, headers, body = form(rows, model)
    return Case(path, (*headers, ("X-Request-Id", request_id)), body, tuple(score_of(model, row) for row in rows))


def _row(rng: Random, model: str) -> list[Any]:
    mark = rng.randrange(_MARKS_MAX) * _SPACING
    return [mark, rng.randrange(20), rng.randrange(20)] if model == MARKS else [mark, rng.choice(CITIES)]


Made = tuple[str, tuple[tuple[str, str], ...], bytes]


def _instances(rows: Any) -> dict[str, Any]:
    return {"features": rows[0]} if len(rows) == 1 else {"instances": rows}


def _named(rows: Rows, model: str) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS[model], row, strict=True)) for row in rows]


def _native(rows: Rows, model: str) -> Made:
    return f"/predict/{model}", (("Content-Type", JSON),), msgspec.json.encode(_instances(rows))


def _native_named(rows: Rows, model: str) -> Made:
    return f"/predict/{model}", (("Content-Type", JSON),), msgspec.json.encode(_instances(_named(rows, model)))


def _msgpack(rows: Rows, model: str) -> Made:
    return f"/predict/{model}", (("Content-Type", MSGPACK),), msgspec.msgpack.encode(_instances(rows))


def _octets(rows: Rows, model: str) -> Made:
    shape = f"{len(rows)},{len(rows[0])}"
    body = np.array(rows, dtype="<f4").tobytes()
    return f"/predict/{model}", (("Content-Type", OCTETS), ("X-Shape", shape)), body


def _v2(rows: Rows, model: str) -> Made:
    tensor = {"name": "X", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": [*chain.from_iterable(rows)]}
    return f"/v2/models/{model}/infer", (("Content-Type", JSON),), msgspec.json.encode({"inputs": [tensor]})


def _v2_columns(rows: Rows, model: str) -> Made:
    inputs = [
        {
            "name": name,
            "shape": [len(rows), 1],
            "datatype": "BYTES" if name == "city" else "FP32",
            "data": [row[place] for row in rows],
        }
        for place, name in enumerate(COLUMNS[model])
    ]
    return f"/v2/models/{model}/infer", (("Content-Type", JSON),), msgspec.json.encode({"inputs": inputs})


def _v2_binary(rows: Rows, model: str) -> Made:
    data = np.array(rows, dtype="<f4").tobytes()
    tensor = {"name": "X", "shape": [len(rows), len(rows[0])], "datatype": "FP32"}
    size = {"parameters": {"binary_data_size": len(data)}}
    head = msgspec.json.encode({"inputs": [{**tensor, **size}], "parameters": {"binary_data_output": True}})
    return f"/v2/models/{model}/infer", (("Content-Type", OCTETS), (HEADER_LENGTH, str(len(head)))), head + data


def _invocations(key: str) -> Callable[[Rows, str], Made]:
    def make(rows: Rows, model: str) -> Made:
        names = COLUMNS[model]
        shapes: dict[str, Any] = {
            "dataframe_split": {"columns": names, "data": rows},
            "dataframe_records": _named(rows, model),
            "instances": _named(rows, model),
            "inputs": {name: [row[place] for row in rows] for place, name in enumerate(names)},
        }
        return f"/invocations/{model}", (("Content-Type", JSON),), msgspec.json.encode({key: shapes[key]})

    return make


def _csv(rows: Rows, model: str) -> Made:
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS[model], *rows])
    return f"/invocations/{model}", (("Content-Type", "text/csv"),), text.getvalue().encode()


FORMS: dict[str, Callable[[Rows, str], Made]] = {
    "JSON": _native,
    "JSON by name": _native_named,
    "msgpack": _msgpack,
    "octets": _octets,
    "V2": _v2,
    "V2 columns": _v2_columns,
    "V2 binary": _v2_binary,
    **{key: _invocations(key) for key in ("dataframe_split", "dataframe_records", "instances", "inputs")},
    "CSV": _csv,
}
_NUMBERS_ONLY = {"octets", "V2", "V2 binary"}


def read_scores(path: str, headers: dict[str, str], body: bytes) -> list[float]:
    """The score of each row of an answer with status 200, whatever its form.

    Raises:
        ValueError: it has none.
    """
    kind = headers.get("content-type", "")
    if kind == OCTETS and HEADER_LENGTH.lower() in headers:
        return _floats(body[int(headers[HEADER_LENGTH.lower()]) :])
    if kind == OCTETS:
        return _floats(body)
    decode: Callable[[bytes], Any] = msgspec.msgpack.decode if kind == MSGPACK else msgspec.json.decode
    try:
        answer = decode(body)
        if path.startswith("/v2"):
            found = answer["outputs"][0]["data"]
        elif path.startswith("/invocations"):
            found = answer["predictions"]
        else:
            found = [row["value"] for row in answer.get("predictions", [answer])]
        return [float(value) for value in found]
    except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"no scores in {body[:200]!r}: {error!r}") from error


def _floats(data: bytes) -> list[float]:
    found: list[float] = np.frombuffer(data, dtype="<f4").tolist()
    return found
