"""The drift benchmark: what the figures say of detectors that are known, and one short run of the real thing."""

from __future__ import annotations

import ast
import hashlib
import math
import re
import runpy
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binomtest

import benchmarks.cli
from benchmarks.drift.cli import drift as command
from benchmarks.drift.contest import annotated_series, detector_figures
from benchmarks.drift.detector import (
    BOTH,
    HOTGATE,
    SHORT,
    TWICE,
    Found,
    Hotgate,
    ShortHotgate,
    adjusted,
    read_rows,
    survey,
    window_verdicts,
)
from benchmarks.drift.figures import Cost, DetectorFigures, DriftFigures, NullFigures, Recall, Series, Share, Verdicts
from benchmarks.drift.nulls import BOOTSTRAP
from benchmarks.drift.peers import PEERS, Described, lock_of, run_peers
from benchmarks.drift.plot import draw
from benchmarks.drift.report import render
from benchmarks.drift.score import (
    Scored,
    at_default,
    calibrate,
    calibrated,
    delay_of,
    false_alarms,
    recall,
    window_maxima,
)
from benchmarks.drift.shifts import SHIFTS, presence, shifted
from benchmarks.drift.streams import Bank, DriftPlan, Stream, build, river_specs
from benchmarks.drift.subjects import Block, bundled
from benchmarks.errors import BenchError
from benchmarks.figures import Machine
from monitoring import FeatureDrift, ModelDrift

FOLDER = Path(benchmarks.cli.__file__).parent / "drift"
LOCKS = sorted(path.stem for path in (FOLDER / "requirements").glob("*.txt"))
TINY = DriftPlan(sources=("iris",), models=1, repeats=1, quiet_windows=99, window_rows=100, reference_rows=300)


def stream(name="a", *, change=None, kind="abrupt", rows=1000, window=100) -> Stream:
    return Stream(
        name=name,
        model="m",
        source="s",
        kind="quiet" if change is None else kind,
        shift="a shift",
        rows=rows,
        window_rows=window,
        change=change,
    )


class Fake:
    """Judges by a rule of the first value of each window."""

    names = ("fake",)

    def __init__(self, rule) -> None:
        self._rule = rule

    def fit(self, subject) -> None:
        self.columns = len(subject.columns)

    def verdicts(self, rows, window_rows):
        statistic = tuple(self._rule(window) for window in np.split(rows, len(rows) // window_rows))
        return {"fake": Verdicts(statistic=statistic, alarm=tuple(value >= 1 for value in statistic))}


def known(streams, verdicts) -> DetectorFigures:
    described = Described(name="fake", default="as it is", knob="its threshold")
    return detector_figures(described, streams, Found(verdicts, {}, None), 0.01)


@pytest.mark.parametrize(
    ("rule", "false", "hits", "delay"), [("always", 279, 20, 50), ("never", 0, 0, None), ("perfect", 0, 20, 50)]
)
def test_known_detectors_have_the_figures_they_must(rule, false, hits, delay):
    """One that always alarms, one that never does and one that is right, as they come."""
    rng = np.random.default_rng(1)
    streams = [stream("quiet", rows=19_900), *(stream(str(at), change=450) for at in range(20))]

    def said(one):
        drifts = [one.change is not None and 100 * (at + 1) > one.change for at in range(one.rows // 100)]
        alarm = tuple({"always": True, "never": False, "perfect": drift}[rule] for drift in drifts)
        return Verdicts(statistic=tuple(value + 0.5 * rng.random() for value in alarm), alarm=alarm)

    found = known(streams, {one.name: said(one) for one in streams})
    assert found.false_default == Share(hits=false, of=279)  # 199 quiet windows, and 4 before each change
    assert found.by_default["abrupt"] == Recall(found=Share(hits=hits, of=20), delay_rows=delay)
    if rule == "perfect":  # a threshold that 1 % of its quiet windows pass hides none of its changes
        assert found.at_equal["abrupt"] == found.by_default["abrupt"]
    else:  # and one that cannot tell finds no more than chance, however it comes
        assert found.at_equal["abrupt"].found.hits <= 4
    assert found.false_equal.hits <= 4


def test_calibrated_threshold_is_passed_as_rarely_as_asked():
    """Over 400 samples of 201 windows the next window passes the threshold in 1 % of the cases, not more, nor less."""
    rng = np.random.default_rng(2)
    passed = [(rng.normal(size=1000) > calibrate(rng.normal(size=201), 0.01)).mean() for _ in range(400)]
    assert np.mean(passed) == pytest.approx(0.0099, abs=0.0015)
    assert calibrate(np.arange(99.0), 0.01) == 98.0
    with pytest.raises(ValueError, match=r"98 windows without drift do not show what happens in 1\.00% of them"):
        calibrate(np.arange(98.0), 0.01)


def test_annotated_series_stand_apart():
    """They are in no rate and no recall; each window has its mark, whatever the blocks."""
    streams = [stream("quiet", rows=9900), stream("b", change=450), stream("marked", change=450, kind="annotated")]
    loud = Verdicts(statistic=(None, None, *(0.0,) * 17, 2.0), alarm=(False,) * 19 + (True,))
    verdicts = {one.name: Verdicts(statistic=(0.0,) * (one.rows // 100), alarm=(False,) * 10) for one in streams[1:]}
    verdicts |= {"quiet": Verdicts(statistic=(0.0,) * 99, alarm=(False,) * 99), "marked": loud}
    figures = known(streams, verdicts)
    assert figures.false_default == Share(hits=0, of=103)
    assert figures.by_default.keys() == {"abrupt"}
    (series,) = annotated_series(streams, {"fake": Found(verdicts, {}, None), "few": Found({}, {}, None)})
    assert (series.change, series.verdicts) == (450, {"fake": "?--------A", "few": ""})


def test_peers_numbers_are_such_that_json_can_hold():
    """Infinity is the largest, not a number is nothing that can be said."""
    program = runpy.run_path(str(FOLDER / "programs" / "peer.py"))
    assert program["finite"]([0.5, math.inf, -math.inf, math.nan]) == [0.5, 1e300, -1e300, None]


def test_too_few_quiet_windows_end_the_comparison():
    """The error names the detector."""
    streams = [stream("quiet"), stream("b", change=450)]
    verdicts = {one.name: Verdicts(statistic=(0.0,) * 10, alarm=(False,) * 10) for one in streams}
    with pytest.raises(BenchError, match="fake: 10 windows"):
        known(streams, verdicts)


def test_delay_ends_with_the_block_that_alarms():
    """An alarm before the change is none of it; a window that holds the change counts, and finer blocks are quicker."""
    one = stream(change=450)
    alarms = [False] * 10
    assert delay_of(Scored(one, tuple(alarms))) == math.inf
    alarms[3] = True
    assert delay_of(Scored(one, tuple(alarms))) == math.inf
    alarms[4] = alarms[8] = True
    assert delay_of(Scored(one, tuple(alarms))) == 50
    fine = [False] * 20
    fine[9] = True  # rows 450 to 500
    assert delay_of(Scored(one, tuple(fine))) == 50
    fine[8] = True  # rows 400 to 450: all before
    assert delay_of(Scored(one, tuple(fine))) == 50


def test_median_counts_what_was_missed_as_never():
    """Two of three missed: the median is no number, whatever the third took."""
    found, missed = (True,) * 10, (False,) * 10
    one = stream(change=450)
    few = recall([Scored(one, found), Scored(one, missed), Scored(one, missed)])
    most = recall([Scored(one, found), Scored(one, found), Scored(one, missed)])
    assert few == Recall(found=Share(hits=1, of=3), delay_rows=None)
    assert most == Recall(found=Share(hits=2, of=3), delay_rows=50)


def test_false_alarms_are_counted_by_windows():
    """Blocks of one window are one chance; the window in which the change comes is none."""
    fine = [False] * 20
    fine[0] = fine[1] = fine[6] = fine[9] = True
    assert false_alarms([Scored(stream(change=450), tuple(fine))]) == Share(hits=2, of=4)
    assert false_alarms([Scored(stream(), tuple(fine))]) == Share(hits=3, of=10)


def test_threshold_is_that_of_windows_whatever_the_blocks():
    """The loudest block of a window is the window's; what cannot be said is quiet; only what is above it alarms."""
    quiet = stream("quiet", rows=9900)
    said = [0.0, None] * 98 + [3.0, 1.0]
    assert window_maxima(quiet, Verdicts(statistic=tuple(said), alarm=(False,) * 198)) == [0.0] * 98 + [3.0]
    changing = stream("b", change=450)
    verdicts = {
        "quiet": Verdicts(statistic=tuple(said), alarm=(False,) * 198),
        "b": Verdicts(statistic=(0.0,) * 8 + (3.0, 3.1), alarm=(False,) * 10),
    }
    (found,) = calibrated({"quiet": quiet, "b": changing}, verdicts, 0.01)
    assert found.alarms == (False,) * 9 + (True,)


@pytest.mark.parametrize(
    ("kind", "there"),
    [
        ("abrupt", {999: 0, 1000: 1, 5000: 1}),
        ("gradual", {999: 0, 1500: 0.25, 2000: 0.5, 3000: 1, 5000: 1}),
        ("recurring", {999: 0, 1000: 1, 1999: 1, 2000: 0, 2999: 0, 3000: 1}),
    ],
)
def test_changed_rows_come_as_the_kind_says(kind, there):
    """All at once, more and more over 2,000 rows, or 1,000 on and 1,000 off."""
    share = presence(kind, 1000, 6000)
    assert {row: share[row] for row in there} == there


def test_interval_is_wilsons():
    """Against scipy's; none of none says nothing."""
    for hits, of in ((0, 100), (5, 200), (40, 40)):
        theirs = binomtest(hits, of).proportion_ci(method="wilson")
        assert Share(hits=hits, of=of).interval == pytest.approx((theirs.low, theirs.high), abs=1e-6)
    assert Share(hits=0, of=0).interval == (0.0, 1.0)


def verdict(*p_values, severity="none", missing=False) -> ModelDrift:
    columns = [
        FeatureDrift(name="f", kind="float", n=500, p_value=p, drift=severity != "none", severity=severity)
        for p in p_values
    ]
    columns[0] = msgspec.structs.replace(columns[0], missing_drift=missing)
    return ModelDrift(n=500, severity=severity, score=columns[-1], features=columns[:-1])


def test_statistic_is_one_where_the_default_level_is():
    """It is Benjamini and Hochberg's p-value by the level; what was not judged has none; missing values are certain."""
    assert adjusted(verdict(0.004, 0.005, 0.9)) == pytest.approx(0.0075)
    assert adjusted(verdict(None, None)) is None
    said = window_verdicts([verdict(0.005, 0.9), verdict(None, None), verdict(0.9, 0.9, missing=True)])[HOTGATE]
    assert said.statistic[0] == pytest.approx(1.0)
    assert said.statistic[1:] == (None, 300.0)
    assert said.alarm == (False, False, True)


def test_hysteresis_takes_two_windows():
    """The alarm fires with the second breach in a row and ends with the second calm window; so does the statistic."""
    calm, loud = verdict(0.9, 0.9), verdict(1e-8, 1e-8, severity="critical")
    said = window_verdicts([loud, calm, loud, loud, calm, calm])
    assert said[HOTGATE].alarm == (True, False, True, True, False, False)
    assert said[TWICE].alarm == (False, False, False, True, True, False)
    assert [value > 1 for value in said[TWICE].statistic] == [False, False, False, True, False, False]


def test_both_lengths_speak_where_either_does(tmp_path):
    """By short window, in rows' order: a long one is heard where it ends, and is what it is alone."""
    bank = Bank(tmp_path, 500)
    build(bank, msgspec.structs.replace(TINY, window_rows=500), river=None)
    one = next(one for one in bank.streams if one.shift.startswith("mean +0.25 sigma, one"))
    rows, found = read_rows(bank, one), {}
    for ours in (Hotgate(), ShortHotgate()):
        ours.fit(bank.subjects[one.model])
        found |= ours.verdicts(rows, 500)
    long, short, both = (np.array(found[name].statistic) for name in (HOTGATE, SHORT, BOTH))
    assert (len(long), len(short), len(both)) == (11, 55, 55)
    assert np.array_equal(both.reshape(11, 5)[:, :4], short.reshape(11, 5)[:, :4])
    assert np.array_equal(both[4::5], np.maximum(short[4::5], long))
    assert any(long > short[4::5])
    alarms = [np.array(found[name].alarm) for name in (HOTGATE, SHORT, BOTH)]
    assert np.array_equal(alarms[2][4::5], alarms[0] | alarms[1][4::5])


def test_equal_seeds_make_equal_streams(tmp_path):
    """Every file is the same, and another seed's is not; changes come at any row of the fifth window."""

    def digests(folder, seed):
        bank = Bank(tmp_path / folder, TINY.window_rows)
        build(bank, msgspec.structs.replace(TINY, seed=seed), river=None)
        files = sorted((tmp_path / folder / "streams").iterdir())
        return bank, [hashlib.sha256(np.load(path)["rows"].tobytes()).hexdigest() for path in files]

    bank, first = digests("a", 1)
    assert digests("b", 1)[1] == first
    assert not set(digests("c", 2)[1]) & set(first)
    changes = {one.change for one in bank.streams if one.change is not None}
    assert all(400 <= change < 500 for change in changes)
    assert len(changes) > 5


def test_fake_detector_is_asked_about_every_stream(tmp_path):
    """One that looks at a column finds what was done to it; the stream for CPU time has a time and no verdict."""
    bank = Bank(tmp_path, TINY.window_rows)
    build(bank, TINY, river=None)
    found = survey(Fake(lambda window: float(np.isnan(window).any())), bank)["fake"]
    assert set(found.verdicts) == {one.name for one in bank.streams if one.shift != "cost"}
    assert found.cost.rows == 10_000
    for one in bank.streams[:-1]:
        said = recall([at_default(one, found.verdicts[one.name])]).found.hits if one.change is not None else 0
        assert bool(said) == one.shift.startswith("a fifth missing"), one.shift


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: f"{shift.kind}, {shift.name}")
def test_shifts_do_what_they_say_and_only_after_the_change(shift):
    """Before the change rows are those of the population; after it mean, spread, classes or missing values differ."""
    _, population = bundled("diabetes", 3)
    stream = shifted(np.random.default_rng(4), population, shift, change=20_000, n=40_000)
    before, after = Block(*(part[:20_000] for part in stream)), Block(*(part[20_000:] for part in stream))
    sigma = population.rows.std(axis=0)
    assert before.rows.mean(axis=0) == pytest.approx(population.rows.mean(axis=0), abs=0.05 * sigma.max())
    moved = (np.nanmean(after.rows, axis=0) - population.rows.mean(axis=0)) / sigma
    if match := re.match(r"mean \+([\d.]+) sigma, (one|a third)", shift.name):
        share = presence(shift.kind, 0, 20_000).mean()
        changed = np.flatnonzero(moved > 0.1)
        assert changed.size == (1 if match[2] == "one" else 3)
        assert moved[changed] == pytest.approx(float(match[1]) * share, abs=0.05)
    elif "spread" in shift.name:
        assert sorted(np.round(after.rows.std(axis=0) / sigma, 1).tolist()) == [1.0] * 9 + [1.5]
    elif "class" in shift.name:
        base = population.labels.mean()
        assert after.labels.mean() == pytest.approx(3 * base / (1 + 2 * base), abs=0.02)
    else:
        assert sorted(np.round(np.isnan(after.rows).mean(axis=0), 1).tolist()) == [0.0] * 9 + [0.2]


def test_every_stream_of_a_generator_has_rows_of_its_own():
    """No two files share a seed, and what is skipped is what the model's other streams take."""
    specs = river_specs(DriftPlan())
    assert len({one.name for one in specs}) == len(specs)
    of_one = [one for one in specs if one.name.startswith("0-1-")]
    assert len({one.sample_seed for one in of_one}) == len(of_one)
    assert [one.skip for one in of_one] == [sum(before.rows for before in of_one[:at]) for at in range(len(of_one))]


@pytest.fixture
def environments(tmp_path) -> Path:
    """Folders that pass for the peers' environments: their Python is this one."""
    for name in LOCKS:
        python = tmp_path / "environments" / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        stamp = hashlib.sha256(sys.version.encode() + lock_of(name)).hexdigest()
        (tmp_path / "environments" / name / ".complete").write_text(stamp)
    return tmp_path / "environments"


def test_peers_answer_by_file_and_failures_are_no_zeros(tmp_path, environments):
    """One that works has verdicts for each stream; one whose library is missing, or that dies, says why."""
    bank = Bank(tmp_path / "run", TINY.window_rows)
    build(bank, msgspec.structs.replace(TINY, quiet_windows=99), river=None)
    plan = bank.write_plan()
    ran = run_peers(["scipy", "frouros"], plan, environments, at_once=2, say=lambda _: None)
    missing = next(iter(ran["frouros"].found.values()))
    figures = detector_figures(PEERS["frouros"].detectors[0], bank.streams, missing, 0.01)
    assert figures.failure == "ModuleNotFoundError: No module named 'frouros'"
    for one in PEERS["scipy"].detectors:
        figures = detector_figures(one, bank.streams, ran["scipy"].found[one.name], 0.01)
        assert figures.streams == len(bank.streams) - 1
        assert figures.shifts["mean +1 sigma, one column (abrupt)"].found.hits == 1
        assert figures.cost.rows == 10_000
    plan.write_text("no plan")
    dead = run_peers(["scipy"], plan, environments, at_once=1, say=lambda _: None)["scipy"]
    assert "JSONDecodeError" in dead.failure
    assert dead.found == {}


def test_peer_that_cannot_be_installed_is_a_failure(tmp_path):
    """Where its environment should be is a file: the reason is kept, and nothing is raised."""
    (tmp_path / "river").write_text("no folder can be made here")
    ran = run_peers(["errors"], tmp_path / "plan.json", tmp_path, at_once=1, say=lambda _: None)
    assert "Not a directory" in ran["errors"].failure


def test_programs_know_nothing_of_hotgate():
    """They run in environments that do not have it."""
    rooms = {path.parent.name for path in FOLDER.parents[1].glob("*/__init__.py")} | {"hotgate"}
    for path in (FOLDER / "programs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not rooms & {name.partition(".")[0] for name in names}, path.name


@pytest.mark.parametrize("name", LOCKS)
def test_locks_are_hashed_and_name_no_address(name):
    """Every line is a pin or one of its hashes, each lock has its source, and the shown packages are in it."""
    lines = lock_of(name).decode().splitlines()
    pin, digest = r"[a-z0-9-]+==[0-9][\w.+!]*( ; [^@]+)? \\", r"    --hash=sha256:[0-9a-f]{64}( \\)?"
    assert [line for line in lines if not re.fullmatch(f"{pin}|{digest}", line)] == []
    assert (FOLDER / "requirements" / f"{name}.in").exists()
    users = [peer for peer in PEERS.values() if peer.environment == name]
    assert users
    assert {package for peer in users for package in peer.packages} <= {line.partition("==")[0] for line in lines}


def detector(name, *, streams=10, delay=100.0, hits=5, failure=None, labels=False, errors=()) -> DetectorFigures:
    if failure is not None:
        return DetectorFigures(name=name, default="d", knob="k", failure=failure)
    found = Recall(found=Share(hits=hits, of=5), delay_rows=delay)
    return DetectorFigures(
        name=name,
        default="d",
        knob="k",
        labels=labels,
        streams=streams,
        errors=errors,
        false_default=Share(hits=3, of=200),
        false_equal=Share(hits=1, of=100),
        by_default={"abrupt": found},
        at_equal={"abrupt": found, "concept": Recall(found=Share(hits=0, of=5), delay_rows=None)},
        shifts={"a shift (abrupt)": found},
        cost=Cost(cpu_s=0.5, rows=5_000),
    )


@pytest.fixture
def figures() -> DriftFigures:
    return DriftFigures(
        date="2026-01-02 03:04 UTC",
        command="hotgate bench drift",
        machine=Machine(cpu="A CPU", cores=2, memory_gib=7.7, kernel="6.1"),
        versions={"python": "3.11.7"},
        seed=42,
        window_rows=500,
        reference_rows=5000,
        target=0.01,
        streams={"quiet": 2, "abrupt": 5},
        sources=("iris", "SEA"),
        seconds=90,
        parts=(0.25, 4.0),
        nulls=(
            NullFigures(
                name="iris",
                how=BOOTSTRAP,
                rows=100,
                windows=Share(hits=0, of=20),
                firing=Share(hits=0, of=20),
                significant=Share(hits=1, of=20),
                silent=0,
            ),
        ),
        detectors=(
            detector("hotgate"),
            detector("quick", delay=60.0),
            detector("slow", delay=300.0, errors=("0003: too long",)),
            detector("blind", delay=None, hits=1),
            detector("told", delay=1.0, labels=True),
            detector("dead", failure="ended with 1:\nno such library"),
        ),
        series=(Series(name="Occupancy", rows=300, change=134, verdicts={"hotgate": "?-A", "told": "---"}),),
    )


def test_report_says_where_a_peer_is_better(figures):
    """Those that find more, or the same earlier; not those that need the truth."""
    text = render(figures)
    better = text.partition("### Where a peer is better")[2].partition("###")[0]
    assert "| a shift (abrupt) | 100 | 60 | quick |" in better
    assert all(name not in better for name in ("slow", "blind", "told"))


def test_report_shows_failures_and_errors_as_such(figures):
    """A dead peer is an error in each table, never a zero, and its reason stands below."""
    text = render(figures)
    assert text.count("| dead | error |") == 1
    assert "| dead | d | k | error | - | - |" in text
    assert "dead has no figures:\n\n```\nended with 1:\nno such library\n```" in text
    assert "- slow, stream 0003: too long" in text
    assert figures.failed == ("dead",)
    assert "| blind | 10 | 1.0 (0.2 to 5.4) | 1 of 5 | never | - | - | 1 | 0 |" in text
    assert "| told \\* |" in text


def test_report_states_how_and_its_tables_are_square(figures):
    """Date, command and seed come first; each table's lines are as long as its head."""
    text = render(figures, "drift.svg")
    assert text.index("- Command: `hotgate bench drift`") < text.index("seed 42") < text.index("### At an equal")
    assert "![Mean delay over false-alarm rate](drift.svg)" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) >= 6
    assert [line for line in text.splitlines() if "`" in line and line.startswith("| ")] == ["| hotgate | `?-A` |"]
    for lines in tables:
        assert len({re.sub(r"`[^`]*`", "", line).count("|") for line in lines}) == 1, lines[0]


def test_figures_survive_json(figures):
    """What stands beside the report decodes to the same value."""
    assert msgspec.json.decode(msgspec.json.encode(figures), type=DriftFigures) == figures


def test_help_and_summary_agree():
    """`hotgate bench --help` prints the command's own first line."""
    assert command.help.splitlines()[0] == benchmarks.cli.SUMMARIES["drift"]


def test_quick_run_works_end_to_end(tmp_path):
    """Without peers: a report, figures and a picture; the changes are found and the quiet windows are quiet."""
    page = tmp_path / "page.md"
    done = CliRunner().invoke(command, ["--quick", "--seed", "7", "--output", str(page)], obj=tmp_path)
    assert done.exit_code == 0, done.output
    figures = msgspec.json.decode(page.with_suffix(".json").read_bytes(), type=DriftFigures)
    assert render(figures, "page.svg") in page.read_text()
    assert figures.command == "hotgate bench drift --quick --seed 7"
    assert page.with_suffix(".svg").read_text().startswith("<?xml")
    ours = figures.detectors[0]
    assert ours.false_default.interval[0] <= 0.01
    assert ours.shifts["mean +1 sigma, one column (abrupt)"].found.value == 1.0
    assert all(one.significant.interval[0] <= 0.01 for one in figures.nulls if one.how == BOOTSTRAP)


def test_picture_has_a_line_for_each_detector_that_saw_all(figures, tmp_path):
    """Not for those that need the truth, nor for those without figures."""
    points = tuple({"false_alarms": {"hits": hits, "of": 100}, "delay_rows": 500.0 - hits} for hits in (0, 1, 10))
    drawn = msgspec.convert(
        msgspec.to_builtins(figures)
        | {"detectors": [msgspec.to_builtins(one) | {"curve": points} for one in figures.detectors if not one.failure]},
        DriftFigures,
    )
    draw(drawn, tmp_path / "a.svg")
    words = re.findall(r"<!-- (.*?) -->", (tmp_path / "a.svg").read_text())
    assert {"hotgate", "quick", "slow", "blind"} <= set(words)
    assert "told" not in words
