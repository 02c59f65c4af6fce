"""The `curl` lines that address the gateway run as printed, on every page that has no test of its own."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import serving
from sklearn.linear_model import LogisticRegression

from converters import convert

ROOT = Path(__file__).parents[2]
OWN_TESTS = {"http", "mlflow", "v2", "roll-back"}
"""test_http.py, gateway/test_mlflow_parity.py, gateway/v2/test_docs.py, test_roll_back.py."""
PAGES = {
    page.stem: lines
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if page.stem not in OWN_TESTS
    and (
        lines := [
            line
            for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), re.DOTALL)
            for line in re.findall(r"^curl (?:[^'\n]|'[^']*')*localhost:8000(?:[^'\n]|'[^']*')*$", block, re.MULTILINE)
        ]
    )
}


def test_the_pages_with_such_lines_are_those_that_are_known():
    """A new one needs its model below, or a test of its own."""
    assert set(PAGES) == {"README", "deployment", "ground-truth", "guide"}


@pytest.fixture(scope="module")
def churn(tmp_path_factory):
    """The guide's model: its columns, and a label that anybody can learn."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 4)), columns=["age", "income", "tenure", "calls"])
    label = (frame["calls"] > 0).astype(int)
    file = tmp_path_factory.mktemp("churn") / "churn.onnx"
    file.write_bytes(convert(LogisticRegression().fit(frame, label), frame, label).data)
    return file


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed, so its lines cannot be run")
def test_they_run_as_printed(tmp_path, linear, churn):
    """Each is answered with success, and with the fields that the page shows under it."""
    seen = []
    for models, pages in (
        (["--model", f"cancer-classifier={linear.path}"], ["README", "deployment", "ground-truth"]),
        (["--model", f"churn={churn}"], ["guide"]),
    ):
        with serving(tmp_path / pages[0], "--workers", "1", *models) as server:
            for page in pages:
                for line in PAGES[page]:
                    words = shlex.split(line.replace("localhost:8000", f"127.0.0.1:{server.port}"), comments=True)
                    done = subprocess.run(
                        [*words, "-sS", "-w", "\n%{http_code}"], capture_output=True, text=True, check=True
                    )
                    body, _, status = done.stdout.rpartition("\n")
                    assert status in {"200", "202"}, f"{page}: {line}: {status} {body}"
                    seen.append(json.loads(body))
    shown = {"README": seen[0], "ground-truth": seen[2]}
    for page, answer in shown.items():
        path = ROOT / "README.md" if page == "README" else ROOT / "docs" / f"{page}.md"
        printed = json.loads(re.search(r"```json\n(.*?)```", path.read_text(), re.DOTALL)[1])
        assert answer.keys() == printed.keys()
    assert len(seen) == 4
