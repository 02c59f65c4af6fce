"""Several models behind one gateway: each has its own queue and limits, and pays for its own crowd."""

from __future__ import annotations

import json

import pytest
from harness import Traffic, serving, wait_until

pytestmark = pytest.mark.process

LIMITS = {"HOTGATE_GATEWAY_MAX_BATCH_ROWS": "256", "HOTGATE_GATEWAY_QUEUE_LIMIT_ROWS": "256"}


@pytest.mark.parametrize("lane", ["direct", "loop"])
def test_a_model_that_is_overrun_refuses_its_own_requests_and_no_others(tmp_path, linear, forest, cancer, lane):
    """Sixteen callers with more rows than may wait; two callers of the other model are all answered, by that one."""
    one = json.dumps({"features": cancer[0][0].tolist()}).encode()
    many = json.dumps({"instances": cancer[0][:200].tolist()}).encode()
    models = [
        part for name, made in (("calm", linear), ("crowd", forest)) for part in ("--model", f"{name}={made.path}")
    ]
    env = {**LIMITS, "HOTGATE_GATEWAY_LANE": lane}
    with serving(tmp_path, "--workers", "1", *models, env=env) as server:
        calm = Traffic(server.port, one, connections=2, path="/predict/calm")
        crowd = Traffic(server.port, many, connections=16, path="/predict/crowd")
        with calm, crowd:
            wait_until(lambda: sum(status == 503 for _, status, *_ in crowd.answers) > 200, what="refusals")
            before = len(calm.answers)
            wait_until(lambda: len(calm.answers) > before + 200, what="answers of the calm model")
    assert {status for _, status, *_ in crowd.answers} == {200, 503}
    assert {(status, sha256) for _, status, _, sha256, _ in calm.answers} == {(200, linear.file.sha256)}
    assert {sha256 for _, status, _, sha256, _ in crowd.answers if status == 200} == {forest.file.sha256}
    assert (calm.lost, crowd.lost) == (0, 0)
