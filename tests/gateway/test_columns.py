"""Rows by group on `/metrics`: one sum over all workers that never goes back, and ends with its version."""

from __future__ import annotations

import os

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import COLUMN_ROWS, LEFT_OUT, REFERENCE_ROWS
from gateway.series import KEEP_S, Versions
from gateway.settings import GatewaySettings
from monitoring import Grouping, RowCounter, build_reference

SHA = "a" * 64
LABELS = {"model": "m", "role": "champion", "version": "1", "sha256": SHA}


@pytest.fixture
def reference():
    """Of two uniform columns, one with a name that needs care, and a uniform score."""
    rng = np.random.default_rng(1)
    return build_reference(
        rng.random((500, 2)), rng.random(500), names=["a", 'b "µ\\n"\n'], kinds=["float"] * 2, graph_sha256="00"
    )


@pytest.fixture
def workers(tmp_path):
    """Two workers of one server."""
    return [Versions(tmp_path / "versions", lambda: 1_700_000_000.0, pid) for pid in (1001, 1002)]


def opened(versions, reference, features=100, sha256=SHA, version="1"):
    return versions.open("m", "champion", version).columns(sha256, reference, features)


def block(reference, n, seed=2):
    """What a worker counts of n rows."""
    rng = np.random.default_rng(seed)
    counter = RowCounter(reference)
    counts = counter.zeros()
    rows = rng.random((n, 2)).astype(np.float32)
    rows[::10, 0] = np.nan
    counter.add(counts, rows, rng.random(n).astype(np.float32))
    return counts


def shown(versions):
    """Samples as Prometheus reads them: by metric, and there by the labels that are the sample's own."""
    text = versions.render_columns(COLUMN_ROWS, REFERENCE_ROWS, LEFT_OUT).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {}
    for sample in samples:
        own = {key: value for key, value in sample.labels.items() if LABELS.get(key) != value}
        found.setdefault(sample.name, {})[tuple(own.values())] = sample.value
    assert sum(map(len, found.values())) == len(samples)  # no two of the same labels
    return found


def rows(versions):
    return shown(versions).get("hotgate_column_rows_total")


def expected(reference, counts):
    """The same from the grouping: by kind, name and group."""
    grouping = Grouping(reference, [column.name for column in reference.features])
    groups = [
        (column.kind, column.name, str(group) if group < len(column.reference) - 1 else "missing")
        for column in grouping.columns
        for group in range(len(column.reference))
    ]
    return dict(zip(groups, grouping.merge(counts).tolist(), strict=True))


def test_rows_are_summed_over_workers_and_begin_at_0(workers, reference):
    """Whichever is asked; beside what the reference has there, with the version's labels and the file's hash."""
    first, second = (opened(worker, reference) for worker in workers)
    assert rows(workers[0]) == dict.fromkeys(expected(reference, block(reference, 1)), 0)
    first.add(block(reference, 300, 3))
    second.add(block(reference, 200, 4))
    second.add(block(reference, 100, 5))
    total = block(reference, 300, 3) + block(reference, 200, 4) + block(reference, 100, 5)
    assert rows(workers[0]) == rows(workers[1]) == expected(reference, total)
    assert rows(workers[0])["feature", "a", "missing"] == 60
    found = shown(workers[1])
    assert found["hotgate_reference_rows"].keys() == rows(workers[0]).keys()
    assert found["hotgate_reference_rows"]["score", "score", "9"] == 50
    assert found["hotgate_features_left_out"] == {(): 0}


@pytest.mark.parametrize(
    ("features", "names", "left_out"),
    [
        (0, set(), 2),
        (1, {"a"}, 1),
        (7, {"a", 'b "µ\\n"\n'}, 0),
        (('b "µ\\n"\n', "of another model"), {'b "µ\\n"\n'}, 1),
    ],
)
def test_only_so_many_features_or_those_named_have_series(workers, reference, features, names, left_out):
    """The score always has; how many features are left out is told."""
    opened(workers[0], reference, features).add(block(reference, 10))
    found = rows(workers[0])
    assert {name for kind, name, _ in found if kind == "feature"} == names
    assert sum(found.values()) == 10 * (len(names) + 1)
    assert shown(workers[0])["hotgate_features_left_out"] == {(): left_out}


def test_a_dead_workers_rows_stand_and_a_process_of_its_id_counts_on(tmp_path, workers, reference):
    """Nothing is taken back by who comes after, also not by the next generation of a version in one worker."""
    first = opened(workers[0], reference)
    first.add(block(reference, 10))
    opened(workers[0], reference).add(block(reference, 5))
    first.add(block(reference, 20))
    opened(workers[1], reference)
    before = rows(workers[1])
    assert before["feature", "a", "missing"] == 4
    again = Versions(tmp_path / "versions", lambda: 1_700_000_000.0, 1001)
    columns = opened(again, reference)
    assert rows(workers[1]) == before
    columns.add(block(reference, 30))
    assert rows(workers[1])["feature", "a", "missing"] == 7


def test_rows_end_with_their_version(tmp_path, reference, caplog):
    """They stand as long as its other series; then they are gone, and what comes too late is left."""
    now = [1_700_000_000.0]
    worker = Versions(tmp_path / "versions", lambda: now[0], 1001)
    series = worker.open("m", "champion", "1")
    columns = series.columns(SHA, reference, 100)
    columns.add(block(reference, 10))
    worker.release(series)
    columns.add(block(reference, 10))
    assert sum(rows(worker).values()) == 30
    assert not caplog.text
    now[0] += KEEP_S
    worker.sweep()
    assert shown(worker) == {}
    opened(worker, reference)
    assert sum(rows(worker).values()) == 0


def test_two_files_that_call_themselves_one_version_are_told_apart(workers, reference):
    """Servers of model files all say `file`; their groups have nothing to do with each other."""
    rng = np.random.default_rng(9)
    names = ["c", "d"]
    other = build_reference(rng.random((500, 2)), rng.random(500), names=names, kinds=["float"] * 2, graph_sha256="00")
    series = workers[0].open("m", "champion", "1")
    series.columns(SHA, reference, 100).add(block(reference, 20))
    series.columns("b" * 64, other, 100).add(block(other, 10))
    found = rows(workers[0])
    assert sum(n for labels, n in found.items() if labels[0] == "b" * 64) == 30
    assert sum(n for labels, n in found.items() if labels[0] != "b" * 64) == 60
    assert {labels[2] for labels in found if labels[0] == "b" * 64} == {"c", "d", "score"}


def test_without_room_rows_are_kept_told_once_and_shown_later(workers, reference, monkeypatch, caplog):
    """A full disk neither stops a version from loading nor loses a count."""
    writes = os.pwrite

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    columns = opened(workers[0], reference)
    columns.add(block(reference, 10))
    assert sum(rows(workers[1]).values()) == 0
    assert caplog.text.count("No space left on device") == 1
    monkeypatch.setattr(os, "pwrite", writes)
    columns.add(block(reference, 5))
    assert sum(rows(workers[1]).values()) == 45


def test_without_a_folder_that_can_be_written_counting_goes_on(tmp_path, workers, reference, caplog):
    """The description of the columns is tried again as well."""
    series = workers[0].open("m", "champion", "1")
    (folder,) = (tmp_path / "versions").iterdir()
    away = folder.rename(tmp_path / "away")
    columns = series.columns(SHA, reference, 100)
    columns.add(block(reference, 10))
    assert "No such file" in caplog.text
    away.rename(folder)
    columns.add(block(reference, 5))
    assert sum(rows(workers[1]).values()) == 45


def test_a_negative_number_of_features_is_refused():
    """By key, bound and value."""
    with pytest.raises(ValueError, match="metrics_features must be at least 0 or a list of names, not -1"):
        GatewaySettings(metrics_features=-1)
