"""From joined labels to reports, alarms and answers."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from harness import serving, wait_until
from sklearn import metrics
from truth_world import NOW, VERSION, World

from gateway.alerts import Evidence
from gateway.errors import BadRequest, NotFound
from gateway.observe import error_streams
from gateway.observe.error_streams import river_detectors
from gateway.observe.intake import Batch
from gateway.observe.judging import FIRST_ROWS, HORIZONS_S, REFRESH_S, REPORT_S, VERSIONS_MAX, Judging
from gateway.observe.performance import PerformanceKeeper
from gateway.observe.performance_source import Limits, PerformanceSource
from gateway.observe.settings import MonitorSettings
from gateway.observe.truth import Truth
from gateway.performance import FILE, Performances, read_performances, select
from gateway.predictions import FrameHead, pack_frame, read_frame


class Mean:
    """A detector that tells when the last 50 values differ from the 50 before by more than 0.3."""

    def __init__(self):
        self.values = []
        self.drift_detected = False

    def update(self, x):
        self.values.append(x)
        last, before = self.values[-50:], self.values[-100:-50]
        self.drift_detected = len(before) == 50 and abs(np.mean(last) - np.mean(before)) > 0.3


def detectors():
    return {"adwin": Mean()}


class Stream:
    """A world in which a label follows each prediction; `p` is the probability of class 1."""

    def __init__(self, folder, make=detectors):
        self.world = World(folder, detectors=make)
        self.rng = np.random.default_rng(0)
        self.judging = self.judge()

    def judge(self):
        return Judging(self.world.folder, self.world.truth, self.world.streams, self.world.clock)

    def go(self, n, *, flipped=0.0, labelled=True):
        """`n` rows whose labels come with the probabilities told; a share of labels is turned round."""
        start, self.world.now = self.world.now, self.world.now + n
        p = self.rng.beta(0.3, 0.3, n).astype(np.float32)
        truth = (self.rng.random(n) < p) ^ (self.rng.random(n) < flipped)
        ids = [f"{start:.0f}-{index}" for index in range(n)]
        self.world.predict(ids, p, at=self.world.now)
        if labelled:
            self.world.tell(*((name, int(label)) for name, label in zip(ids, truth, strict=True)))
        return truth.astype(int), p

    def report(self):
        """The newest one."""
        self.world.now += REFRESH_S
        self.judging.look()
        (report,) = self.judging.reports
        return report


@pytest.fixture
def stream(tmp_path):
    """Nothing has come yet."""
    return Stream(tmp_path)


def test_horizons_hold_what_was_predicted_in_them_and_say_what_scikit_learn_says(stream):
    """The newest hour, day and week; an estimate of all rows, labelled or not."""
    week = stream.go(300)
    stream.world.now += 2 * 86_400
    day = stream.go(200)
    stream.world.now += 7200
    hour = stream.go(400)
    stream.go(500, labelled=False)
    report = stream.report()
    assert [horizon.horizon_s for horizon in report.horizons] == list(HORIZONS_S)
    expected = [hour, [*map(np.concatenate, zip(hour, day, strict=True))]]
    expected.append([*map(np.concatenate, zip(*[expected[1], week], strict=True))])
    for horizon, (truth, p), scored in zip(report.horizons, expected, (900, 1100, 1400), strict=True):
        found = horizon.realised
        assert (found.n, horizon.estimated.n) == (truth.size, scored)
        assert found.accuracy.value == pytest.approx(metrics.accuracy_score(truth, p > 0.5))
        assert found.roc_auc.value == pytest.approx(metrics.roc_auc_score(truth, p))
        assert found.log_loss.value == pytest.approx(metrics.log_loss(truth, p), rel=1e-4)
        assert found.confusion == metrics.confusion_matrix(truth, p > 0.5).tolist()
        assert horizon.estimated.accuracy.low <= found.accuracy.value <= horizon.estimated.accuracy.high
    assert report.horizons[0].since == pytest.approx(NOW + 2 * 86_400 + 7200 + 900)
    assert (report.model, report.version, report.labels) == ("cancer", "1", ["malignant", "benign"])
    assert read_performances(stream.world.folder).models == [report]


def test_a_file_is_written_when_something_is_new_and_now_and_then(stream):
    """Not at every look."""
    path = stream.world.folder / FILE
    stream.judging.look()
    stream.go(40)
    stream.judging.look()
    first = msgspec.json.decode(path.read_bytes(), type=Performances)
    assert first.feedback["joined"] == 40
    stream.world.now += REPORT_S
    stream.judging.look()
    assert read_performances(stream.world.folder) == first
    stream.world.tell(("nobody", 1))
    stream.world.predict(["more"])
    stream.judging.look()
    assert read_performances(stream.world.folder).feedback["waiting"] == 1


def test_what_the_first_labels_said_is_kept(stream):
    """Also when they are gone."""
    truth, p = stream.go(FIRST_ROWS - 1)
    assert stream.report().first is None
    more = stream.go(500, flipped=1.0)
    first = stream.report().first
    expected = metrics.accuracy_score([*truth, more[0][0]], np.array([*p, more[1][0]]) > 0.5)
    assert (first.n, first.accuracy.value) == (FIRST_ROWS, pytest.approx(expected))
    stream.world.truth.store.ask("DELETE FROM labels")
    stream.world.restart()
    stream.judging = stream.judge()
    assert stream.report().first == first


def test_a_version_without_rows_in_a_week_is_not_reported(stream):
    """It comes back with its next row."""
    stream.go(50)
    assert stream.report().horizons[2].realised.n == 50
    stream.world.now += 8 * 86_400
    stream.judging.look()
    assert stream.judging.reports == []
    stream.go(5)
    assert stream.report().horizons[2].realised.n == 5


def test_of_very_many_versions_those_that_scored_last_are_reported(stream):
    """By when they scored, not by when they came: an old one may be the one that serves again."""
    versions = [msgspec.structs.replace(VERSION, version=str(number)) for number in range(VERSIONS_MAX + 2)]
    for version in [*versions, versions[0]]:
        stream.world.now += 1
        stream.world.predict([f"{stream.world.now}"], version=version, at=stream.world.now)
    stream.judging.look()
    reported = {report.version for report in stream.judging.reports}
    assert reported == {version.version for version in versions} - {"1", "2"}


def test_more_errors_are_concept_drift_until_they_are_back(stream):
    """A flip of the labels in mid-stream; the features and scores stay what they were."""
    stream.go(600)
    assert (stream.report().concept_drift, stream.report().changes) == (False, [])
    stream.go(300, flipped=0.8)
    report = stream.report()
    assert report.concept_drift is True
    (change,) = report.changes
    assert (change.detector, change.worse) == ("adwin", True)
    assert 600 < change.labels < 700
    assert change.before < 0.3 < change.after
    stream.go(600)
    report = stream.report()
    assert report.concept_drift is False
    assert [change.worse for change in report.changes] == [True, False]


@pytest.mark.parametrize("pause", [20, 45, 80, 130])
def test_a_restart_neither_forgets_nor_tells_again(tmp_path, pause):
    """Whenever it comes, before and after a change: the changes are those of a process that went on."""
    (tmp_path / "through").mkdir()
    (tmp_path / "stopped").mkdir()
    through, stopped = Stream(tmp_path / "through"), Stream(tmp_path / "stopped")
    for stream in (through, stopped):
        for part in (pause, 400 - pause, pause, 400 - pause):
            stream.go(part, flipped=0.0 if stream.world.now < NOW + 400 else 0.8)
            if stream is stopped:
                stream.world.restart()
        stream.judging = stream.judge()
    assert [change.worse for change in through.report().changes] == [True]
    assert stopped.report().changes == through.report().changes


def test_a_transaction_that_failed_leaves_no_error_in_the_detectors(stream, monkeypatch):
    """Its labels come again, and would count twice."""
    stream.go(300)
    stream.go(20, flipped=1.0)
    add = error_streams.ErrorStreams.add

    def broken(self, *arguments):
        add(self, *arguments)
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(error_streams.ErrorStreams, "add", broken)
        with pytest.raises(OSError, match="no room"):
            stream.go(1, flipped=1.0)
    stream.world.truth.look()
    assert [found.labels for found in stream.world.streams._streams.values()] == [321]


def test_without_river_all_else_goes_on(tmp_path):
    """And it is said what to install."""

    def missing():
        raise ImportError("no module named river")

    stream = Stream(tmp_path, missing)
    stream.go(100)
    report = stream.report()
    assert (report.concept_drift, report.horizons[0].realised.n) == (None, 100)
    assert "install hotgate[monitor]" in stream.world.streams.problem


def test_rivers_detectors_tell_a_rise_and_are_silent_without_one():
    """In 20,000 errors at a tenth none is told; a rise to three tenths within 300, and 700."""
    rng = np.random.default_rng(0)
    found = river_detectors()
    errors = np.concatenate([rng.random(20_000) < 0.1, rng.random(2000) < 0.3]).astype(int).tolist()
    for detector, latest in ((found["adwin"], 20_300), (found["page_hinkley"], 20_700)):
        told = []
        for at, wrong in enumerate(errors):
            detector.update(wrong)
            told += [at] * detector.drift_detected
        assert 20_000 < told[0] < latest


def conditions(report, **limits):
    """What the source says of one report, by kind."""
    source = PerformanceSource(lambda: [report], Limits(**limits))
    return {found.kind: found for found in source.look({}, NOW)}


def test_an_alarm_begins_below_the_limit_with_its_whole_interval_and_ends_with_the_figure(stream):
    """In between nothing is said, which changes nothing."""
    stream.go(1000)
    report = stream.report()
    accuracy = report.horizons[1].realised.accuracy
    high, between, low = accuracy.high + 0.001, accuracy.value + 0.001, accuracy.value - 0.001
    assert conditions(report, accuracy_min=high)["performance"].evidence == (
        Evidence(
            name="accuracy", statistic="min", value=accuracy.value, threshold=high, n=1000, window_s=86_400,
            severity="critical",
        ),
    )  # fmt: skip
    assert conditions(report, accuracy_min=between)["performance"].evidence is None
    assert conditions(report, accuracy_min=low)["performance"].evidence == ()
    assert conditions(report, accuracy_min=low, roc_auc_min=0.999)["performance"].evidence[0].name == "roc_auc"
    found = conditions(report)["performance"]
    assert (found.model, found.version, found.sha256) == ("cancer", "1", VERSION.sha256)
    assert (found.evidence, found.at_once) == ((), True)


def test_a_fall_below_the_first_labels_is_a_warning(stream):
    """By more than the margin, of accuracy or ROC AUC."""
    stream.go(1000)
    stream.world.now += 86_400
    stream.go(600, flipped=0.3)
    found = conditions(stream.report())["performance"].evidence
    assert [(one.name, one.statistic, one.severity) for one in found] == [
        ("accuracy", "first", "warning"),
        ("roc_auc", "first", "warning"),
    ]
    assert conditions(stream.report(), margin=0.9)["performance"].evidence == ()


def test_concept_drift_is_an_alarm_from_its_change_on(stream):
    """With the rate, and what it has to come back to; too few labels say nothing."""
    stream.go(20)
    assert conditions(stream.report())["concept_drift"].evidence is None
    stream.go(600)
    assert conditions(stream.report())["concept_drift"].evidence == ()
    stream.go(200, flipped=0.8)
    report = stream.report()
    found = conditions(report)["concept_drift"]
    assert found.since == report.changes[0].at
    (evidence,) = found.evidence
    assert (evidence.name, evidence.statistic, evidence.threshold) == ("error_rate", "adwin", report.changes[0].level)
    assert evidence.value > evidence.threshold


def test_a_caller_may_ask_about_a_model_or_a_version(stream):
    """Of a model that serves, nothing may be known yet; of another one it is a 404."""
    stream.go(50)
    stream.report()
    found = read_performances(stream.world.folder)
    assert select(found, None, None, []) == found
    assert select(found, "cancer", "1", []) == found
    assert select(found, "other", None, ["other"]).models == []
    for asked, error in (
        (("other", None), NotFound),
        (("cancer", "7"), NotFound),
        ((None, "1"), BadRequest),
    ):
        with pytest.raises(error):
            select(found, *asked, ["cancer"])
    assert read_performances(stream.world.folder / "nowhere") == Performances()


def test_rows_of_the_prediction_log_are_taken_with_the_classes_of_their_file(tmp_path, linear):
    """Once for each spool file, as the intake gives them."""
    signature = linear.file.metadata.signature
    head = FrameHead(sha256=VERSION.sha256, model="cancer", version="1", time=NOW, columns=1, width=2)
    rows, p = np.zeros((50, 1), dtype=np.float32), np.full((50, 2), 0.5, dtype=np.float32)
    frame = b"".join(map(bytes, pack_frame(head, rows, p, [f"r{index}" for index in range(50)])))
    keeper = PerformanceKeeper(tmp_path, MonitorSettings(), lambda: NOW, detectors=dict)
    for _ in range(2):
        keeper.take("one", [Batch(read_frame(frame), signature)])
    assert keeper.look() is None
    (report,) = keeper.reports
    assert (report.labels, report.horizons[0].estimated.n) == (list(signature.labels), 50)
    keeper.close()


def test_only_a_damaged_file_is_put_aside(tmp_path, monkeypatch):
    """What sqlite refuses for another reason must not cost all labels."""
    keeper = PerformanceKeeper(tmp_path, MonitorSettings(), lambda: NOW, detectors=dict)
    assert keeper.look() is None

    def twice(truth):
        truth.store.tell("INSERT INTO consumed VALUES (?, ?)", [("one", NOW)] * 2)

    with monkeypatch.context() as patch:
        patch.setattr(Truth, "look", twice)
        with pytest.raises(OSError, match="UNIQUE"):
            keeper.look()
    assert keeper.look() is None
    assert not list(tmp_path.glob("*.bad"))
    keeper.close()


def test_a_damaged_file_is_put_aside_and_labels_are_collected_anew(tmp_path):
    """Whether it is found at the opening or later."""
    (tmp_path / "truth.sqlite").write_bytes(b"no database" * 1000)
    keeper = PerformanceKeeper(tmp_path, MonitorSettings(), lambda: NOW, detectors=dict)
    with pytest.raises(OSError, match="was damaged"):
        keeper.look()
    assert keeper.look() is None
    assert (tmp_path / "truth.sqlite.bad").read_bytes() == b"no database" * 1000
    keeper.close()


@pytest.mark.process
def test_late_labels_come_back_as_scikit_learns_figures_and_a_flip_as_concept_drift(tmp_path, linear, cancer):
    """Over HTTP: rows predicted, then labelled, the last half with the classes turned round.

    One worker: rows of several, handed over within a tenth of a second, come in no order.
    """
    rows, target, _ = cancer
    with serving(tmp_path, "--model", f"cancer={linear.path}", "--workers", "1") as server:
        answers = [
            server.predict(
                json.dumps({"instances": rows[at : at + 20].tolist()}).encode(), **{"X-Request-Id": f"r{at}"}
            )
            for at in range(0, 560, 20)
        ]
        assert {status for status, _, _ in answers} == {200}
        found = [row for _, _, body in answers for row in json.loads(body)["predictions"]]
        p = np.array([row["probabilities"]["benign"] for row in found])
        wait_until(lambda: _report(server)["estimated"]["n"] == 560, what="all predictions, before any label")
        truth = np.where(np.arange(560) < 280, target[:560], 1 - target[:560])
        feedback = [{"request_id": f"r{at}", "labels": truth[at : at + 20].tolist()} for at in range(0, 560, 20)]
        json_type = {"Content-Type": "application/json"}
        status, _, body = server.request("POST", "/feedback", json.dumps(feedback).encode(), json_type)
        assert (status, json.loads(body)) == (202, {"accepted": 560, "rejected": []})
        wait_until(lambda: _report(server)["realised"]["n"] == 560, what="all labels")
        realised = _report(server)["realised"]
        answer = json.loads(server.request("GET", "/monitor/performance?model=cancer&version=file")[2])
        assert server.request("GET", "/monitor/performance?model=nobody")[0] == 404
    assert realised["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(truth, p > 0.5))
    assert realised["roc_auc"]["value"] == pytest.approx(metrics.roc_auc_score(truth, p), abs=1e-6)
    assert realised["log_loss"]["value"] == pytest.approx(metrics.log_loss(truth, p.astype(np.float32)), rel=1e-5)
    assert realised["brier"]["value"] == pytest.approx(metrics.brier_score_loss(truth, p), rel=1e-5)
    assert realised["confusion"] == metrics.confusion_matrix(truth, p > 0.5).tolist()
    (model,) = answer["models"]
    assert answer["feedback"]["joined"] == 560
    assert (model["concept_drift"], model["sha256"]) == (True, linear.file.sha256)
    assert 280 < model["changes"][0]["labels"] < 380
    (firing,) = [found for found in _alerts(tmp_path) if found["kind"] == "concept_drift"]
    assert (firing["state"], firing["model"], firing["evidence"][0]["name"]) == ("firing", "cancer", "error_rate")


def _report(server):
    """The newest hour of the only model; nothing yet is 0 rows."""
    models = json.loads(server.request("GET", "/monitor/performance")[2])["models"]
    return models[0]["horizons"][0] if models else {"estimated": {"n": 0}, "realised": {"n": 0}}


def _alerts(tmp_path):
    lines = (tmp_path / "home/monitor/alerts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
