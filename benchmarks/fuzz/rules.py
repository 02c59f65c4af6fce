"""What is held against an answer: its status, its shape, its rows, and what the other lanes say."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.fuzz.forms import read_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.fuzz.forms import Case
    from benchmarks.fuzz.wire import Answer, Script

__all__ = ["comparable", "fault_of", "faults_of_script"]

_TOLERANCE = 4.0
"""Scores of two rows are a thousand apart; float32 holds them to half of one."""
_DOCUMENTED = {200, 202, 204, 400, 403, 404, 405, 413, 415, 422, 503, 504}
_TIMED = {503, 504}
_PASSING = {"date", "server", "connection", "transfer-encoding"}
_FIELDS = {"type", "title", "status", "detail", "request_id"}


def faults_of_script(script: Script, answers: Sequence[Answer]) -> list[str]:
    """What is wrong with the answers on one connection."""
    if script.cut:
        return []
    found = [fault for case, answer in zip(script.cases, answers, strict=False) if (fault := fault_of(case, answer))]
    # The server may close behind a request that it did not read to its end; behind a right one it may not.
    around = script.cases[max(0, len(answers) - 1) : len(answers) + 1]
    if len(answers) < len(script.cases) and all(case.expected is not None for case in around):
        found.append(f"{len(answers)} answers to {len(script.cases)} requests, the last a right one")
    return found


def fault_of(case: Case, answer: Answer) -> str | None:
    """What is wrong with an answer; None: nothing."""
    if answer.status not in _DOCUMENTED:
        return f"status {answer.status}: {answer.body[:300]!r}"
    if answer.status in _TIMED and "retry-after" not in answer.headers and answer.status == 503:
        return "503 without Retry-After"
    if case.expected is not None and answer.status not in _TIMED:
        return _wrong_scores(case, answer)
    if answer.status >= 400 and case.method != "HEAD":
        return _wrong_shape(case, answer)
    return None


def _wrong_scores(case: Case, answer: Answer) -> str | None:
    if answer.status != 200:
        return f"a right request is answered with {answer.status}: {answer.body[:300]!r}"
    try:
        scores = read_scores(case.path, answer.headers, answer.body)
    except ValueError as error:
        return str(error)
    expected = case.expected or ()
    near = [abs(got - wanted) < _TOLERANCE for got, wanted in zip(scores, expected, strict=False)]
    if len(scores) != len(expected) or not all(near):
        return f"another's answer: {scores[:5]} for rows whose scores are {list(expected[:5])}"
    given = dict(case.headers).get("X-Request-Id")
    if answer.headers.get("x-request-id") != given:
        return f"X-Request-Id {answer.headers.get('x-request-id')!r} instead of {given!r}"
    return None


def _wrong_shape(case: Case, answer: Answer) -> str | None:
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if not answer.body and answer.status == 400 and not kind:
        return None  # no request at all by HTTP's rules: the server's own refusal
    if kind == "text/plain" and answer.status == 415 and case.path.startswith("/invocations"):
        return None
    try:
        said: dict[str, Any] = msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return f"{answer.status} in no protocol's words: {kind!r} {answer.body[:300]!r} ({error})"
    if kind == "application/problem+json":
        right = set(said) == _FIELDS and said["status"] == answer.status
    else:
        right = kind == "application/json" and set(said) in ({"error"}, {"error_code", "message"})
    return None if right else f"{answer.status} in no protocol's words: {kind!r} {answer.body[:300]!r}"


def comparable(script: Script, answers: Sequence[Answer]) -> list[Any] | None:
    """What must be equal on all lanes, but for what depends on time, and ids that were made; None: nothing."""
    if script.cut or any(answer.status in _TIMED for answer in answers):
        return None
    return [_lasting(case, answer) for case, answer in zip(script.cases, answers, strict=False)]


def _lasting(case: Case, answer: Answer) -> tuple[int, dict[str, str], bytes | _Scores]:
    headers = {name: text for name, text in answer.headers.items() if name not in _PASSING}
    body = answer.body
    made = headers.get("x-request-id", "")
    if made and ("X-Request-Id", made) not in case.headers:
        del headers["x-request-id"]
        headers.pop("content-length", None)
        body = body.replace(made.encode("latin-1"), b"")
    if "x-model-name" not in headers:
        return answer.status, headers, body
    headers.pop("content-length", None)
    whole = answer.body
    plain = zlib.decompress(whole, wbits=47) if headers.get("content-encoding") else whole  # gzip or zlib
    return answer.status, headers, _Scores(read_scores(case.path, headers, plain))


class _Scores(list[float]):
    """Equal but for the last digits, which depend on who else is in the batch: a sum's order does."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Scores) and len(self) == len(other) and all(map(_near, self, other))

    __hash__ = None


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=_TOLERANCE)
