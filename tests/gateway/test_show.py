"""`hotgate drift`: what was counted, for eyes, for programs and as a page that needs nothing else."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from gateway.countlog import CountLog
from gateway.counts import ModelCounts, Served
from gateway.observe.show import seconds_of
from gateway.verdicts import judge_past
from hotgate import main
from monitoring import RowCounter, build_reference

RNG = np.random.default_rng(0)
NAMES = ["calm", "<moved>"]
REFERENCE = build_reference(
    RNG.normal(size=(1000, 2)), RNG.random(1000), names=NAMES, kinds=["float"] * 2, graph_sha256="00"
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Version 1 had calm rows an hour ago; version 2 has had drifted ones, some out of range, for half an hour."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path))
    now = time.time() // 300 * 300
    for version, since, shift in (("1", now - 5400, 0.0), ("2", now - 1800, 1.0)):
        shared = ModelCounts(tmp_path / "monitor" / "counts" / (version * 64))
        shared.describe(REFERENCE)
        shared.tell_served(Served(model="cancer", version=version, since=since))
        counter, clock = RowCounter(REFERENCE), [since]
        log = CountLog(shared, REFERENCE, counter.size, lambda clock=clock: clock[0])
        for _ in range(6):
            rows = RNG.normal(size=(200, 2))
            rows[:, 1] += shift
            rows[: round(16 * shift), 0] = 99
            counter.add(log.current(), rows, RNG.random(200))
            log.commit()
            clock[0] += 300
        log.close()
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["drift", *arguments], env={"COLUMNS": "160"})


def test_the_version_that_serves_is_shown_with_what_moved_first(home):
    """Exit code 3 says drift."""
    done = run("cancer")
    assert done.exit_code == 3, done.output
    assert "cancer version 2 (222222222222), 1,200 rows since" in done.output
    rows = [line for line in done.output.splitlines() if "<moved>" in line or "calm" in line or "score" in line]
    assert "<moved>" in rows[0]
    assert "critical" in rows[0]
    assert re.search(r"calm +│ +1,200 │.*│ +0\.0% │ +8\.\d% ! │ +none │", rows[1] + rows[2])


def test_an_older_version_is_shown_by_name(home):
    """Exit code 0 says none; further back than its rows there is more of it."""
    done = run("cancer", "--version", "1", "--since", "2h", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.output)
    assert (shown["report"]["version"], shown["report"]["n"], shown["report"]["severity"]) == ("1", 1200, "none")
    assert json.loads(run("cancer", "--version", "1", "--since", "45m", "--json").output)["report"]["n"] == 0


def test_the_impact_on_the_score_stands_beside_the_shift(home):
    """Where the model file says what a feature does to the score, with its sign; a dash elsewhere."""
    path = home / "monitor" / "counts" / ("2" * 64) / "reference.json"
    features = [REFERENCE.features[0], msgspec.structs.replace(REFERENCE.features[1], effects=[0.1] * 5 + [0.0] * 5)]
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(REFERENCE, features=features)))
    rows = run("cancer").output.splitlines()
    moved, calm = (next(line for line in rows if name in line) for name in ("<moved>", "calm"))
    assert re.search(r"-0\.0[1-5]\d", moved)
    assert re.search(r" - ", calm)
    shown = json.loads(run("cancer", "--json").output)["report"]["features"]
    assert shown[0]["impact"] is None
    assert -0.05 < shown[1]["impact"] < -0.01
    page = home / "report.html"
    run("cancer", "--html", str(page))
    assert f"<td>{shown[1]['impact']:+.3f}</td>" in page.read_text()


def test_json_is_the_verdict_of_the_api_with_histograms_and_course(home):
    """Shares sum to one; each step that has rows is there."""
    shown = json.loads(run("cancer", "--json").output)
    report = judge_past(home / "monitor" / "counts", "cancer", None, 3600.0, time.time() // 10 * 10)
    assert shown["report"]["features"][1]["psi"] == report.features[1].psi
    assert [column["name"] for column in shown["columns"]] == [*NAMES, "score"]
    for column in shown["columns"]:
        assert sum(group["reference"] for group in column["groups"]) == pytest.approx(1)
        assert sum(group["current"] for group in column["groups"]) == pytest.approx(1)
    moved = shown["columns"][1]["groups"]
    assert moved[-1]["current"] > 3 * moved[-1]["reference"]
    assert len(shown["course"]) == 6
    assert all(point["n"] == 200 and point["psi"]["<moved>"] > 0.3 > point["psi"]["calm"] for point in shown["course"])


class Page(HTMLParser):
    """Collects tags and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone_and_shows_every_column(home, tmp_path):
    """No script and no address in it; names are text, whatever they hold."""
    path = tmp_path / "report.html"
    assert run("cancer", "--html", str(path)).exit_code == 3
    page = Page()
    page.feed(path.read_text())
    kinds = [tag for tag, _ in page.tags]
    assert not {"script", "link", "img", "moved"} & set(kinds)
    assert not re.search(r"https?://|url\(", path.read_text())
    assert kinds.count("figure") == 3
    assert kinds.count("polyline") == 3
    assert "<moved>" in page.text
    assert [attrs["title"] for tag, attrs in page.tags if tag == "td" and "title" in attrs] == [
        "the training data has no such values"
    ]
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nobody",), "no model 'nobody' served here, but cancer"),
        (("cancer", "--version", "9"), "cancer version 9 was never served here, but 1, 2"),
        (("cancer", "--since", "soon"), "a duration is a number and one of s, m, h, d, such as 6h, not 'soon'"),
        (("cancer", "--since", "30d"), "horizon_s must be 10 to 604800, not 2.592e+06"),
    ],
)
def test_what_cannot_be_shown_is_told(home, arguments, text):
    """With exit code 1."""
    done = run(*arguments)
    assert (done.exit_code, text in done.output) == (1, True), done.output


def test_durations():
    """In the four units that people use."""
    assert [seconds_of(text) for text in ("90s", "15m", "1.5h", "7d")] == [90, 900, 5400, 604_800]


def test_a_home_in_which_nothing_served_says_so(tmp_path, monkeypatch):
    """Rather than a list of no models."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path))
    done = run("cancer")
    assert (done.exit_code, done.output) == (1, "Error: no model 'cancer' served here, nor any other\n")
