"""Prometheus' rules: the formulas of `monitoring`, and alerts that come when they should and say what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from monitoring.psi import null_psi, psi
from monitoring.tails import chi_square_tail

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here: it comes with Debian's prometheus"
)


def run_promtool(*arguments, cwd=RULES):
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@promtool
def test_promtool_accepts_the_rules_and_their_own_tests_pass():
    """`promtool check rules` and `promtool test rules`, as an operator would run them."""
    assert run_promtool("check", "rules", "--lint-fatal", "recording.yml", "alerts.yml")[0] == 0
    code, said = run_promtool("test", "rules", *(str(path) for path in sorted(RULES.glob("tests/*.yml"))))
    assert code == 0, said
    assert "SUCCESS" in said


def test_the_rules_over_six_hours_are_those_over_fifteen_minutes():
    """But for the range, and how often they are looked at."""
    _, short, long = (RULES / "recording.yml").read_text().split("\n  - name: ")[-3:]
    assert long.strip() == short.replace("15m", "6h").replace("interval: 1m", "interval: 5m").strip()


def test_every_alert_says_what_to_do_and_uses_what_there_is():
    """Each has a severity, a summary, a description and a test; all metrics in all rules are documented or recorded."""
    page = (RULES.parents[1] / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `(hotgate_\w+)`", page, re.MULTILINE))
    files = [yaml.safe_load((RULES / name).read_text()) for name in ("recording.yml", "alerts.yml")]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    known.update(rule["record"] for rule in rules if "record" in rule)
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    tried = (RULES / "tests" / "alerts.yml").read_text()
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert name in tried
    texts = [text for rule in rules for text in (rule["expr"], *rule.get("annotations", {}).values())]
    for name in re.findall(r"[\w:]*hotgate_[\w:]+", " ".join(texts)):
        assert name.removesuffix("_bucket") in known


def case(rng, index):
    """One model: a reference and live rows of one column, some groups empty on either side, and what is expected."""
    groups = int(rng.integers(2, 11))
    shape = rng.dirichlet(np.full(groups, 0.7), 2)
    reference, live = rng.multinomial(int(rng.integers(20, 2000)), shape[0]), rng.multinomial(900, shape[1])
    if index % 3 == 0:
        reference[0] = live[0] = 0
        reference[1] += 20
    labels = f'model="m{index}",version="1",sha256="ab",kind="feature",column="a"'
    series = [
        {"series": f'hotgate_{name}{{{labels},instance="x",group="{group}"}}', "values": values}
        for group in range(groups)
        # A minute's increase each minute: `increase` over 15 minutes is then exact.
        for name, values in (
            ("column_rows_total", f"0+{live[group]}x20"),
            ("reference_rows", f"{reference[group]}x20"),
        )
    ]
    live = 15 * live
    n, m = int(live.sum()), int(reference.sum())
    distance = psi(reference, live)
    expected = {
        "psi": distance,
        "psi_excess": distance - null_psi(int((reference + live > 0).sum()), n, m),
        "column_values": n,
    }
    return series, labels, expected


@promtool
def test_psi_of_the_rules_is_the_psi_of_monitoring(tmp_path):
    """On 25 pairs of histograms, empty groups included, to 1e-9."""
    rng = np.random.default_rng(5)
    cases = [case(rng, index) for index in range(25)]
    (tmp_path / "recording.yml").write_text((RULES / "recording.yml").read_text())
    checks = [
        {
            "expr": f"round(model_version_column:hotgate_{name}:increase15m{{{labels}}} - {value!r}, 1e-9)",
            "eval_time": "18m",
            "exp_samples": [{"labels": f"{{{labels}}}", "value": 0}],
        }
        for _, labels, expected in cases
        for name, value in expected.items()
    ]
    tests = [
        {
            "interval": "1m",
            "input_series": [one for series, _, _ in cases for one in series],
            "promql_expr_test": checks,
        }
    ]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["recording.yml"], "tests": tests}))
    code, said = run_promtool("test", "rules", "test.yml", cwd=tmp_path)
    assert code == 0, said[:2000]


@pytest.mark.parametrize("groups", [2, 3, 5, 10])
def test_the_level_of_chance_in_the_rules_is_that_of_the_chi_square(groups):
    """Wilson and Hilferty's cube at four standard deviations has a tail below one in 30,000, and not far below."""
    freedom = groups - 1
    level = freedom * (1 - 2 / 9 / freedom + 4 * (2 / 9 / freedom) ** 0.5) ** 3
    assert 1 / 75_000 < chi_square_tail(freedom, level) < 1 / 30_000
