"""Series of versions: one sum over all workers that ends as a whole, and never while somebody counts."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading

import pytest
from fakes import Clock
from harness import wait_until
from prometheus_client import CollectorRegistry, generate_latest

from gateway.series import KEEP_PAST, KEEP_S, Family, Versions

ROWS = Family(name="rows", kind="counter", help="Rows.")
TOOK = Family(name="took", kind="histogram", help="Seconds.", bounds=(1.0, 2.0))
LOADED = Family(name="loaded", kind="gauge", help="Workers.", labels=("sha256",))


@pytest.fixture
def clock():
    return Clock(1_700_000_000.0)


@pytest.fixture
def workers(tmp_path, clock):
    """Two workers of one server, which end with the test."""
    workers = [Versions(tmp_path / "versions", clock, pid) for pid in (1001, 1002)]
    yield workers
    for worker in workers:
        for series in list(worker._open.values()):
            series.close(clock())


def shown(versions):
    """Samples as Prometheus reads them, by name and labels."""
    registry = CollectorRegistry()
    registry.register(versions)
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def rows(versions, version="1"):
    return shown(versions).get(f'rows_total{{model="m",role="champion",version="{version}"}}')


def counted(versions, version="1", *, model="m", by=0):
    """Count for a version, and go on counting."""
    series = versions.open(model, "champion", version)
    series.value(ROWS).inc(by)
    return series


def test_all_kinds_are_summed_over_workers_and_begin_at_0(workers):
    """As prometheus_client would: buckets add up, a gauge is the sum."""
    labels = 'model="m",role="champion",version="1"'
    for worker in workers:
        series = worker.open("m", "champion", "1")
        buckets, total = series.histogram(TOOK)
        assert rows(workers[0]) is None
        series.value(LOADED, "ab").set(1)
        for bucket in buckets:
            bucket.inc(2)
        total.inc(0.5)
    assert shown(workers[1]) == {
        f'took_bucket{{le="1.0",{labels}}}': 4,
        f'took_bucket{{le="2.0",{labels}}}': 8,
        f'took_bucket{{le="+Inf",{labels}}}': 12,
        f"took_count{{{labels}}}": 12,
        f"took_sum{{{labels}}}": 1,
        'loaded{model="m",role="champion",sha256="ab",version="1"}': 2,
    }
    series.value(ROWS)
    assert rows(workers[0]) == 0


def test_a_version_that_serves_nowhere_is_shown_for_its_time_and_then_by_no_worker(workers, clock):
    """The sum stands to the end, while one worker counts and after; then all of it goes at once."""
    first, second = (counted(worker, by=n) for worker, n in zip(workers, (3, 4), strict=True))
    workers[0].release(first)
    clock.now += 2 * KEEP_S
    workers[0].sweep()
    assert rows(workers[0]) == 7
    second.value(ROWS).inc(1)
    workers[1].release(second)
    clock.now += KEEP_S - 1
    workers[0].sweep()
    assert rows(workers[0]) == rows(workers[1]) == 8
    clock.now += 1
    workers[0].sweep()
    assert shown(workers[0]) == shown(workers[1]) == {}


def test_a_version_that_comes_back_goes_on_and_later_begins_at_0(workers, clock):
    """Prometheus takes a fall to 0 for a restart, any other one for a count that it has not seen."""
    (worker, _) = workers
    for expected in (5, 10):
        worker.release(counted(worker, by=5))
        assert rows(worker) == expected
    clock.now += KEEP_S
    worker.sweep()
    counted(worker)
    assert rows(worker) == 0


def test_two_generations_of_a_version_count_in_one_series(workers):
    """The one that is left does not take the other's away."""
    (worker, _) = workers
    first, second = counted(worker, by=1), counted(worker, by=2)
    worker.release(first)
    second.value(ROWS).inc(4)
    assert rows(worker) == 7


def test_only_the_newest_past_versions_of_a_model_are_shown(workers, clock):
    """However fast it is swapped; what serves, and other models', are not counted among them."""
    counted(workers[1], "0")
    workers[0].release(counted(workers[0], "1", model="other"))
    for version in range(1, KEEP_PAST + 6):
        clock.now += 0.1
        workers[0].release(counted(workers[0], str(version)))
    versions = [str(version) for version in range(KEEP_PAST + 6) if rows(workers[0], str(version)) is not None]
    assert versions == ["0", *(str(version) for version in range(6, KEEP_PAST + 6))]
    assert any('model="other"' in name for name in shown(workers[0]))


def test_what_a_killed_worker_counted_stands_as_long(tmp_path, workers, clock):
    """From when it last told that it was there; its lock went with it."""
    program = (
        "import os, sys; from pathlib import Path; from gateway.series import Family, Versions;"
        "versions = Versions(Path(sys.argv[1]), lambda: float(sys.argv[2]));"
        "versions.open('m', 'champion', '1').value(Family(name='rows', kind='counter', help='Rows.')).inc(9);"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "versions", str(clock.now)], check=False)
    clock.now += KEEP_S - 1
    workers[0].sweep()
    assert rows(workers[0]) == 9
    clock.now += 1
    workers[0].sweep()
    assert rows(workers[0]) is None


def test_only_the_gauges_of_a_dead_worker_are_forgotten(workers):
    """What it counted was counted, what it served it serves no more."""
    for worker in workers:
        counted(worker, by=2).value(LOADED, "ab").set(1)
    workers[0].forget(lambda pid: pid == 1002)
    assert rows(workers[0]) == 4
    assert [value for name, value in shown(workers[0]).items() if name.startswith("loaded")] == [1]


def test_a_scrape_sees_all_of_a_version_or_none(tmp_path, clock):
    """Also one that comes between the removals of two workers' files: the folder is out of sight by then."""
    workers = [Versions(tmp_path / "versions", clock, pid) for pid in range(1001, 1009)]
    for series, worker in [(counted(worker, by=1), worker) for worker in workers]:
        worker.release(series)
    seen, watching = [], [True]

    def look(event, _):
        if event == "os.remove" and watching:
            seen.append(rows(workers[0]))

    sys.addaudithook(look)
    clock.now += KEEP_S
    workers[1].sweep()
    watching.clear()  # a hook stays for good
    assert len(seen) >= len(workers)
    assert set(seen) == {None}


def test_scrapes_go_on_while_versions_come_and_go(tmp_path, clock):
    """A folder that vanishes under a scrape, or under another worker's sweep, breaks neither."""
    workers = [Versions(tmp_path / "versions", clock, pid) for pid in range(1001, 1009)]
    stop, scraped = threading.Event(), []

    def scrape():
        while not stop.is_set():
            scraped.append(rows(workers[0]))
            workers[0].sweep()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        for _ in range(100):
            for series, worker in [(counted(worker, by=1), worker) for worker in workers[1:]]:
                worker.release(series)
            clock.now += KEEP_S
            workers[1].sweep()
    finally:
        stop.set()
        thread.join()
    assert scraped  # and no thread has raised, which pytest would tell


def test_who_comes_while_a_folder_is_dropped_makes_it_anew(tmp_path, workers, clock):
    """Counts never go into a folder that nobody shows any more."""
    workers[0].release(counted(workers[0], by=1))
    (used,) = (tmp_path / "versions").glob("*/used")
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    thread = threading.Thread(target=counted, args=(workers[1],), kwargs={"by": 5})
    thread.start()
    wait_until(lambda: "->" in _locks(used.stat().st_ino), what="the wait for the lock")
    used.parent.rename(tmp_path / "gone")
    os.close(descriptor)
    thread.join()
    assert rows(workers[0]) == 5


def _locks(inode):
    with open("/proc/locks", encoding="ascii") as locks:  # noqa: PTH123 - no regular file
        return " ".join(line for line in locks if f":{inode} " in line)
