"""`docs/http.md`: its lines run as printed, and its tables are the code's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from harness import serving

from gateway.routes import _PROBLEMS

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


def test_every_status_is_explained():
    """Those of OpenAPI, no more and no less."""
    assert re.findall(r"^\| `(\d{3})` \|", PAGE, re.MULTILINE) == [str(status) for status in sorted(_PROBLEMS)]


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed, so its lines cannot be run")
def test_its_lines_run_as_printed(tmp_path, linear):
    """Every one is answered with 200, in its form, and all say the same of the same row."""
    heads = tmp_path / "heads"
    heads.mkdir()
    keep = f'curl() {{ command curl -S --max-time 20 -D "$(mktemp {heads}/XXXXXX)" "$@"; }}'
    with serving(tmp_path, "--model", f"cancer-classifier={linear.path}") as server:
        lines = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace(
            "localhost:8000", f"127.0.0.1:{server.port}"
        )
        script = f"set -euo pipefail\n{keep}\n{lines}"
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["bash", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answered = Counter(_head(file.read_text()) for file in heads.iterdir())
    assert answered == {("200", "json"): 6, ("200", "msgpack"): 1, ("200", "octet-stream"): 1}

    wanted = linear.estimator.predict_proba([json.loads(re.search(r"ROW='(.*?)'", PAGE, re.DOTALL)[1])])[0]
    printed = [json.loads(one) for one in re.findall(r"\{[^{}]*\{[^{}]*\}\}", done.stdout)]
    assert len(printed) == 3
    found = [*printed, msgspec.msgpack.decode((tmp_path / "answer.msgpack").read_bytes())]
    for file in ("many.json", "floats.json"):
        found += json.loads((tmp_path / file).read_text())["predictions"]
    rows = [list(one["probabilities"].values()) for one in found]
    rows += np.frombuffer((tmp_path / "scores.f32").read_bytes(), "<f4").reshape(2, 2).tolist()
    assert len(rows) == 10
    assert rows == [pytest.approx(wanted, abs=1e-5)] * 10


def _head(text):
    return text.split()[1], re.search(r"content-type: application/(\S+)", text)[1]
