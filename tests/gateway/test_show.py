"""`hotgate drift`: what was counted, for eyes, for programs and as a page that needs nothing else."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from gateway.alerts import Alert, Evidence
from gateway.countlog import CountLog
from gateway.counts import ModelCounts, Served
from gateway.observe.alert_file import AlertFile
from gateway.observe.show import seconds_of
from gateway.performance import FILE, Change, Horizon, PerformanceReport, Performances, read_performances
from gateway.store import Cause, Entry, ModelRoles, ModelStore
from gateway.verdicts import judge_past
from hotgate import main
from monitoring import RowCounter, build_reference
from monitoring.performance.estimate import count_scores, estimate, learn_worth, no_estimate
from monitoring.performance.measure import measure, measure_numbers

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


def test_a_horizon_that_nothing_is_kept_for_is_refused_in_the_options_words(home):
    """Counts are kept for a week, by ten seconds at the finest."""
    for since in ("9d", "5s"):
        done = run("cancer", "--since", since)
        assert (done.exit_code, f"--since must be 10s to 7d, not {since}" in done.output) == (1, True)


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
    """Collects tags, text, and of each table row its cells' text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.rows, self.open = [], "", [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self.open = True
        elif tag == "small" and self.open:
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag):
        self.open = self.open and tag not in {"td", "th"}

    def handle_data(self, data):
        self.text += data
        if self.open:
            self.rows[-1][-1] += data

    def row(self, *begin):
        """The one that begins so, without what it begins with."""
        (found,) = [row for row in self.rows if tuple(row[: len(begin)]) == begin]
        return found[len(begin) :]


def read(home, *arguments):
    """The page that is written."""
    path = home / "report.html"
    run("cancer", *arguments, "--html", str(path))
    page = Page()
    page.feed(path.read_text())
    return page


def judged(version, n, labels, *, known=True, changes=()):
    """A report by some rows of the last day, whose scores are a little too sure."""
    p = RNG.beta(0.4, 0.3, n).astype(np.float32)
    probabilities = np.column_stack([1 - p, p])
    truth = (RNG.random(n) < 0.1 + 0.8 * p).astype(np.int64)
    realised = [measure(truth[:some], probabilities[:some]) for some in (0, labels, labels)]
    estimated = estimate(count_scores(probabilities), learn_worth(truth[:labels], probabilities[:labels]))
    return PerformanceReport(
        model="cancer", version=version, sha256=version * 64, labels=["malign & bad", "<benign>"],
        horizons=[
            Horizon(horizon_s=horizon, since=None, realised=found, estimated=estimated)
            for horizon, found in zip((3600, 86_400, 604_800), realised, strict=True)
        ],
        first=realised[1] if known else None, concept_drift=bool(changes) if known else None,
        error_rate=0.25 if known else None, changes=list(changes),
    )  # fmt: skip


def tell(home, *reports):
    """What the observer would write."""
    found = Performances(time=time.time(), feedback={"joined": 1234, "waiting": 0}, models=list(reports))
    (home / "monitor" / FILE).write_bytes(msgspec.json.encode(found))


def interval(figure):
    return f"{figure.value:.3f} {figure.low:.3f} to {figure.high:.3f}"


def test_performance_on_the_page_is_that_of_the_api(home):
    """Figures with their intervals, the curve's points, every cell of the confusion, and what changed."""
    change = Change(detector="page_hinkley", at=time.time(), labels=700, before=0.125, after=0.375, level=0.2)
    tell(home, judged("1", 400, 400), judged("2", 800, 600, changes=[change]))
    report = next(found for found in read_performances(home / "monitor").models if found.version == "2")
    page, day = read(home), report.horizons[1]
    assert page.row("Labelled rows") == ["0", "600", "600", "600"]
    for name, field in (
        ("Accuracy", "accuracy"), ("ROC AUC", "roc_auc"), ("Log loss", "log_loss"), ("Brier score", "brier"),
        ("Calibration error", "calibration_error"),
    ):  # fmt: skip
        needed = 100 if field == "calibration_error" else 30
        assert page.row(name)[:2] == [f"- 0 labels, {needed} are needed", interval(getattr(day.realised, field))]
    assert page.row("Accuracy, estimated")[0] == interval(day.estimated.accuracy)
    assert f"error {day.realised.calibration_error.value:.3f} (" in page.text
    assert f"chance alone gives {day.realised.calibration_by_chance:.3f}" in page.text
    assert f"Accuracy, last day{day.realised.accuracy.value:.3f}" in page.text
    assert "Calibration (last day, 600 labels)" in page.text
    points = [(float(attrs["cx"]), float(attrs["cy"])) for tag, attrs in page.tags if tag == "circle"]
    curve = [(100 * found.score, 100 - 100 * found.rate) for found in day.realised.reliability]
    assert np.array(points) == pytest.approx(np.array(curve), abs=0.051)
    for label, row in zip(report.labels, day.realised.confusion, strict=True):
        assert page.row(label) == [f"{n:,} {n / sum(row):.1%}" for n in row]
    assert [row[1:] for row in page.rows if row[1] == "page-hinkley"] == [["page-hinkley", "700", "12.5%", "37.5%"]]
    assert "Labels of all models, by what became of them: 1,234 joined." in page.text
    assert "25.0% of the newest labels are errors" in page.text


def test_performance_in_the_terminal_and_as_json_is_the_same(home):
    """As the observer wrote it."""
    tell(home, judged("2", 800, 600))
    (report,) = read_performances(home / "monitor").models
    shown = json.loads(run("cancer", "--json").output)
    assert msgspec.convert(shown["performance"], PerformanceReport) == report
    assert shown["feedback"]["joined"] == 1234
    day, lines = report.horizons[1], run("cancer").output.splitlines()
    for name, figure in (
        ("accuracy", day.realised.accuracy), ("ROC AUC", day.realised.roc_auc), ("log loss", day.realised.log_loss),
        ("Brier score", day.realised.brier), ("calibration error", day.realised.calibration_error),
        ("accuracy, estimated", day.estimated.accuracy), ("log loss, estimated", day.estimated.log_loss),
    ):  # fmt: skip
        (cells,) = [line.split("│") for line in lines if line.startswith(f"│ {name} ")]
        assert cells[3].strip() == f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
    assert "concept drift: no; 25.0% of the newest labels are errors" in lines


def told_of_numbers(realised, n):
    """A report on a model of numbers."""
    horizons = [
        Horizon(horizon_s=horizon, since=None, realised=realised, estimated=no_estimate(n))
        for horizon in (3600, 86_400, 604_800)
    ]
    return PerformanceReport(
        model="cancer", version="2", sha256="2" * 64, judged="number", labels=[], horizons=horizons,
        first=None, concept_drift=None, error_rate=None, changes=[],
    )  # fmt: skip


def test_of_numbers_errors_are_told_and_nothing_that_they_never_have(home):
    """On the page and in the terminal; no confusion, no curve, no estimate."""
    realised = measure_numbers(np.zeros(400), RNG.normal(2.0, 1.0, 400))
    tell(home, told_of_numbers(realised, 900))
    page, lines = read(home), run("cancer").output.splitlines()
    for name, figure in (
        ("mean absolute error", realised.mean_absolute_error), ("bias", realised.bias),
        ("root mean squared error", realised.root_mean_squared_error),
    ):  # fmt: skip
        assert page.row(name.capitalize())[:3] == [interval(figure)] * 3
        (cells,) = [line.split("│") for line in lines if line.startswith(f"│ {name} ")]
        assert cells[3].strip() == f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
    assert f"Mean absolute error, last hour{realised.mean_absolute_error.value:.3f}" in page.text
    assert page.row("Scored rows")[:3] == ["900"] * 3
    assert "concept drift: not looked for: numbers are never quite right" in lines
    for text in (page.text.lower(), "\n".join(lines).lower()):
        assert not {word for word in ("confusion", "calibration", "log loss", "estimate") if word in text}


def test_before_labels_come_nothing_is_expected_of_numbers(home):
    """It is said how to send labels."""
    tell(home, told_of_numbers(measure_numbers(np.zeros(0), np.zeros(0)), 900))
    page, said = read(home), run("cancer").output
    for text in (page.text, said):
        assert "o labels yet: POST /feedback" in text
        assert "expect" not in text
    assert page.row("Scored rows") == ["900"] * 3


def test_before_labels_come_there_are_estimates_and_it_is_said_how_to_send_labels(home):
    """No curve and no confusion of nothing."""
    tell(home, judged("2", 800, 0, known=False))
    page, said = read(home), run("cancer").output
    assert "No labels yet: POST /feedback. Until then, what scores let expect" in page.text
    assert "no labels yet: POST /feedback; until then" in said
    for text in (page.text, said):
        assert "accuracy, estimated" in text.lower()
        assert "onfusion" not in text
    assert page.row("Scored rows") == ["800"] * 3
    assert "Accuracy, last hour" in page.text


def test_where_nothing_is_known_each_part_says_so(home):
    """Also of a version under whose name another file was judged."""
    tell(home, msgspec.structs.replace(judged("2", 800, 600), sha256="f" * 64))
    page, said = read(home), run("cancer").output
    assert "No labels yet: POST /feedback; nor is there an estimate" in page.text
    assert "performance: no labels yet: POST /feedback; nor" in said
    assert "None in this time." in page.text
    assert "Alerts" not in said
    shown = json.loads(run("cancer", "--json").output)
    assert (shown["performance"], shown["alerts"]) == (None, [])


def alert(name, *, model="cancer", ended=None, text="", silenced=False):
    evidence = [Evidence(name="<moved>", statistic="psi", value=0.5, threshold=0.1, n=200, window_s=900)]
    return Alert(
        id=name, state="firing" if ended is None else "resolved", model=model, version="2" * bool(model),
        sha256="2" * 64 * bool(model), kind="data_drift", severity="critical", started_at=time.time() - 7200,
        ended_at=ended, evidence=evidence, text=text, silenced=silenced,
    )  # fmt: skip


def test_alerts_of_the_time_are_told_once_as_they_stand(home):
    """Of this model and of the server; those that ended before are left out, and torn lines."""
    now, file = time.time(), AlertFile(home / "monitor" / "alerts.jsonl")
    for one in (
        alert("over"), alert("over", ended=now - 60), alert("old", ended=now - 3700), alert("other", model="else"),
        alert("server", model="", text="Free <some> room."), alert("quiet", silenced=True),
    ):  # fmt: skip
        file.deliver(one)
    with (home / "monitor" / "alerts.jsonl").open("ab") as torn:
        torn.write(b'{"id": "half')
    shown = json.loads(run("cancer", "--json").output)["alerts"]
    assert {found["id"]: found["state"] for found in shown} == {
        "server": "firing", "quiet": "firing", "over": "resolved",
    }  # fmt: skip
    assert shown[-1]["id"] == "over"
    rows = [row for row in read(home).rows if row[0] == "critical data drift"]
    assert {(row[1], row[2], row[3]) for row in rows} == {
        ("<moved> (psi 0.5, limit 0.1)", "2", "resolved"), ("<moved> (psi 0.5, limit 0.1)", "2", "firing, silenced"),
        ("<moved> (psi 0.5, limit 0.1). Free <some> room.", "-", "firing"),
    }  # fmt: skip
    assert {row[5] for row in rows} == {"-", f"{datetime.fromtimestamp(now - 60).astimezone():%Y-%m-%d %H:%M}"}
    assert run("cancer").output.count("critical data drift") == 3


def test_versions_tell_when_they_served_on_how_many_rows_and_how_well(home):
    """By the store's history, also of one that came back; drift and rows within the horizon."""
    tell(home, judged("1", 400, 400))
    now = time.time() // 60 * 60
    store = ModelStore(home / "store")
    for sha256 in ("1" * 64, "2" * 64):
        store.object_path(sha256).parent.mkdir(parents=True, exist_ok=True)
        store.object_path(sha256).touch()
    for ago, version, reason in ((90, "1", "first"), (60, "2", "better"), (45, "1", "<worse>"), (30, "2", "mended")):
        store.clock = lambda ago=ago: now - 60 * ago
        models = {"cancer": ModelRoles(champion=Entry(version=version, sha256=version * 64))}
        with store.writer() as writer:
            writer.publish(models, {("cancer", "champion"): Cause(reason=reason, who="ada")})
    shown = json.loads(run("cancer", "--since", "2h", "--json").output)["versions"]
    newest = shown[0]
    told = newest["version"], newest["n"], newest["severity"], newest["worst"]
    assert told == ("2", 1200, "critical", "<moved>")
    minutes = [
        [(round(now - found["start"]) // 60, found["end"] and round(now - found["end"]) // 60) for found in periods]
        for periods in (found["periods"] for found in shown)
    ]
    assert minutes == [[(60, 45), (30, None)], [(90, 60), (45, 30)]]
    first = shown[1]
    assert (first["version"], first["n"], first["labels"]) == ("1", 1200, 400)
    page = read(home, "--since", "2h")
    served = page.row(f"1 {'1' * 12}")
    begin, end = (datetime.fromtimestamp(now - 60 * ago).astimezone() for ago in (45, 30))
    assert served[0].startswith(f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} <worse>, by ada")
    assert served[1:3] == ["1,200", "no drift"]
    assert served[-2].startswith(f"{first['accuracy']['value']:.3f} ")
    assert page.row(f"2 (this report) {'2' * 12}")[2] == "critical"
    lines = run("cancer", "--since", "2h").output
    assert f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}" in lines


def test_a_damaged_report_on_performance_is_told(home):
    """With its path, and what mends it."""
    (home / "monitor" / FILE).write_bytes(b'{"time": 1')
    done = run("cancer")
    assert done.exit_code == 1
    assert re.search(r"performance.json is damaged .*writes it anew within a minute", done.output)


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


def test_pictures_of_drift_hold_the_numbers(home):
    """PSI over time by column, and the share of every bar."""
    shown, page = json.loads(run("cancer", "--json").output), read(home)
    course = np.array([point["psi"]["<moved>"] for point in shown["course"]])
    points = next(attrs["points"] for tag, attrs in page.tags if tag == "polyline" and attrs["class"] == "s0")
    x, y = np.array([point.split(",") for point in points.split()], dtype=float).T
    assert x == pytest.approx(np.linspace(0, 600, 6), abs=0.1)
    assert 100 - y == pytest.approx(100 * course / course.max(), abs=0.01)
    bars = [(attrs["class"], float(attrs["height"])) for tag, attrs in page.tags if tag == "rect"]
    moved = next(column["groups"] for column in shown["columns"] if column["name"] == "<moved>")
    most = max(max(group["reference"], group["current"]) for group in moved)
    assert bars[: 2 * len(moved)] == [
        (kind, pytest.approx(100 * group[part] / most, abs=0.051))
        for group in moved
        for kind, part in (("before", "reference"), ("now", "current"))
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nobody",), "no model 'nobody' served here, but cancer"),
        (("cancer", "--version", "9"), "cancer version 9 was never served here, but 1, 2"),
        (("cancer", "--since", "soon"), "a duration is a number and one of s, m, h, d, such as 6h, not 'soon'"),
        (("cancer", "--html", "/nowhere/report.html"), "No such file or directory: '/nowhere/report.html'"),
        (("cancer", "--since", "30d"), "--since must be 10s to 7d, not 30d"),
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
