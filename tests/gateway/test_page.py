"""What the live page is told: figures, courses, histograms, and who is sent them."""

from __future__ import annotations

import asyncio
import json
import threading

import msgspec
import numpy as np
import pytest
from fakes import Clock

from gateway.countlog import CountLog
from gateway.counts import ModelCounts, Served
from gateway.course import Courses, step_seconds
from gateway.drift import DriftMonitor
from gateway.errors import NotFound
from gateway.feed import NoFeed
from gateway.histogram import histogram_past, histogram_serving
from gateway.metrics import RUN_SECONDS
from gateway.observer import GenerationTally
from gateway.page import sampler as sampling
from gateway.page.figures import figures_of, look_at, quantile
from gateway.page.routes import STREAM_BYTES, _pump
from gateway.page.sampler import Sampler
from gateway.page.streams import STREAMS_MAX, Mailbox, Streams
from gateway.schemas import Health
from gateway.series import Versions
from gateway.settings import GatewaySettings
from gateway.store import Cause, Entry, ModelRoles, ModelStore
from gateway.verdicts import judge_past, judge_serving
from monitoring import RowCounter, build_reference

RNG = np.random.default_rng(0)
NAMES = ["calm", "moved"]
REFERENCE = build_reference(
    RNG.normal(size=(1000, 2)), RNG.random(1000), names=NAMES, kinds=["float"] * 2, graph_sha256="00"
)
NOW = 1_800_000_000.0


# figures


@pytest.fixture
def tallies(tmp_path):
    """One version in each of two workers, which end with the test."""
    versions = [Versions(tmp_path / "versions", pid=pid) for pid in (1001, 1002)]
    tallies = [GenerationTally(worker, "m", "1") for worker in versions]
    yield versions, tallies
    for tally in tallies:
        tally.close()


def count(tally, *, rows, batches=1, took_s=0.0015):
    """Count runs of so many rows each."""
    tally.rows.total += rows * batches
    tally.batches["turn"].total += batches
    for _ in range(batches):
        tally.batch_rows.observe(rows)
        tally.run_seconds.observe(took_s)
        tally.queue_seconds.observe(took_s / 10)
    tally.carry()


def test_figures_are_what_all_workers_counted_between_two_looks(tallies):
    """Rates by the time between; totals since the start; what was counted before the first look is in no rate."""
    versions, (one, other) = tallies
    one.tell_loaded("a" * 64, loaded=True)
    other.tell_loaded("a" * 64, loaded=True)
    count(one, rows=7)
    before = look_at(versions[0].collect(), 100.0)
    count(one, rows=3, batches=10)
    count(other, rows=200, batches=5, took_s=0.004)
    other.refused["wait"].total += 4
    other.failed.total += 2
    other.carry()
    (found,) = figures_of(before, look_at(versions[1].collect(), 102.0))
    assert (found.model, found.version, found.sha256, found.workers) == ("m", "1", "a" * 64, 2)
    assert (found.rows, found.rows_per_s) == (1037, 515.0)
    assert (found.refused, found.refused_per_s, found.failed_rows, found.failed_per_s) == (4, 2.0, 2, 1.0)
    assert (found.batches, found.released) == (15, {"turn": 15, "full": 0, "landing": 0})
    assert found.batch_rows == [0, 0, 10, 0, 0, 0, 0, 0, 5, 0, 0, 0]
    # Ten runs of 1 to 2 ms and five of 2 to 5: the median is the 7.5th, three quarters up the first of these.
    assert found.run_ms.p50 == pytest.approx(1.75)
    assert found.run_ms.p99 == pytest.approx(2 + 3 * 4.85 / 5)
    assert found.queue_ms.p50 == pytest.approx(0.175)


def test_without_runs_there_are_no_quantiles_and_a_version_nobody_serves_is_left_out(tallies):
    """It is shown again once it scores: requests may still be under way in it."""
    versions, (one, _) = tallies
    look = look_at(versions[0].collect(), 0.0)
    assert figures_of(look, look_at(versions[0].collect(), 1.0)) == []
    count(one, rows=1)
    (found,) = figures_of(look, look_at(versions[0].collect(), 1.0))
    assert (found.workers, found.sha256, found.rows_per_s) == (0, None, 1.0)
    one.tell_loaded("b" * 64, loaded=True)
    later = look_at(versions[0].collect(), 2.0)
    (found,) = figures_of(later, later)
    assert (found.run_ms, found.queue_ms, found.batches) == (None, None, 0)


def test_a_counter_that_went_back_began_anew(tallies):
    """As `rate` of Prometheus has it, nothing is negative."""
    versions, (one, _) = tallies
    one.tell_loaded("a" * 64, loaded=True)
    count(one, rows=5)
    more = look_at(versions[0].collect(), 0.0)
    fewer = more._replace(time=1.0, values={key: min(value, 1.0) for key, value in more.values.items()})
    (found,) = figures_of(more, fewer)
    assert found.rows_per_s == 0.0


@pytest.mark.parametrize(
    ("share", "cumulative", "expected"),
    [
        (0.5, [10, 10, 10], 0.5),
        (0.5, [0, 10, 10], 1.5),
        (0.99, [0, 0, 10], 2.0),
        (1.0, [5, 10, 10], 2.0),
        (0.0, [5, 10, 10], 0.0),
    ],
)
def test_quantiles_are_those_of_prometheus(share, cumulative, expected):
    """Straight lines within a bucket; above the last bound it says that bound."""
    assert quantile(share, (1.0, 2.0), cumulative) == pytest.approx(expected)
    assert RUN_SECONDS.bounds[0] > 0


# courses and histograms


def leave(root, version, start, steps, *, shift=0.0, rows=200, sha256=None, reference=REFERENCE):
    """Leave what a version counted: so many rows in each of so many steps of a minute."""
    shared = ModelCounts(root / (sha256 or version * 64))
    shared.describe(reference)
    shared.tell_served(Served(model="m", version=version, since=start))
    clock, counter = [start], RowCounter(reference)
    log = CountLog(shared, reference, counter.size, lambda: clock[0])
    for _ in range(steps):
        block = RNG.normal(size=(rows, len(reference.features)))
        block[:, -1] += shift
        counter.add(log.current(), block, RNG.random(rows))
        log.commit()
        clock[0] += 60
    log.close()


def test_a_course_goes_over_versions_and_names_the_one_of_each_step(tmp_path):
    """Where two scored in one step, the one with more rows; of one version alone, that one's."""
    leave(tmp_path, "1", NOW - 600, 6)
    leave(tmp_path, "2", NOW - 300, 5, shift=1.0, rows=300)
    course = Courses(tmp_path).course_of("m", None, 900.0, NOW)
    assert course.columns == [*NAMES, "score"]
    assert (course.step_s, course.start) == (60, NOW - 840)
    assert [(step.start, step.version, step.n) for step in course.steps] == [
        *((NOW - 600 + 60 * k, "1", 200) for k in range(5)),
        *((NOW - 300 + 60 * k, "2", 300) for k in range(5)),
    ]
    assert [step.severity for step in course.steps[:5]] == [["none"] * 3] * 5
    assert [step.severity for step in course.steps[5:]] == [["none", "critical", "none"]] * 5
    assert [version.version for version in course.versions] == ["2", "1"]
    alone = Courses(tmp_path).course_of("m", "1", 900.0, NOW)
    assert [(step.version, step.n) for step in alone.steps] == [("1", 200)] * 6
    with pytest.raises(NotFound, match="version 7 was never served"):
        Courses(tmp_path).course_of("m", "7", 900.0, NOW)


def test_a_version_with_other_columns_is_left_out(tmp_path):
    """Its features have no row in the map of the newest one."""
    other = build_reference(
        RNG.normal(size=(500, 1)), RNG.random(500), names=["gone"], kinds=["float"], graph_sha256="00"
    )
    leave(tmp_path, "1", NOW - 600, 3, reference=other)
    leave(tmp_path, "2", NOW - 300, 3)
    assert {step.version for step in Courses(tmp_path).course_of("m", None, 900.0, NOW).steps} == {"2"}


def test_a_step_that_is_over_is_judged_once(tmp_path):
    """One that is not over is judged again: rows still come."""
    leave(tmp_path, "1", NOW - 300, 6)
    courses = Courses(tmp_path)
    first = courses.course_of("m", None, 900.0, NOW + 30)
    leave(tmp_path, "1", NOW - 300, 6)
    second = courses.course_of("m", None, 900.0, NOW + 30)
    assert [step.n for step in first.steps] == [200] * 6
    assert [step.n for step in second.steps] == [200] * 4 + [400] * 2
    assert Courses(tmp_path).course_of("m", None, 900.0, NOW + 30).steps[0].n == 400


@pytest.mark.parametrize(
    ("horizon_s", "step_s"), [(10, 60), (900, 60), (3600, 300), (21_600, 600), (86_400, 3600), (604_800, 14_400)]
)
def test_steps_are_no_finer_than_counts_are_kept(horizon_s, step_s):
    """And never more than 48."""
    assert step_seconds(horizon_s) == step_s
    assert horizon_s / step_s <= 48


def test_a_histogram_is_the_verdicts_own_of_any_window(tmp_path):
    """Of what serves by its worker, of any version and any time by what is on disk."""
    leave(tmp_path, "1", NOW - 600, 5)
    leave(tmp_path, "1", NOW - 300, 5, shift=1.0)
    whole = histogram_past(tmp_path, "m", None, "moved", horizon_s=600, until=NOW)
    assert whole.column == judge_past(tmp_path, "m", "1", 600, NOW - 10).features[1]
    assert (whole.version, whole.since, whole.column.n) == ("1", NOW - 600, 2000)
    assert sum(group.reference for group in whole.groups) == pytest.approx(1)
    assert sum(group.current for group in whole.groups) == pytest.approx(1)
    calm = histogram_past(tmp_path, "m", "1", "moved", horizon_s=300, until=NOW - 300)
    assert (calm.column.n, calm.column.severity) == (1000, "none")
    moved = histogram_past(tmp_path, "m", "1", "moved", horizon_s=300, until=NOW)
    assert (moved.column.n, moved.column.severity) == (1000, "critical")
    assert moved.groups[-1].current > 2 * calm.groups[-1].current
    assert histogram_past(tmp_path, "m", "1", "score", horizon_s=300, until=NOW).column.name == "score"
    with pytest.raises(NotFound, match="no feature 'nobody'"):
        histogram_past(tmp_path, "m", "1", "nobody", horizon_s=300, until=NOW)


# sampler


class FakeWorker:
    """What the sampler looks at, with one generation that serves."""

    def __init__(self, versions, generation=None):
        self.carried = 0
        self.metrics = self
        self.models = self
        self.versions = versions
        self.current = generation
        self.slots = {} if generation is None else {"m": self}

    def families(self):
        return self.versions.collect()

    def carry(self):
        self.carried += 1

    def health(self):
        return Health(status="ok", model_loaded=True, models=[])


class FakeGeneration:
    """A feed under a name."""

    name, version, sha256 = "m", "1", "a" * 64

    def __init__(self, feed):
        self.feed = feed


@pytest.fixture
def clock():
    """Monotonic time that a test moves."""
    return Clock(50.0)


@pytest.fixture
def sampler(tmp_path, tallies, clock):
    """One with nothing served, on empty folders."""
    (tmp_path / "monitor").mkdir()
    worker = FakeWorker(tallies[0][0])
    return Sampler(worker, tmp_path / "store", tmp_path / "monitor", clock)


def look(sampler):
    """One look, decoded."""
    sampler.prepare()
    return {kind: json.loads(event) for kind, event in sampler.look().items()}


def test_a_look_tells_what_has_changed_and_the_state_each_time(sampler, clock, tmp_path):
    """Files that another process writes are told when they are there, and again when they are others."""
    first = look(sampler)
    assert first.keys() == {"state", "drift", "alerts", "performance"}
    assert (first["alerts"], first["performance"], first["state"]["window_s"]) == ([], None, 0.0)
    clock.now += 1
    assert look(sampler).keys() == {"state"}
    (tmp_path / "monitor/alerts.jsonl").write_text('{"id": "a", "state": "firing"}\n')
    (tmp_path / "monitor/performance.json").write_text('[{"model": "m", "n": 3}]')
    clock.now += 1
    found = look(sampler)
    assert found["alerts"] == [{"id": "a", "state": "firing"}]
    assert found["performance"] == [{"model": "m", "n": 3}]
    assert found["state"]["window_s"] == 2.0
    with (tmp_path / "monitor/alerts.jsonl").open("a") as file:
        file.write('{"id": "b", "state": "firing"}\n{"id": "c", "sta')
    assert look(sampler)["alerts"] == [{"id": "a", "state": "firing"}, {"id": "b", "state": "firing"}]
    (tmp_path / "monitor/performance.json").write_text('[{"model": "m", ')
    assert look(sampler)["performance"] is None


def test_a_swap_is_told_once_it_has_taken_effect(sampler, tmp_path):
    """Its line of history is there before the manifest, and does not count until then."""
    other = ModelStore(tmp_path / "other")
    cause = Cause(reason="better", who="maria")
    with other.writer() as writer:
        sha256 = writer.put(b"model")
        writer.publish({"m": ModelRoles(champion=Entry(version="7", sha256=sha256))}, {("m", "champion"): cause})
    (tmp_path / "store").mkdir()
    for name, told in ((other.history_path, []), (other.manifest_path, [(None, "7", "better", "maria")])):
        (tmp_path / "store" / name.name).write_bytes(name.read_bytes())
        swaps = look(sampler)["state"]["swaps"]
        assert [(swap["before"], swap["after"], swap["reason"], swap["who"]) for swap in swaps] == told


def test_only_the_newest_alerts_are_told(sampler, tmp_path, monkeypatch):
    """However long the file is, its end is read; what that cuts is left out."""
    monkeypatch.setattr(sampling, "_TAIL_BYTES", 100)
    (tmp_path / "monitor/alerts.jsonl").write_text("".join(f'{{"id": {place}}}\n' for place in range(1000, 2000)))
    assert look(sampler)["alerts"] == [{"id": place} for place in range(1993, 2000)]
    monkeypatch.undo()
    (tmp_path / "monitor/alerts.jsonl").write_text("".join(f'{{"id": {place}}}\n' for place in range(1000, 3000)))
    assert look(sampler)["alerts"] == [{"id": place} for place in range(2950, 3000)]


def test_figures_are_over_the_last_five_seconds(sampler, clock, tallies):
    """What was counted before that is in no rate."""
    one = tallies[1][0]
    one.tell_loaded("a" * 64, loaded=True)
    rates = []
    for _ in range(9):
        (version,) = look(sampler)["state"]["versions"]
        rates.append(version["rows_per_s"])
        count(one, rows=10 if len(rates) == 1 else 0)
        clock.now += 1
    assert rates == [0, 10, 5, pytest.approx(10 / 3), 2.5, 2, 0, 0, 0]


def test_drift_is_the_apis_verdict_and_takes_a_tenth_of_the_time_at_most(tmp_path, tallies, clock, linear, monkeypatch):
    """With many features a verdict takes long, and comes more rarely."""
    monitor = DriftMonitor(tmp_path / "counts")
    metadata = linear.file.metadata
    feed = monitor.open(Entry(version="1", sha256="a" * 64), "m", metadata, GatewaySettings())
    rows = RNG.normal(size=(500, len(metadata.signature.columns))).astype("float32")
    feed.put(rows, np.tile(np.float32([0.4, 0.6]), (500, 1)), ())
    generation = FakeGeneration(feed)
    report = judge_serving(generation, None)

    def slow(*arguments):
        clock.now += 0.3
        return judge_serving(*arguments)

    monkeypatch.setattr(sampling, "judge_serving", slow)
    sampler = Sampler(FakeWorker(tallies[0][0], generation), tmp_path / "store", tmp_path / "monitor", clock)
    (found,) = look(sampler)["drift"]
    columns = report.columns
    assert found["names"] == [column.name for column in columns]
    assert found["psi"] == [column.psi for column in columns]
    assert found["severities"] == [column.severity for column in columns]
    assert (found["n"], found["severity"], found["version"]) == (500, "critical", "1")
    histogram = histogram_serving(generation, columns[0].name, None)
    assert histogram.column == columns[0]
    feed.put(rows[:100], np.tile(np.float32([0.4, 0.6]), (100, 1)), ())
    judged = []
    for _ in range(6):
        clock.now += 1
        judged.append("drift" in look(sampler))
    assert judged.count(True) == 1
    assert judged.index(True) >= 2
    monitor.stop()


def test_where_nothing_is_monitored_all_else_is_told(tmp_path, tallies, clock, linear):
    """`monitoring = false` leaves the page its figures."""
    generation = FakeGeneration(NoFeed(linear.file.metadata.reference))
    sampler = Sampler(FakeWorker(tallies[0][0], generation), tmp_path / "store", tmp_path / "monitor", clock)
    found = look(sampler)
    assert found["drift"] == []
    assert found["state"]["status"] == "ok"


def test_what_is_wrong_is_told_in_words(tallies, tmp_path, clock):
    """A model that does not load, a registry that does not answer, an observer that has fallen silent."""
    health = {
        "status": "degraded",
        "model_loaded": False,
        "models": [{"name": "m", "loaded": None, "problem": "version 2 cannot be loaded: torn"}],
        "registry": {
            "pid": 1,
            "registry": {"reachable": False, "since": "2026-01-01T00:00:00Z", "error": "refused"},
            "models": {"m": {"champion": {"state": "pending", "version": "2", "serving": "1", "reason": "no space"}}},
        },
    }
    worker = FakeWorker(tallies[0][0])
    worker.health = lambda: msgspec.convert(health, Health)
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor/observer.json").write_text('{"time": 1, "problems": {"alarms": "disk full"}}')
    notices = look(Sampler(worker, tmp_path / "store", tmp_path / "monitor", clock))["state"]["notices"]
    assert notices[0] == "m: version 2 cannot be loaded: torn"
    assert notices[1] == "the registry does not answer, what serves goes on: refused"
    assert notices[2] == "m, champion: pending 2, version 1 goes on: no space"
    assert notices[3].startswith("the observer has been silent for")
    assert notices[4] == "alarms: disk full"


# streams


def test_a_slow_client_gets_the_newest_of_each_kind():
    """What it did not take in time is replaced, so it holds no more than one of each."""

    async def play():
        mailbox = Mailbox()
        for number in range(1000):
            mailbox.put({"state": b"%d" % number, "drift": b"[]"})
        assert await mailbox.take() == b"event: state\ndata: 999\n\nevent: drift\ndata: []\n\n"
        assert await mailbox.take(0.001) == b": still here\n\n"
        mailbox.close()
        assert await mailbox.take() is None

    asyncio.run(play())


class FakeSampler:
    """Counts looks; fails while it is told to."""

    def __init__(self):
        self.looks = 0
        self.fails = False
        self.prepared_by = None

    def prepare(self):
        self.prepared_by = threading.current_thread()

    def look(self):
        assert threading.current_thread() is not self.prepared_by
        if self.fails:
            raise OSError("no metrics")
        self.looks += 1
        return {"state": b"%d" % self.looks, **({"performance": b"null"} if self.looks == 1 else {})}


@pytest.fixture
def made():
    """Samplers that were made."""
    return []


def streams_of(made):
    def make():
        made.append(FakeSampler())
        return made[-1]

    return Streams(make, 0.001)


def test_nobody_looks_while_nobody_watches_and_all_share_one_look(made):
    """A sampler begins with the first client and ends with the last; who comes later is told what is known."""

    async def play():
        streams = streams_of(made)
        await asyncio.sleep(0.01)
        assert made == []
        async with streams.join() as one:
            assert await one.take() == b"event: state\ndata: 1\n\nevent: performance\ndata: null\n\n"
            async with streams.join() as other:
                told = await other.take()
                assert b"event: performance" in told
                await one.take()
            assert len(made) == 1
        looks = made[0].looks
        await asyncio.sleep(0.01)
        assert made[0].looks <= looks + 1
        async with streams.join() as again:
            assert (await again.take()).startswith(b"event: state\ndata: 1\n")
        assert len(made) == 2

    asyncio.run(play())


def test_a_stop_ends_every_stream_and_opens_none(made):
    """Nobody who watches holds it up."""

    async def play():
        streams = streams_of(made)
        async with streams.running(), streams.join() as one:
            await one.take()
            waiting = asyncio.ensure_future(one.take(60))
            streams.close()
            assert await waiting is None
            assert streams.refusal == "the server is stopping"
            async with streams.join() as late:
                assert await late.take() is None
        assert streams._task is None

    asyncio.run(play())


def test_a_stream_ends_when_it_has_had_its_bytes():
    """The server keeps what its client does not read; the page opens the next stream at once."""

    async def play():
        mailbox, sent = Mailbox(), []

        async def send(message):
            sent.append(len(message["body"]))
            mailbox.put({"state": b"x" * 2**20})

        async with asyncio.timeout(10):
            await _pump(mailbox, send)
        assert STREAM_BYTES <= sum(sent) < STREAM_BYTES + 2**20 + 100

    asyncio.run(play())


def test_streams_are_few(made):
    """One over the bound is refused, in words, and a place that is left is free again."""

    async def play():
        streams = streams_of(made)
        joined = [streams.join() for _ in range(STREAMS_MAX)]
        for one in joined:
            assert streams.refusal is None
            await one.__aenter__()
        assert streams.refusal.startswith("32 streams are open")
        await joined.pop().__aexit__(None, None, None)
        assert streams.refusal is None
        for one in joined:
            await one.__aexit__(None, None, None)
        assert repr(streams) == "Streams(open=0, closed=False)"

    asyncio.run(play())


def test_a_look_that_fails_is_told_once_and_tried_again(made, caplog):
    """The streams stay open meanwhile."""

    async def play():
        streams = streams_of(made)
        async with streams.join() as one:
            await one.take()
            made[0].fails = True
            await asyncio.sleep(0.02)
            made[0].fails = False
            looks = made[0].looks
            async with asyncio.timeout(5):
                while made[0].looks == looks:
                    assert await one.take() is not None

    asyncio.run(play())
    assert caplog.text.count("OSError: no metrics") == 1
