"""The gate over versions in a real registry: each way to fail, and what is not known is no pass."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from gate_world import NAME, World, grouped, outcomes, reason
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import hotgate
from converters import Column
from deploy.gating.files import MlflowEvidence
from deploy.gating.gate import GateError
from gateway.sync.gate_record import Check, GateRecord, encode_record, read_record
from training.evidence import HELDOUT, TRAINED


@pytest.fixture
def world(admin, tmp_path, cancer):
    rows, classes, names = cancer
    return World(admin, tmp_path, rows, classes, [Column(name=name) for name in names])


@pytest.fixture(scope="module")
def models(cancer, tmp_path_factory):
    """Bytes of a good model and of one that asks a single question, fitted on the same half."""
    rows, classes, names = cancer
    made = World(None, tmp_path_factory.mktemp("models"), rows, classes, [Column(name=name) for name in names])
    train = made.train
    good = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(made.rows[train], classes[train])
    weak = DecisionTreeClassifier(max_depth=1, random_state=0).fit(made.rows[train], classes[train])
    return {"good": made.build(good).data, "weak": made.build(weak).data}


def test_a_first_model_is_held_to_the_thresholds(world, models):
    """Nothing is in its place; the record says so, and for which file it speaks."""
    version = world.register(models["good"])
    report = world.keeper().hold(NAME, version)
    assert outcomes(report) == dict.fromkeys(("integrity", "verifier", "parity", "roc_auc", "p99"), "pass")
    assert (report.outcome, report.champion, report.champion_sha256) == ("pass", None, None)
    assert world.keeper(first_auc_min=0.9999).hold(NAME, version).outcome == "fail"


def test_the_champion_itself_is_held_to_the_thresholds(world, models):
    """It is no better than itself."""
    version = world.register(models["good"], stage="Production")
    report = world.keeper().hold(NAME, version)
    assert (report.outcome, report.champion) == ("pass", None)


def test_a_better_model_passes_against_the_champion(world, models):
    """All four measures; champion and its file are in the record."""
    champion = world.register(models["weak"], stage="Production")
    report = world.keeper().hold(NAME, world.register(models["good"]))
    assert report.outcome == "pass"
    assert report.champion == champion
    assert report.champion_sha256 == world.keeper().registry.model(NAME).versions[0].sha256_tag
    assert {"roc_auc", "log_loss", "accuracy", "brier"} < set(outcomes(report))


def test_a_worse_model_fails(world, models):
    """By its area under the curve."""
    world.register(models["good"], stage="Production")
    report = world.keeper().hold(NAME, world.register(models["weak"]))
    assert report.outcome == outcomes(report)["roc_auc"] == "fail"


def test_a_model_that_is_better_but_for_one_group_fails_by_that_group(admin, tmp_path):
    """The mean hides it: all else passes."""
    rows, classes, columns = grouped()
    world = World(admin, tmp_path, rows, classes, columns)
    train = world.train
    blind = rows[train] * np.array([1, 0, 0])  # the champion looks at the first column only
    world.register(world.build(LogisticRegression().fit(blind, classes[train])).data, stage="Production")
    version = world.register(world.build(LogisticRegression().fit(rows[train], classes[train])).data)
    report = world.keeper().hold(NAME, version)
    failed = {name for name, outcome in outcomes(report).items() if outcome != "pass"}
    assert (report.outcome, failed) == ("fail", {"slice group=1", "p99"})
    assert reason(report, "p99") == "not measured, because the version has failed already"


def test_a_file_whose_bytes_were_changed_fails_and_is_never_opened(world, models):
    """Its hash is not the tag's; the verifier does not even see it."""
    changed = bytearray(models["good"])
    changed[len(changed) // 2] ^= 1
    version = world.register(bytes(changed), sha256="a" * 64)
    report = world.keeper().hold(NAME, version)
    assert outcomes(report) == {"integrity": "fail"}
    assert "its tag hotgate.sha256 says aaaaaaaaaaaa" in reason(report, "integrity")
    assert report.sha256 not in {"a" * 64, ""}


def _altered(data, change):
    model = onnx.load_from_string(data)
    change(model)
    return model.SerializeToString()


def test_a_graph_that_the_certificate_is_not_for_fails(world, models):
    """Parity was shown for another graph: the verifier says so, although the hash is the tag's."""
    version = world.register(_altered(models["good"], lambda model: setattr(model.graph, "name", "other")))
    report = world.keeper().hold(NAME, version)
    assert outcomes(report) == {"integrity": "pass", "verifier": "fail"}
    assert "certificate is for graph" in reason(report, "verifier")


def test_answers_that_are_not_scikit_learns_fail(world, models):
    """The golden rows' answers are what scikit-learn said."""

    def change(model):
        entry = next(item for item in model.metadata_props if item.key == "hotgate.golden")
        golden = json.loads(entry.value)
        golden["answers"] = [row[::-1] for row in golden["answers"]]
        entry.value = json.dumps(golden)

    report = world.keeper().hold(NAME, world.register(_altered(models["good"], change)))
    assert outcomes(report) == {"integrity": "pass", "verifier": "fail"}


def test_a_certificate_beyond_its_tolerance_fails(world, models):
    """Also where the file says that it passed."""

    def change(model):
        entry = next(item for item in model.metadata_props if item.key == "hotgate.parity")
        entry.value = json.dumps(json.loads(entry.value) | {"error_max": 0.5})

    report = world.keeper().hold(NAME, world.register(_altered(models["good"], change)))
    assert outcomes(report) == {"integrity": "pass", "verifier": "fail"}
    assert "was off by 0.5 with tolerance" in reason(report, "verifier")


@pytest.mark.parametrize(("tags", "told"), [({}, "is missing"), ({"hotgate.parity": "fail"}, "says 'fail'")])
def test_a_version_that_was_registered_without_parity_fails(world, models, tags, told):
    """Who registered it has not said that it passed."""
    report = world.keeper().hold(NAME, world.register(models["good"], tags=tags))
    assert outcomes(report)["parity"] == report.outcome == "fail"
    assert told in reason(report, "parity")


def test_a_version_without_a_model_file_fails(world):
    """With what to do."""
    version = str(world.admin.register(NAME, {"other": b""}, tags={"hotgate.sha256": "a" * 64}))
    report = world.keeper().hold(NAME, version)
    assert report.outcome == "fail"
    assert "run `hotgate convert" in reason(report, "integrity")


@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_without_evidence_nothing_is_said_for_it(world, models, side):
    """Inconclusive, and the cure is named."""
    left = (HELDOUT,)
    world.register(models["weak"], stage="Production", evidence=left if side == "champion" else (HELDOUT, TRAINED))
    version = world.register(models["good"], evidence=left if side == "candidate" else (HELDOUT, TRAINED))
    report = world.keeper().hold(NAME, version)
    assert report.outcome == outcomes(report)["metrics"] == "inconclusive"
    number = 1 if side == "champion" else 2
    assert f"version {number} has no {TRAINED} beside its model file: train and register" in reason(report, "metrics")


def test_a_champion_whose_file_was_changed_is_not_opened(world, models):
    """Nothing can be compared with it: inconclusive."""
    world.register(models["weak"], stage="Production", sha256="b" * 64)
    report = world.keeper().hold(NAME, world.register(models["good"]))
    assert report.outcome == "inconclusive"
    assert "the champion, version 1, is not opened: the file's hash is" in reason(report, "metrics")


def test_the_record_is_the_versions_tag(world, models):
    """What promotion reads is what was reported; nothing is left in the scratch folder."""
    version, keeper = world.register(models["good"]), world.keeper()
    report = keeper.hold(NAME, version)
    assert read_record(keeper.registry.model(NAME).versions[0].tags) is None
    keeper.record(report)
    found = read_record(keeper.registry.model(NAME).versions[0].tags)
    assert encode_record(found) == encode_record(
        GateRecord(**{key: getattr(report, key) for key in GateRecord.__struct_fields__})
    )
    assert list(keeper.scratch.iterdir()) == []


def test_evidence_comes_from_either_kind_of_registry(both, name, tmp_path):
    """The two files and nothing else of the version's artifacts; what is not there is not made."""
    _, admin = both
    evidence = MlflowEvidence(admin.uri)
    for files in ({HELDOUT: b"rows", TRAINED: b"12345678", "model/model.skops": b"x"}, {"other": b""}):
        version = admin.register(name, files)
        folder = tmp_path / f"version-{version}"
        folder.mkdir()
        evidence.fetch(name, version, folder)
        found = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert found == {key: data for key, data in files.items() if key in {HELDOUT, TRAINED}}


def test_an_unknown_version_or_model_is_said_with_what_there_is(world, models):
    """No record is made."""
    world.register(models["weak"])
    with pytest.raises(GateError, match=f"{NAME} has no version '7'; there are: 1"):
        world.keeper().hold(NAME, "7")
    with pytest.raises(GateError, match=f"no registered model 'nobody' with a version; there are: {NAME}"):
        world.keeper().hold("nobody", "1")


@pytest.fixture
def call(world, monkeypatch, sqlite_uri, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(hotgate.main, ["gate", *arguments], prog_name="hotgate")


def test_the_command_prints_writes_and_records_the_verdict(call, world, models, tmp_path):
    """A table or JSON on stdout, a JUnit file, the exit code, and the tag."""
    version = world.register(models["good"])
    result = call(NAME, version, "--json", "--junit", "gate.xml")
    assert (result.exit_code, json.loads(result.stdout)["outcome"]) == (0, "pass")
    assert "verifying version 1" in result.stderr
    assert read_record(world.keeper().registry.model(NAME).versions[0].tags).outcome == "pass"
    suite = ET.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    assert int(suite.get("tests")) == len(json.loads(result.stdout)["checks"])


def test_the_exit_code_is_the_verdicts(call, world, models, monkeypatch):
    """1 for a fail, whose line says why; 3 for what is not known."""
    version = world.register(models["weak"])
    monkeypatch.setenv("HOTGATE_GATE_FIRST_AUC_MIN", "0.999")
    failed = call(NAME, version)
    assert failed.exit_code == 1
    assert "FAIL: cancer version 1, no champion to hold it against" in failed.stdout
    assert "at least 0.9990 is asked for" in failed.stdout
    assert call(NAME, world.register(models["good"], evidence=())).exit_code == 3


def test_what_was_skipped_is_exit_code_3(call, world, models):
    """All that was looked at passes; the record, too, is no pass."""
    result = call(NAME, world.register(models["good"]), "--skip", "p99", "--json")
    found = {check["name"]: check["outcome"] for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 3
    assert {name for name, outcome in found.items() if outcome != "pass"} == {"p99"}
    assert read_record(world.keeper().registry.model(NAME).versions[0].tags).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((NAME, "9"), 2, "no version '9'"),
        (("nobody", "1"), 2, "no registered model 'nobody'"),
        ((NAME, "1", "--junit", "nowhere/x.xml"), 2, "there is no folder"),
    ],
)
def test_wrong_use_is_exit_code_2(call, world, models, arguments, code, said):
    """Said before anything is measured, and nothing is recorded."""
    world.register(models["weak"])
    result = call(*arguments)
    assert result.exit_code == code
    assert said in result.stderr.replace("\n", " ")
    assert read_record(world.keeper().registry.model(NAME).versions[0].tags) is None


def test_a_registry_that_does_not_answer_is_exit_code_4(call, monkeypatch):
    """One line that names it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://nowhere")
    result = call(NAME, "1")
    assert result.exit_code == 4
    assert "ftp://nowhere" in result.stderr


def test_files_that_cannot_be_brought_are_exit_code_4(call, world, models, tmp_path):
    """Here a file stands where they would go; one line, and nothing is recorded."""
    version = world.register(models["good"])
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "gate").write_text("in the way")
    result = call(NAME, version)
    assert result.exit_code == 4
    assert "a version's files could not be brought here: " in result.stderr
    assert read_record(world.keeper().registry.model(NAME).versions[0].tags) is None


def test_a_junit_file_tells_fail_and_inconclusive_apart(world, models):
    """A failure and an error, with names and reasons that XML can hold whatever a file says of itself."""
    from deploy.gating.report import junit

    report = world.keeper(first_auc_min=0.9999).hold(NAME, world.register(models["good"]))
    odd = Check(name="slice a\x00b", outcome="inconclusive", reason="<too> few\x1b rows")
    report = type(report)(
        **{key: getattr(report, key) for key in report.__struct_fields__ if key != "checks"},
        checks=(*report.checks, odd),
    )
    suite = ET.fromstring(junit(report))
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")
    assert suite.find("testcase[@name='roc_auc']/failure").get("message") == reason(report, "roc_auc")
    assert suite.find("testcase[@name='slice a b']/error").get("message") == "<too> few  rows"
