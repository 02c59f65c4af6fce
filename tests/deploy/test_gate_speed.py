"""The gate's p99: what pairs of blocks make of the verdict, with gateways whose latency is drawn."""

from __future__ import annotations

import itertools

import pytest
from gate_world import NAME, FakeTrack, World, outcomes, reason
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.errors import BenchError
from benchmarks.gate import GatePlan
from benchmarks.load import LoadError
from converters import Column
from deploy.gating.settings import GateSettings
from deploy.gating.speed import race


def run(track, *, first=False, more=lambda _text: True, **settings):
    """Outcomes by name, and the checks."""
    checks = race(track, GateSettings(**settings), GatePlan(), first=first, more=more)
    return {check.name: check.outcome for check in checks}, checks


def test_as_fast_as_the_champion_passes_at_half_its_maximum():
    """Each pair has arrivals of its own."""
    track = FakeTrack()
    found, (check,) = run(track)
    assert found == {"p99": "pass"}
    assert set(track.rates) == {5_000.0}
    assert track.seeds == list(range(1, 13))
    assert "1.00 (" in check.reason
    assert "times the champion's p99 at 5,000 requests a second, at most 1.25 is allowed, from 12 pairs" in check.reason


def test_clearly_slower_than_is_allowed_fails():
    """Both sides of the limit."""
    assert run(FakeTrack(1.4))[0] == {"p99": "fail"}
    assert run(FakeTrack(1.4), p99_ratio_max=1.5)[0] == {"p99": "pass"}


def test_a_candidate_that_cannot_hold_the_champions_rate_fails():
    """After two pairs, whatever its p99 was."""
    track = FakeTrack(held=False)
    found, (check,) = run(track)
    assert found == {"p99": "fail"}
    assert len(track.seeds) == 2
    assert "did not answer at the rate it was given in 2 pairs" in check.reason


@pytest.mark.parametrize("track", [FakeTrack(noise=0.8), FakeTrack(1.25, noise=0.1), FakeTrack(void="too busy")])
def test_a_noisy_machine_is_inconclusive(track):
    """Pairs far apart, an interval across the limit, or no pair that counts."""
    found, (check,) = run(track)
    assert found == {"p99": "inconclusive"}
    assert "still spans the limit" in check.reason or "pairs were void, the last because too busy" in check.reason


def test_time_that_is_up_is_inconclusive():
    """After three pairs of twelve."""
    left = itertools.chain([True] * 3, itertools.repeat(False))
    found, (check,) = run(FakeTrack(), more=lambda _text: next(left))
    assert found == {"p99": "inconclusive"}
    assert check.reason.startswith("not known how many times the champion's p99")
    assert check.reason.endswith("time was up")


def test_a_budget_is_judged_by_the_same_pairs():
    """The champion's p99 is 0.4 ms, and so is the candidate's: nothing is measured a second time."""
    track = FakeTrack()
    found, checks = run(track, p99_budget_ms=0.5)
    assert found == {"p99": "pass", "p99_budget": "pass"}
    assert len(track.seeds) == 12
    assert checks[1].reason.startswith("p99 0.399 ms (0.396 to 0.404) at 5,000 requests a second")
    assert "at most 0.5 ms are allowed" in checks[1].reason
    assert run(FakeTrack(), p99_budget_ms=0.3)[0] == {"p99": "pass", "p99_budget": "fail"}


def test_a_budget_that_is_not_decided_is_measured_on():
    """The ratio is known after 12 pairs, the budget is so near that it needs all 24."""
    track = FakeTrack()
    assert run(track, p99_budget_ms=0.4)[0] == {"p99": "pass", "p99_budget": "inconclusive"}
    assert track.seeds == list(range(1, 25))


def test_a_first_model_has_its_budget_only():
    """There is nobody to be as fast as."""
    assert run(FakeTrack(5.0, champion_us=100.0), first=True, p99_budget_ms=1.0)[0] == {"p99_budget": "pass"}


@pytest.fixture(scope="module")
def model(cancer, tmp_path_factory):
    made = _world(None, tmp_path_factory.mktemp("model"), cancer)
    good = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    return made.build(good.fit(made.rows[made.train], made.classes[made.train])).data


def _world(admin, folder, cancer):
    rows, classes, names = cancer
    return World(admin, folder, rows, classes, [Column(name=name) for name in names])


@pytest.fixture
def hold(admin, tmp_path, cancer, model):
    """The whole gate on a model beside itself, which is not worse, with a track."""

    def hold(track, *, champion=True, **changes):
        world = _world(admin, tmp_path, cancer)
        if champion:
            world.register(model, stage="Production")
        version = world.register(model)
        return world.keeper(track=track, auc_improvement_min=0.0, **changes).hold(NAME, version)

    return hold


@pytest.mark.parametrize(
    ("track", "outcome"),
    [(FakeTrack(), "pass"), (FakeTrack(1.5), "fail"), (FakeTrack(noise=0.8), "inconclusive")],
)
def test_speed_decides_where_all_else_passes(hold, track, outcome):
    """What the machine was too noisy for is no pass."""
    report = hold(track)
    assert {name for name, found in outcomes(report).items() if found != "pass"} <= {"p99"}
    assert (report.outcome, outcomes(report)["p99"]) == (outcome, outcome)


@pytest.mark.parametrize("error", [BenchError("the server died"), LoadError("no compiler")])
def test_what_could_not_be_measured_is_inconclusive(hold, error):
    """With the reason, instead of an exception."""
    report = hold(FakeTrack(error=error))
    assert report.outcome == "inconclusive"
    assert reason(report, "p99") == f"not measured: {error}"


@pytest.mark.parametrize("champion", [True, False])
def test_skipping_is_never_a_pass(hold, champion):
    """Also for a first model."""
    report = hold("skipped", champion=champion)
    assert report.outcome == "inconclusive"
    assert reason(report, "p99") == "left out, as was asked for"


def test_who_asks_for_no_p99_gets_a_verdict_without(hold):
    """A candidate that is too slow passes; the record says that nobody asked."""
    report = hold(FakeTrack(1.5), p99=False)
    assert report.outcome == "pass"
    assert reason(report, "p99") == "not asked for: [gate] p99 is false"


def test_the_measurement_ends_with_the_profiles_time(hold):
    """By the clock that the gate is given."""
    clock = itertools.count(0.0, 40.0).__next__
    assert reason(hold(FakeTrack(), clock=clock), "p99").endswith("time was up")


def test_models_of_other_columns_are_not_raced(hold, admin, tmp_path, cancer, model):
    """There is no row that both could be asked; the reason names both versions."""
    rows, classes, names = cancer
    other = World(admin, tmp_path, rows[:, :5], classes, [Column(name=name) for name in names[:5]])
    few = make_pipeline(StandardScaler(), LogisticRegression()).fit(other.rows[other.train], classes[other.train])
    other.register(other.build(few).data, stage="Production")
    track = FakeTrack()
    report = hold(track, champion=False)
    assert outcomes(report)["metrics"] == outcomes(report)["p99"] == report.outcome == "inconclusive"
    assert "version 2 and version 1 have other columns or classes" in reason(report, "metrics")
    assert track.seeds == []
