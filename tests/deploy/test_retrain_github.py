"""The workflow that answers an alert on GitHub: its shell step as it stands, and the way an alert is sent to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml
from retrain_world import alert

from deploy.retrain_cli import EXIT_CODES
from deploy.retraining.alert import alert_of_github

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / "deploy" / "ci" / "github" / "retrain.yml").read_text())
DOCS = (ROOT / "docs" / "retraining.md").read_text()


@pytest.mark.parametrize("code", sorted({2, 4, *EXIT_CODES.values()}))
def test_a_run_is_green_if_a_version_passed_or_a_brake_held(tmp_path, code):
    """Every other exit code turns it red; the summary holds what was decided."""
    (step,) = [one for one in WORKFLOW["jobs"]["retrain"]["steps"] if one.get("name") == "answer the alert"]
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "hotgate"
    program.write_text(f'#!/bin/sh\necho "decided on $*"\nexit {code}\n')
    program.chmod(0o755)
    environment = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "GITHUB_EVENT_PATH": "/event.json",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]], cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == (0 if code == 5 else code)
    assert "decided on retrain --from-github /event.json" in (tmp_path / "summary").read_text()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed: apt-get install jq")
def test_the_documented_way_of_sending_makes_an_event_that_is_read(tmp_path):
    """The type is the one that the workflow waits for, and GitHub's ten keys are not exceeded."""
    (program,) = re.findall(r"jq -c '([^']+)'", DOCS)
    done = subprocess.run(["jq", "-c", program], input=msgspec.json.encode(alert()), capture_output=True, check=True)
    sent = json.loads(done.stdout)
    assert [sent["event_type"]] == WORKFLOW[True]["repository_dispatch"]["types"]  # YAML takes `on` for true
    assert len(sent["client_payload"]) <= 10
    event = {"action": sent["event_type"], "client_payload": sent["client_payload"]}
    assert alert_of_github(json.dumps(event).encode()) == alert()
