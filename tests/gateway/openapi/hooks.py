"""What schemathesis cannot know by the description alone: rows that fit, and how msgpack is read."""

from __future__ import annotations

import msgspec
import schemathesis

ROW = [5, 1.5, -2.0]
MANY = [ROW, [6, 0.0, 1e3]]
TENSOR = {"name": "X", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
SERVED = {"model": "marks", "version": "file"}
BODIES = {
    "/predict": [{"features": ROW}, {"instances": MANY}, {"features": {"mark": 1, "x": 2, "y": 3}}],
    "/predict/{model}": [{"features": [5, "Bern"]}, {"instances": [[5, "Basel"], [6, "?"]]}],
    "/invocations": [{"instances": MANY}, {"dataframe_split": {"columns": ["mark", "x", "y"], "data": MANY}}],
    "/invocations/{model}": [{"inputs": MANY}, {"dataframe_records": [{"mark": 5, "city": "Bern"}]}],
    "/v2/models/{model}/infer": [{"inputs": [TENSOR]}, {"id": "a", "inputs": [TENSOR]}],
    "/v2/models/{model}/versions/{version}/infer": [{"inputs": [TENSOR]}],
    "/feedback": [{"request_id": "a", "label": 1}, [{"request_id": "a", "labels": [1, 2.5, "x", True]}]],
}


@schemathesis.hook
def before_load_schema(_context, schema):
    """Bodies that are answered with 200 are among the examples, so that such answers are held to the description."""
    for path, bodies in BODIES.items():
        content = schema["paths"][path]["post"]["requestBody"]["content"]
        content["application/json"]["examples"] = {str(at): {"value": body} for at, body in enumerate(bodies)}
    for item in schema["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["examples"] = {
                        "only": {"value": {"model": "marks", "version": "file"}[parameter["name"]]}
                    }


@schemathesis.deserializer("application/msgpack")
def read_msgpack(_context, response):
    """As JSON would be."""
    return msgspec.msgpack.decode(response.content)


@schemathesis.serializer("application/msgpack")
def write_msgpack(_context, value):
    """As JSON would be; a whole number that msgpack has no form for makes a body that is none."""
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:
        return b"\xc1"
