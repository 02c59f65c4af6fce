"""The way in which an alert is sent to GitHub's workflow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml
from retrain_world import alert

from deploy.retraining.alert import alert_of_github

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / "deploy" / "ci" / "github" / "retrain.yml").read_text())
DOCS = (ROOT / "docs" / "retraining.md").read_text()


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
