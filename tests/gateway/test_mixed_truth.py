"""What came true of models of every kind: judged by what they answer with, and no kind ends the observer."""

from __future__ import annotations

import contextlib
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from fakes import Clock
from harness import serving, wait_until
from mixed_model import TARGETS, mixed_model, packed, rows_of

from converters.answers import label_of, score_of
from converters.session import open_session, score
from gateway.feedback import FeedbackLog, Given
from gateway.observe.intake import Intake
from gateway.observe.labels import labels_for
from gateway.observe.performance import PerformanceKeeper
from gateway.observe.performance_source import Limits, PerformanceSource
from gateway.observe.settings import MonitorSettings
from gateway.performance import Horizon, PerformanceReport
from gateway.predictionlog import PredictionLog
from gateway.settings import LogSettings
from gateway.store import Entry
from hotgate import main
from monitoring.performance.estimate import no_estimate
from monitoring.performance.measure import measure_numbers

NOW = 1_800_000_000.0
ROWS = rows_of(400, 5)


class Home:
    """One home whose worker scores `ROWS` with a model of one kind, each as a request of its own."""

    def __init__(self, folder, kind):
        self.folder = folder
        self.clock = Clock(NOW)
        self.keeper = PerformanceKeeper(folder, MonitorSettings(), self.clock, detectors=dict)
        self.data, self.sha256, metadata = mixed_model(kind)
        self.signature = metadata.signature
        self.rows, self.texts = packed(self.signature, ROWS)
        self.ids = [f"r{number}" for number in range(len(ROWS))]

    def score(self, answers):
        """Let a worker hand these answers over, and the observer take them in."""
        log = PredictionLog(self.folder, LogSettings(), self.clock)
        feed = log.open(Entry(version="1", sha256=self.sha256), "m", self.signature)
        feed.append(self.rows[: len(answers)], answers, self.ids[: len(answers)], self.texts[: len(answers)])
        log.close()
        Intake(self.folder, [self.keeper.take], self.clock).look()

    def tell(self, labels):
        """Labels of the rows, in order; returns the report."""
        log = FeedbackLog(self.folder / "spool" / "feedback", self.clock)
        log.keep([Given(name, 0, label) for name, label in zip(self.ids, labels, strict=False)])
        log.close()
        self.clock.now += 100
        assert self.keeper.look() is None
        return self.keeper.reports[0]

    def close(self):
        """End the observer."""
        self.keeper.close()

    def restart(self):
        """Another observer."""
        self.close()
        self.keeper = PerformanceKeeper(self.folder, MonitorSettings(), self.clock, detectors=dict)

    def feedback(self):
        """States of the labels."""
        return {state: n for state, n in self.keeper._opened[0].feedback().items() if n}


@pytest.fixture
def home(tmp_path):
    """Makes one."""
    with contextlib.ExitStack() as stack:

        def make(kind):
            made = Home(tmp_path, kind)
            stack.callback(made.close)
            return made

        yield make


def engine(home):
    """What the model answers to the rows."""
    return score(open_session(home.data), home.signature, home.rows, home.texts)


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_is_judged_and_survives_a_restart(home, kind):
    """By the first target; three in four labels are right, or a number is off by half."""
    home = home(kind)
    answers = engine(home)
    home.score(answers)
    assert home.tell([]).horizons[1].estimated.n == len(ROWS)
    places = label_of(home.signature, answers)
    if places is None:
        labels = (score_of(home.signature, answers) - 0.5).tolist()
    else:
        classes = home.signature.classes
        labels = [classes[(int(at) + (number % 4 == 0)) % len(classes)] for number, at in enumerate(places)]
    report = home.tell(labels)
    assert home.feedback() == {"joined": len(ROWS)}
    home.restart()
    home.clock.now += 100
    home.keeper.look()
    (again,) = home.keeper.reports
    assert again == report
    realised = report.horizons[1].realised
    assert realised.n == len(ROWS)
    if places is None:
        assert report.judged == "number"
        assert (realised.bias.value, realised.mean_absolute_error.value) == pytest.approx((0.5, 0.5), abs=1e-6)
        assert realised.root_mean_squared_error.value == pytest.approx(0.5, abs=1e-6)
        assert (realised.accuracy.reason, report.concept_drift) == ("the model predicts numbers", None)
        assert report.labels == realised.confusion == []
    else:
        assert realised.accuracy.value == (1.0 if len(classes) == 1 else 0.75)
        assert np.trace(realised.confusion) == realised.accuracy.value * len(ROWS)
        assert report.error_rate == pytest.approx(1 - realised.accuracy.value, abs=0.01)
    probabilities = kind in {"probabilities", "three", "class first"}
    assert (report.judged == "probabilities") == probabilities
    assert (realised.log_loss.value is not None) == (report.horizons[1].estimated.accuracy.value is not None)
    assert (realised.log_loss.value is not None) == probabilities


def test_a_number_is_true_of_a_number_only(home):
    """Whole ones are numbers; flags, texts, and what float32 cannot hold are not. A later label takes its place."""
    home = home("several")
    home.score(engine(home))
    home.tell([1, 2.5, True, "3", 1e39, -4])
    assert home.feedback() == {"joined": 3, "unusable": 3}
    assert labels_for(home.folder / "truth.sqlite", home.ids[:6], [0] * 6) == [1.0, 2.5, None, None, None, -4.0]
    home.tell([7.5, 2.5, 0])
    assert labels_for(home.folder / "truth.sqlite", home.ids[:3], [0] * 3) == [7.5, 2.5, 0.0]


def test_labels_before_their_predictions_are_joined(home):
    """Numbers, too."""
    home = home("value")
    log = FeedbackLog(home.folder / "spool" / "feedback", home.clock)
    log.keep([Given("r1", 0, 4.25), Given("r2", 0, "much")])
    log.close()
    home.keeper.look()
    assert home.feedback() == {"waiting": 2}
    home.score(engine(home))
    assert home.tell([]).horizons[0].realised.n == 1
    assert home.feedback() == {"joined": 1, "unusable": 1}


@pytest.mark.parametrize("place", [-1.0, 2.0, 0.5, math.nan])
def test_a_class_that_there_is_not_is_no_prediction(home, place):
    """A graph that gives the class itself may give anything; the others are judged."""
    home = home("given")
    answers = engine(home)[:50]
    answers[:10, 0] = place
    home.score(answers)
    report = home.tell([7] * 50)
    assert (report.horizons[1].realised.n, np.sum(report.horizons[1].realised.confusion)) == (40, 40)
    assert home.feedback() == {"joined": 40, "waiting": 10}


@pytest.mark.parametrize("kind", ["value", "only the class", "probabilities"])
def test_only_figures_that_a_version_can_have_are_held_to_limits(home, kind):
    """A limit on ROC AUC leaves an alarm on accuracy able to end, and says nothing of numbers."""
    home = home(kind)
    answers = engine(home)
    home.score(answers)
    places = label_of(home.signature, answers)
    right = (
        score_of(home.signature, answers) if places is None else np.array(home.signature.classes)[places.astype(int)]
    )
    limits = Limits(accuracy_min=0.9, roc_auc_min=0.9)
    report = home.tell(right.tolist())
    _, condition = PerformanceSource(lambda: [report], limits).look({}, home.clock.now)
    assert condition.evidence == ()
    if places is not None:
        wrong = np.array(home.signature.classes)[1 - places.astype(int)]
        report = home.tell(wrong.tolist())
        _, condition = PerformanceSource(lambda: [report], limits).look({}, home.clock.now)
        names = [found.name for found in condition.evidence]
        assert names == (["accuracy", "roc_auc"] if kind == "probabilities" else ["accuracy"])


def report_of_numbers(errors, first):
    """A report whose last day has these errors, and whose first labels had those."""
    day = measure_numbers(np.zeros(len(errors)), np.asarray(errors))
    horizons = [Horizon(horizon_s=86_400, since=None, realised=day, estimated=no_estimate(0))]
    return PerformanceReport(
        model="m", version="1", sha256="a" * 64, judged="number", labels=[], horizons=horizons,
        first=first and measure_numbers(np.zeros(len(first)), np.asarray(first)),
        concept_drift=None, error_rate=None, changes=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("larger", "evidence"),
    [
        (1.0, ()),
        (1.15, ()),
        (1.22, None),
        (1.5, ("mean_absolute_error", "root_mean_squared_error")),
    ],
)
def test_errors_that_rise_beyond_those_of_the_first_labels_are_a_warning(larger, evidence):
    """With the whole interval; in between nothing can be said. An alarm ends when they are back."""
    first = [(-1.0) ** number * (1 + number % 5) for number in range(1000)]
    report = report_of_numbers([larger * error for error in first], first)
    _, condition = PerformanceSource(lambda: [report], Limits(error_margin=0.2)).look({}, NOW)
    assert (condition.evidence and tuple(found.name for found in condition.evidence)) == evidence
    for found in condition.evidence or ():
        usual = getattr(report.first, found.name).value
        assert (found.statistic, found.severity, found.n) == ("first", "warning", 1000)
        assert (found.value, found.threshold) == pytest.approx((larger * usual, 1.2 * usual))


def test_without_first_labels_nothing_is_said_of_errors():
    """Nor with too few of the last day."""
    none, few = report_of_numbers([9.0] * 100, None), report_of_numbers([9.0] * 5, [1.0] * 1000)
    found = PerformanceSource(lambda: [none, few], Limits()).look({}, NOW)
    assert [condition.evidence for condition in found if condition.kind == "performance"] == [(), None]


@pytest.mark.process
def test_a_mixed_model_is_watched_logged_judged_and_exported(tmp_path):
    """Over HTTP, by real processes: a price and a class, from doubles, texts, whole numbers and flags."""
    data, _, _ = mixed_model("several", "float64")
    path = tmp_path / "mixed.onnx"
    path.write_bytes(data)
    json_type = {"Content-Type": "application/json"}
    with serving(tmp_path, "--model", f"mixed={path}", "--workers", "1") as server:
        prices = []
        for at in range(0, 400, 50):
            body = json.dumps({"instances": ROWS[at : at + 50]}).encode()
            status, _, answer = server.predict(body, **{"X-Request-Id": f"r{at}"})
            assert status == 200, answer
            prices += [row["targets"]["price"]["value"] for row in json.loads(answer)["predictions"]]
        (drift,) = json.loads(server.request("GET", "/monitor/drift?model=mixed")[2])
        bars = json.loads(server.request("GET", "/monitor/histogram?model=mixed&feature=city")[2])
        course = json.loads(server.request("GET", "/monitor/course?model=mixed&horizon_s=900")[2])
        metrics = server.request("GET", "/metrics")[2].decode()
        feedback = [
            {"request_id": f"r{at}", "labels": [price + 2 for price in prices[at : at + 50]]}
            for at in range(0, 400, 50)
        ]
        assert server.request("POST", "/feedback", json.dumps(feedback).encode(), json_type)[0] == 202
        report = wait_until(lambda: _judged(server), what="all labels")
    assert (drift["n"], drift["severity"], drift["label"]) == (400, "none", None)
    assert [bar["label"] for bar in bars["groups"]][-1] == "(other)"
    assert {"<b>Chur</b>", "Bern", "Basel"} == {bar["label"] for bar in bars["groups"][:-1]}
    assert bars["column"]["missing"] == pytest.approx(sum(row[1] is None for row in ROWS) / 400)
    assert course["columns"][-2:] == ["note", "score"]
    assert re.search(r'hotgate_\w+_total\{[^}]*kind="feature",column="city",group="missing"\} [1-9]', metrics)
    realised = report["horizons"][0]["realised"]
    assert (realised["bias"]["value"], realised["mean_absolute_error"]["value"]) == pytest.approx((-2.0, 2.0), abs=1e-5)
    out = tmp_path / "rows.parquet"
    home = {"HOTGATE_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
    page = tmp_path / "report.html"
    told = CliRunner().invoke(main, ["drift", "mixed", "--html", str(page)], env=home)
    assert told.exit_code == 0, told.output
    assert "mean absolute error" in CliRunner().invoke(main, ["drift", "mixed"], env=home).output
    assert "&lt;b&gt;Chur&lt;/b&gt;" in page.read_text()
    assert "<b>Chur" not in page.read_text()
    done = CliRunner().invoke(main, ["export", "mixed", "--labelled-only", "--out", str(out)], env=home)
    assert done.output == f"400 rows, 400 with a label, in {out}\n"
    found = pd.read_parquet(out).sort_values(["request_id", "row"], key=_number)
    assert found[["age", "visits", "member", "note"]].to_numpy().tolist() == [[row[0], *row[2:]] for row in ROWS]
    assert [None if pd.isna(city) else city for city in found["city"]] == [row[1] for row in ROWS]
    assert found["label"].to_numpy() == pytest.approx(np.array(prices) + 2)


def _number(column):
    return column.str[1:].astype(int) if column.name == "request_id" else column


def _judged(server):
    """The report once all labels are in it."""
    models = json.loads(server.request("GET", "/monitor/performance?model=mixed")[2])["models"]
    return models[0] if models and models[0]["horizons"][0]["realised"]["n"] == 400 else None
