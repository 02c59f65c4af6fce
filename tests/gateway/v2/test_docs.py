"""What docs/v2.md shows is what happens."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

DOCS = (Path(__file__).parents[3] / "docs" / "v2.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)[1]


def test_every_line_prints_what_stands_below_it(served):
    """As they stand, but for the port."""
    lines = block("sh").splitlines()
    for command, expected in zip(lines[::2], lines[1::2], strict=True):
        done = subprocess.run(
            ["bash", "-c", command.replace("localhost:8000", f"127.0.0.1:{served.port}")],
            capture_output=True,
            check=True,
            text=True,
        )
        assert f"# {done.stdout}" == expected


def test_the_client_prints_what_stands_behind_it(served, capsys):
    """The whole program."""
    program = block("python")
    exec(program.replace("localhost:8000", f"127.0.0.1:{served.port}"), {})
    assert capsys.readouterr().out.strip() == program.rstrip().rpartition("# ")[2]
