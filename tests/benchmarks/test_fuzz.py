"""The fuzzer's rules, seen to fail; and some of its rounds against a gateway of each lane."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from benchmarks.fuzz.forms import Case, right_case
from benchmarks.fuzz.mutate import mutated
from benchmarks.fuzz.rules import comparable, fault_of, faults_of_script
from benchmarks.fuzz.run import fuzz, gateways
from benchmarks.fuzz.wire import Answer, Script, request_bytes, script_of

CASE = Case("/predict/marks", (("X-Request-Id", "a"),), b'{"features":[5000,1,1]}', (4999.0,))
ID = {"content-type": "application/json", "x-request-id": "a"}
PROBLEM = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "d", "request_id": "a"}
WRONG = CASE._replace(expected=None)


def answer(status=200, headers=None, /, **body):
    return Answer(status, {**ID, **(headers or {})}, msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("case", "given", "fault"),
    [
        (CASE, answer(value=4999.5), None),
        (CASE, answer(value=9999.0), "another's answer"),
        (CASE, answer(predictions=[{"value": 4999.0}] * 2), "another's answer"),
        (CASE, answer(label="x"), "no scores"),
        (CASE, answer(200, {"x-request-id": "b"}, value=4999.0), "X-Request-Id 'b'"),
        (CASE, answer(400, **PROBLEM), "a right request is answered with 400"),
        (CASE, answer(503, {"retry-after": "1"}, error="e"), None),
        (CASE, answer(503, error="e"), "without Retry-After"),
        (WRONG, answer(500, **PROBLEM), "status 500"),
        (WRONG, answer(400, {"content-type": "application/problem+json"}, **PROBLEM), None),
        (WRONG, answer(404, {"content-type": "application/problem+json"}, **PROBLEM), "no protocol's words"),
        (WRONG, answer(400, **PROBLEM), "no protocol's words"),
        (WRONG, answer(400, error="e"), None),
        (WRONG, Answer(400, ID, b"<html>"), "no protocol's words"),
        (WRONG, Answer(400, {}, b""), None),
    ],
)
def test_an_answer_that_breaks_a_rule_is_a_fault(case, given, fault):
    """Its status, its protocol's words, its rows, its id."""
    found = fault_of(case, given)
    assert (found is None) if fault is None else (fault in found)


def test_a_right_request_without_an_answer_is_a_fault():
    """A server may close behind a wrong one only."""
    right, wrong = Script((CASE, CASE), (b"",)), Script((WRONG, CASE), (b"",))
    assert faults_of_script(right, [answer(value=4999.0)]) == ["1 answers to 2 requests, the last a right one"]
    assert faults_of_script(right, []) == ["0 answers to 2 requests, the last a right one"]
    assert faults_of_script(wrong, [answer(400, error="e")]) == []


def test_lanes_are_compared_but_for_time_and_made_ids():
    """A made id counts neither as header nor in the body, and of a score the last digits do not."""
    script = Script((WRONG,), (b"",))
    one, two = (
        [Answer(400, {"x-request-id": made, "content-length": str(len(made))}, made.encode())] for made in ("b1", "b12")
    )
    assert comparable(script, one) == comparable(script, two) == [(400, {}, b"")]
    assert comparable(script, [answer(400, error="e")]) != comparable(script, [answer(400, error="f")])
    assert comparable(script, [answer(504, error="e")]) is None
    stamp = {"x-model-name": "marks"}
    scored = [comparable(script, [answer(200, stamp, value=value)]) for value in (5e16, 5.0000001e16, 6e16)]
    assert scored[0] == scored[1] != scored[2]


def test_a_seed_makes_the_same_bytes_again():
    """Whatever is in them; and pieces are the requests, cut."""

    def made(seed):
        rng = Random(seed)
        cases = tuple(mutated(rng, right_case(rng, str(at))) for at in range(50))
        return cases, script_of(rng, cases[:3])

    assert made(1) == made(1) != made(2)
    for seed in range(20):
        cases, script = made(seed)
        whole = b"".join(map(request_bytes, cases[:3]))
        assert whole.startswith(b"".join(script.pieces)) if script.cut else b"".join(script.pieces) == whole


@pytest.mark.process
def test_no_request_is_answered_wrongly_or_with_anothers_rows(tmp_path):
    """Some seconds of what `make fuzz` does for an hour."""
    with gateways(tmp_path) as servers:
        report = fuzz(servers, tmp_path, seed=6, first=0, seconds=12, say=print)
    assert {"200", "400", "404", "405", "415"} <= report.statuses.keys()
    assert report.rounds > 20
