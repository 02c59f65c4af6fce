"""What clients do wrong: bodies, headers and paths beside the right ones."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from benchmarks.fuzz.forms import Case

__all__ = ["mutated", "sent_otherwise"]

_TOKENS = (
    *(b"NaN", b"-Infinity", b"1e400", b"1e39", b"-0", b"null", b"true", b'"x"', b"1" * 400, b"9007199254740993"),
    *(b"18446744073709551616", b"[" * 3000, b"{" * 3000, b'{"a":' * 2000, b'"\\ud800"', b'"\\u0000"', b"\xff\xfe"),
    *(
        "é\u2028\U0001f600".encode(),
        b",",
        b":",
        b"]",
        b"}",
        b'"',
        b'"features":[1,2,3],',
        b'"instances":[],',
        b'"inputs":[],',
    ),
    *(
        b'"mark":1,',
        b'"shape":[-1,3],',
        b'"shape":[4294967296,4294967296],',
        b'"datatype":"FP64",',
        b"\x00",
        b"\r\n\r\n",
    ),
    *(
        b'"parameters":{"binary_data_size":-1},',
        b"\xdd\xff\xff\xff\xff",
        b"\xc1",
        b"\x00\x00\xc0\x7f",
        b"GET / HTTP/1.1\r\n\r\n",
    ),
)
_HEADERS = {
    "Content-Type": (
        *("application/json; charset=utf-8", "APPLICATION/JSON", "text/plain", "application/xml", "text/csv", ""),
        *("application/msgpack", "application/octet-stream", "application/json; charset=latin-1", "a/b/c", ";;;"),
    ),
    "X-Request-Id": ("", "a b", "x" * 129, "x" * 128, "é", "a.b:c-d_e", "{}", "null"),
    "X-Deadline-Ms": ("", "0", "-1", "soon", "1e3", "60000", "60000.5", "0.000001", "9" * 12, "9" * 13, "٣"),
    "X-Shape": ("", "1", "1,3", "-1,3", "0,3", "a,b", "9999999999,3", "1,3,1"),
    "Inference-Header-Content-Length": ("", "0", "-1", "1", "99999999999999999999", "x", "40"),
    "Content-Encoding": ("gzip", "deflate", "br", "identity", "gzip, gzip", "", "GZIP"),
    "Accept": ("*/*", "application/msgpack", "application/octet-stream", "text/html", "application/json;q=0", ",,;"),
    "Accept-Encoding": ("gzip", "deflate", "gzip;q=0", "*", "br"),
    "Origin": ("http://elsewhere.example", "null"),
    "X-Forwarded-For": ("::1, " * 50,),
    "Cookie": ("a=b; " * 200,),
}
_PATHS = (
    *(
        "/predict",
        "/predict/",
        "/predict/nobody",
        "/predict/%6darks",
        "/predict/marks/",
        "/predict/ma%2Frks",
        "/predict?x=1",
    ),
    *(
        "/predict/%00",
        "/predict/%FF",
        "//predict",
        "/Predict",
        "/v2/models/marks/versions/file/infer",
        "/v2/models//infer",
    ),
    *(
        "/v2/models/marks/versions/1/infer",
        "/v2/models/nobody/infer",
        "/v2/nothing",
        "/invocations",
        "/invocations/nobody",
    ),
    *("/invocations/marks/", "/../predict", "/predict/" + "a" * 2000, "/feedback", "/health", "/nowhere", "/v2"),
)
_METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")


def mutated(rng: Random, case: Case) -> Case:
    """The same with something wrong, or unusual, in it: what it answers is not known."""
    found = case._replace(expected=None)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = rng.choice(_MUTATIONS)(rng, found)
    return found


def sent_otherwise(rng: Random, case: Case) -> Case:
    """The same request in another dress: compressed, or in chunks."""
    way = rng.randrange(3)
    if way == 0:
        return case._replace(chunked=True)
    coding = rng.choice(("gzip", "deflate"))
    body = gzip.compress(case.body, mtime=0) if coding == "gzip" else zlib.compress(case.body)
    return case._replace(body=body, headers=(*case.headers, ("Content-Encoding", coding)), chunked=way == 1)


def _other_body(rng: Random, case: Case) -> Case:
    body = bytearray(case.body)
    at = rng.randrange(len(body) + 1)
    to = min(len(body), at + rng.choice((1, 1, 3, 20, 1000)))
    way = rng.randrange(8)
    if way == 0:
        body[at:to] = b""
    elif way == 1:
        body[at:at] = body[at:to]
    elif way == 2:
        body[at:to] = rng.randbytes(to - at)
    elif way == 3:
        body = body[:at]
    elif way == 4:
        body = bytearray(rng.randbytes(rng.choice((0, 1, 12, 200))))
    else:
        body[at : at if way < 7 else to] = rng.choice(_TOKENS)
    return case._replace(body=bytes(body))


def _other_number(rng: Random, case: Case) -> Case:
    """A value of its own, where the grammar has one: what a flipped byte seldom hits."""
    digits = [at for at, byte in enumerate(case.body) if 48 <= byte <= 57]
    if not digits:
        return _other_body(rng, case)
    at = to = rng.choice(digits)
    while to in digits[:2000]:
        to += 1
    return case._replace(body=case.body[:at] + rng.choice(_TOKENS) + case.body[max(to, at + 1) :])


def _other_header(rng: Random, case: Case) -> Case:
    """Instead of its own, or sometimes behind it.

    granian shows no value that is not ASCII: of two, a lane then sees none and the bridge the other, so it stays alone.
    """
    name = rng.choice(tuple(_HEADERS))
    text = rng.choice(_HEADERS[name])
    twice = rng.random() < 0.1 and all(one[1].isascii() for one in (*case.headers, (name, text)))
    kept = [one for one in case.headers if one[0] != name or twice]
    return case._replace(headers=(*kept, (name, text)))


def _no_header(rng: Random, case: Case) -> Case:
    gone = rng.choice([name for name, _ in case.headers if name != "X-Request-Id"] or [""])
    return case._replace(headers=tuple(one for one in case.headers if one[0] != gone))


def _other_path(rng: Random, case: Case) -> Case:
    return case._replace(path=rng.choice(_PATHS))


def _other_method(rng: Random, case: Case) -> Case:
    return case._replace(method=rng.choice(_METHODS))


_MUTATIONS: tuple[Callable[[Random, Case], Case], ...] = (
    *(_other_body,) * 5,
    *(_other_number,) * 4,
    *(_other_header,) * 4,
    *(_no_header, _other_path, _other_path, _other_method),
    sent_otherwise,
)
