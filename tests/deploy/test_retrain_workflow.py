"""The workflow that retrains: its step run as it stands, with a `hotgate` that answers as told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

WORKFLOW = Path(__file__).parents[2] / "deploy" / "ci" / "github" / "retrain.yml"
HOTGATE = """#!/bin/sh
printf "[%s]" "$@" > "$RECORDED/call"
echo "cancer-classifier: said"
exit "$CODE"
"""


def _steps() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = msgspec.yaml.decode(WORKFLOW.read_bytes())["jobs"]["retrain"]["steps"]
    return steps


@pytest.mark.parametrize(("said", "code"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 0)])
def test_only_a_brake_that_held_counts_as_done(tmp_path: Path, said: int, code: int) -> None:
    """The job is red for whatever somebody must look at, and the words are in its summary in any case."""
    (tmp_path / "hotgate").write_text(HOTGATE)
    (tmp_path / "hotgate").chmod(0o755)
    script = next(step["run"] for step in _steps() if step.get("name") == "retrain")
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RECORDED": str(tmp_path),
        "CODE": str(said),
        "GITHUB_EVENT_PATH": "event with a space.json",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    ran = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, check=False, timeout=30)
    assert ran.returncode == code
    assert (tmp_path / "call").read_text() == "[retrain][--from-github][event with a space.json]"
    assert (tmp_path / "summary.md").read_text() == "cancer-classifier: said\n"


def test_the_brakes_state_is_kept_also_after_a_failure() -> None:
    """What is saved is what the next run restores, under a key that is new in each run."""
    restored, saved = (step for step in _steps() if step.get("uses", "").startswith("actions/cache/"))
    assert saved["if"] == "always()"
    assert saved["with"]["path"] == restored["with"]["path"] == ".hotgate/retrain"
    assert saved["with"]["key"].startswith(restored["with"]["restore-keys"])
    assert "github.run_id" in saved["with"]["key"]
    assert "github.run_attempt" in saved["with"]["key"]
