"""Replicas that share nothing but a model file, and a real Prometheus that adds them up."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from harness import free_port, serving, wait_until

from gateway.counts import ModelCounts
from monitoring import judge

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
PSI = "model_version_column:hotgate_psi:increase60s"
VALUES = "model_version_column:hotgate_column_values:increase60s"
SCRAPES = 25

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: Debian has it"),
]


@contextlib.contextmanager
def prometheus(folder, targets):
    """A Prometheus that scrapes five times a second and judges a window of a minute every second."""
    folder.mkdir()
    rules = (RULES / "recording.yml").read_text().replace("interval: 1m", "interval: 1s").replace("15m", "60s")
    (folder / "recording.yml").write_text(rules)
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "rule_files": ["recording.yml"],
        "scrape_configs": [{"job_name": "hotgate", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))

    def command(port):
        return [
            "prometheus", "--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip

    with serving(folder, command=command, port=free_port(), ready="/-/ready") as server:
        yield lambda expression: _asked(server, expression)


def _asked(server, expression):
    """Values, by the labels that tell the results apart."""
    answer = json.loads(server.request("GET", f"/api/v1/query?query={quote(expression)}")[2])
    assert answer["status"] == "success", answer
    return {
        (one["metric"].get("kind"), one["metric"].get("column"), one["metric"].get("instance")): float(one["value"][1])
        for one in answer["data"]["result"]
    }


def union(homes, sha256):
    """What all of these have counted, and with which reference."""
    folders = [ModelCounts(home / "monitor" / "counts" / sha256) for home in homes]
    return folders[0].reference(), [sum(span.counts for span in folder.spans()) for folder in folders]


def test_psi_by_prometheus_is_the_psi_of_the_union(tmp_path, linear, cancer):
    """Two gateways of different traffic, one of two workers: each column within the stated error of `increase`.

    The factor by which `increase` extrapolates is at most 1 + 2.2/k for k + 1 scrapes, so √PSI + 2 is off by at most
    its square root (docs/operations.md). What one replica sees is far outside of that.
    """
    rows = cancer[0][np.argsort(cancer[0][:, 0])]
    traffic = [rows[:284].tolist() * 4, rows[284:].tolist()]
    names = ("one", "two")
    with contextlib.ExitStack() as stack:
        gateways = [
            stack.enter_context(serving(tmp_path / name, "--model", f"m={linear.path}", "--workers", workers))
            for name, workers in zip(names, "12", strict=True)
        ]
        targets = [f"127.0.0.1:{gateway.port}" for gateway in gateways]
        ask = stack.enter_context(prometheus(tmp_path / "prometheus", targets))
        score = 'hotgate_column_rows_total{kind="score"}'
        wait_until(lambda: len(ask(f"sum by (instance) ({score}) == 0")) == 2, what="both at 0")
        for gateway, instances in zip(gateways, traffic, strict=True):
            for start in range(0, len(instances), 50):
                body = json.dumps({"instances": instances[start : start + 50]}).encode()
                assert gateway.predict(body)[0] == 200
        wait_until(
            lambda: sorted(ask(f"sum by (instance) ({score})").values()) == sorted(map(len, traffic)),
            what="all counted",
        )
        held = "min(count_over_time(hotgate_column_rows_total[60s]))"
        wait_until(lambda: ask(held).popitem()[1] > SCRAPES, what="enough scrapes")
        (now,) = ask("vector(time())").values()
        wait_until(lambda: min(ask(f"timestamp({PSI})").values(), default=0) > now, what="the rules")
        found, values = ask(PSI), ask(VALUES)
    reference, counts = union([tmp_path / name / "home" for name in names], linear.file.sha256)
    truth = judge(reference, sum(counts))
    assert truth.n == sum(map(len, traffic))
    factor = 1 + 2.2 / SCRAPES

    def error(psi, true):
        return max((math.sqrt(psi) + 2) / (math.sqrt(true) + 2), (math.sqrt(true) + 2) / (math.sqrt(psi) + 2))

    columns = {("feature", column.name, None): column for column in truth.features}
    columns["score", "score", None] = truth.score
    assert columns.keys() <= found.keys()
    for key, column in columns.items():
        assert error(found[key], column.psi) <= math.sqrt(factor)
        assert column.n <= values[key] <= column.n * factor
    for alone in counts:
        assert error(judge(reference, alone).features[0].psi, truth.features[0].psi) > factor**2
