"""KServe's client, which is 400 MB with what it needs: in an environment of its own, where there is one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

PYTHON = os.environ.get("HOTGATE_KSERVE_PYTHON")

pytestmark = pytest.mark.process


@pytest.mark.skipif(PYTHON is None, reason="HOTGATE_KSERVE_PYTHON names no Python with kserve (0.21)")
def test_kserves_client_is_served(served, linear, cancer):
    """Live, ready, and inference as JSON and as bytes."""
    rows = np.asarray(cancer[0][:3], dtype=np.float32)
    name = linear.file.metadata.signature.input_name
    program = Path(__file__).with_name("kserve_client.py")
    done = subprocess.run(
        [PYTHON, str(program), str(served.port), name, json.dumps(rows.tolist())],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [found.pop(what) for what in ("live", "ready", "model", "no model")] == [True, True, True, False]
    labels = linear.estimator.predict(cancer[0][:3]).tolist()
    for answer in found.values():
        assert (answer["id"], answer["label"]) == ("k-1", labels)
        probabilities = linear.estimator.predict_proba(cancer[0][:3])
        assert np.abs(np.array(answer["probabilities"]) - probabilities).max() < 1e-5
