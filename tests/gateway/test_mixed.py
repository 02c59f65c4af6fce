"""Models of every kind, from rows as clients send them to what is counted and logged of them."""

from __future__ import annotations

import asyncio
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fakes import Remembering
from hypothesis import given
from hypothesis import strategies as st
from mixed_model import CITIES, COLUMNS, TARGETS, mixed_model, packed, rows_of

from converters.modelfile import MISSING_TEXT
from gateway.batcher import Batcher
from gateway.drift import DriftMonitor
from gateway.engine import prepare
from gateway.histogram import groups_of
from gateway.observe.export import Wanted, WantedError, export
from gateway.observe.intake import Intake
from gateway.observe.predlog import PredictionKeeper
from gateway.outcomes import outcome_reader
from gateway.predictionlog import PredictionLog
from gateway.predictions import FrameHead, is_sampled, pack_frame, read_frame
from gateway.settings import GatewaySettings, LogSettings
from gateway.spool import closed_files, read_spool
from gateway.store import Entry
from gateway.tickets import Share, Ticket
from gateway.turns import LoopTurns
from monitoring.groups import OTHER

SETTINGS = GatewaySettings(drift_window_rows=10**9, max_batch_rows=64, queue_limit_rows=10_000, queue_limit_ms=1e9)


class Watching(Remembering):
    """A `BatchObserver` that hands everything to a feed."""

    def __init__(self, feed):
        super().__init__()
        self.feed = feed

    def ran(self, rows, scores, members, *, texts, **run):
        """Both."""
        super().ran(rows, scores, members, texts=texts, **run)
        assert self.feed.put(rows, scores, members, texts) == 0


def score_all(engine, observer, requests):
    """Through a batcher; requests are lists of rows by their id."""

    async def ask(under_test, name, rows):
        ticket = Ticket(0.0)
        ticket.origin, ticket.deadline = name, math.inf
        under_test.submit_many(rows, "$", ticket)
        return await ticket

    async def main(executor):
        under_test = Batcher(engine, observer, executor, LoopTurns(asyncio.get_running_loop()), SETTINGS)
        return await asyncio.gather(*[ask(under_test, name, rows) for name, rows in requests.items()])

    with ThreadPoolExecutor(1) as executor:
        return asyncio.run(asyncio.wait_for(main(executor), 20))


def watch(folder, kind, requests, dtype="float32", log=None):
    """The verdict after these requests, and the model's metadata."""
    data, sha256, metadata = mixed_model(kind, dtype)
    monitor = DriftMonitor(folder / "counts", log)
    feed = monitor.open(Entry(version="1", sha256=sha256), "m", metadata, SETTINGS)
    answers = score_all(prepare(data, max_rows=64, threads=1), Watching(feed), requests)
    verdict = feed.verdict().drift
    monitor.stop()
    return verdict, metadata, answers


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_answer_is_watched(tmp_path, kind):
    """The score of the first target, and its class if it has any; rows like those of the reference are no drift."""
    verdict, metadata, answers = watch(tmp_path, kind, {"a": rows_of(500, 1), "b": rows_of(1, 2)})
    assert sum(map(len, answers)) == verdict.n == 501
    assert verdict.severity == "none"
    assert [column.severity for column in verdict.columns] == ["none"] * len(verdict.columns)
    assert (verdict.label is not None) == bool(metadata.signature.classes)
    assert (verdict.score.n, verdict.score.missing) == (501, 0.0)
    if verdict.label is not None:
        assert {share.name for share in verdict.label.categories} <= {*metadata.signature.labels, OTHER}
        assert sum(share.current for share in verdict.label.categories) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["probabilities", "value", "decision"])
def test_a_shift_is_seen_in_score_and_class(tmp_path, kind):
    """Older clients: larger numbers, and more of the upper class."""
    verdict, _, _ = watch(tmp_path, kind, {"a": [[age + 15, *rest] for age, *rest in rows_of(500, 1)]})
    assert (verdict.features[0].severity, verdict.score.severity) == ("critical", "critical")
    assert verdict.label is None or verdict.label.severity == "critical"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_text_counts_as_a_category_or_by_its_length(tmp_path, dtype):
    """Known, other and missing cities; long notes; flags and whole numbers as what they are."""
    rows = [
        [50.123456789, (*CITIES, "Genf", None)[number % 5], 3, number % 4 == 0, "é" * (45 if number % 2 else 20)]
        for number in range(400)
    ]
    verdict, metadata, _ = watch(tmp_path, "probabilities", {"a": rows}, dtype)
    age, city, visits, member, note = verdict.features
    assert {share.name: share.current for share in city.categories} == {
        name: pytest.approx(0.25) for name in (*CITIES, OTHER)
    }
    assert (city.n, city.missing, city.outside) == (320, 0.2, 0.25)
    assert {share.name: share.current for share in member.categories} == {"0": 0.75, "1": 0.25, OTHER: 0.0}
    assert (visits.n, note.n, note.kind, note.outside) == (400, 400, "int", 0.5)
    assert age.severity == visits.severity == "critical"
    assert metadata.reference.dtype == dtype
    assert [group.label for group in groups_of(metadata.reference.features[1], np.zeros(4, dtype=np.int64))] == [
        *metadata.reference.features[1].categories, OTHER,
    ]  # fmt: skip


def test_doubles_are_counted_as_doubles(tmp_path):
    """Values that float32 cannot tell apart lie on the two sides of an edge."""
    data, sha256, metadata = mixed_model("value", "float64")
    age = metadata.reference.features[0]
    edge = age.edges[5]
    assert np.float32(edge) == np.float32(edge + 1e-9)
    feed = DriftMonitor(tmp_path).open(Entry(version="1", sha256=sha256), "m", metadata, SETTINGS)
    rows = [[edge if number % 2 else edge + 1e-9, None, 1, True, ""] for number in range(200)]
    score_all(prepare(data, max_rows=64, threads=1), Watching(feed), {"a": rows})
    assert feed.total()[1][: len(age.counts)][5:7].tolist() == [100, 100]


REQUESTS = {"a": rows_of(100, 1), "b": rows_of(1, 2), "c": rows_of(30, 3), "d": rows_of(1, 4), "e": rows_of(70, 5)}


def frames(folder):
    """All that closed files of the spool hold."""
    return [read_frame(frame) for path in closed_files(folder / "spool/predictions") for frame in read_spool(path)]


@pytest.mark.parametrize("sample", [1.0, 0.5])
def test_texts_are_handed_over_with_their_rows(tmp_path, sample):
    """Of requests that are split over batches and of single ones; null where one is missing."""
    watch(tmp_path, "probabilities", REQUESTS, log=PredictionLog(tmp_path, LogSettings(sample=sample)))
    found = {
        (request_id, number): [row[0], city, int(row[1]), bool(row[2]), note]
        for frame in frames(tmp_path)
        for request_id, number, row, city, note in zip(
            frame.request_ids, frame.numbers.tolist(), frame.rows.tolist(), *frame.texts, strict=True
        )
    }
    expected = {
        (name, number): [float(np.float32(row[0])), *row[1:]]
        for name, rows in REQUESTS.items()
        if is_sampled(name, sample)
        for number, row in enumerate(rows)
    }
    assert found == expected
    assert 0 < len(found) <= 202 * sample


@pytest.mark.parametrize(
    "redact", [("note",), ("note", "age"), ("city", "note"), ("age", "city", "visits", "member", "note")]
)
def test_redacted_texts_leave_no_worker(tmp_path, redact):
    """Not one byte of them is in the spool, nor their length."""
    rows = [[60.5, "Bern", 4, True, "secret" * 3]] * 10
    watch(tmp_path, "probabilities", {"a": rows}, log=PredictionLog(tmp_path, LogSettings(redact=redact)))
    (frame,) = frames(tmp_path)
    assert frame.texts == [[text] * 10 for name, text in (("city", "Bern"),) if name not in redact]
    numbers = {"age": 60.5, "visits": 4.0, "member": 1.0}
    assert frame.rows.tolist() == [[value for name, value in numbers.items() if name not in redact]] * 10
    (path,) = closed_files(tmp_path / "spool" / "predictions")
    assert b"secret" not in path.read_bytes()
    assert (b"Bern" in path.read_bytes()) == ("city" not in redact)


@given(st.lists(st.text() | st.just(MISSING_TEXT), min_size=1, max_size=20))
def test_any_text_is_read_as_it_was_packed(texts):
    """Line ends and empty ones, too."""
    head = FrameHead(sha256="b", model="m", version="1", columns=1, width=1)
    numbers = np.ones((len(texts), 1), np.float32)
    column = np.array([[text, "x"] for text in texts], dtype=object)
    found = read_frame(b"".join(pack_frame(head, numbers, numbers, ["r"] * len(texts), column)))
    assert found.texts == [[None if text == MISSING_TEXT else text for text in texts], ["x"] * len(texts)]
    assert found.request_ids == ["r"] * len(texts)


def test_texts_are_let_go_once_they_are_handed_over(tmp_path):
    """A long one must not lie in memory until another takes its place."""
    _, sha256, metadata = mixed_model()
    monitor = DriftMonitor(tmp_path / "counts", PredictionLog(tmp_path, LogSettings()))
    feed = monitor.open(Entry(version="1", sha256=sha256), "m", metadata, SETTINGS)
    numbers, texts = packed(metadata.signature, rows_of(20))
    note = "".join(["long"] * 1000)
    texts[:, 1] = note
    held = sys.getrefcount(note)
    feed.put(numbers, np.ones((20, 2), np.float32), [SimpleNamespace(origin=Share("a", 0, 20))], texts)
    assert sys.getrefcount(note) == held + 20
    feed.count()
    assert sys.getrefcount(note) == held


def log_table(folder, sha256):
    """What an observer makes of the spool."""
    observe(folder)
    return pq.read_table(folder / "predictions" / sha256)


def observe(folder):
    """What an observer does with the spool."""
    keeper = PredictionKeeper(folder, keep_s=1e9, keep_bytes=2**30)
    Intake(folder, [keeper.take]).look()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_of_the_log_are_of_their_kinds(tmp_path, dtype):
    """Texts as they were sent, whole numbers and flags as such, other numbers as the graph was given them."""
    rows = [*rows_of(50, 1), [33.1, None, 2**53 if dtype == "float64" else 2**24, True, ""], [0.1, "\n", 0, False, "é"]]
    _, metadata, _ = watch(tmp_path, "value", {"a": rows}, dtype, PredictionLog(tmp_path, LogSettings()))
    found = log_table(tmp_path, mixed_model("value", dtype)[1])
    names = [column.name for column in metadata.signature.columns]
    assert [str(found.schema.field(name).type) for name in names] == [
        "float" if dtype == "float32" else "double", "string", "int64", "bool", "string",
    ]  # fmt: skip
    assert [list(row.values()) for row in found.select(names).to_pylist()] == [
        [float(np.dtype(dtype).type(age)), *rest] for age, *rest in rows
    ]


def test_redacted_columns_keep_their_types(tmp_path):
    """So that files with and without them are read together."""
    log = PredictionLog(tmp_path, LogSettings(redact=("city", "visits", "member")))
    watch(tmp_path, "value", {"a": rows_of(5)}, log=log)
    found = log_table(tmp_path, mixed_model("value")[1])
    assert found["age"].null_count == found["note"].null_count == 0
    assert found["city"].null_count == found["visits"].null_count == found["member"].null_count == 5
    assert [str(found.schema.field(name).type) for name in ("city", "visits", "member")] == ["string", "int64", "bool"]


OWN = {
    "probabilities": ["label", "prediction", "probability_no", "probability_yes"],
    "three": ["label", "prediction", "probability_a", "probability_b", "probability_c"],
    "decision": ["label", "prediction", "score"],
    "given": ["label", "prediction", "score_7", "score_9"],
    "only the class": ["label", "prediction"],
    "one class": ["label", "prediction"],
    "value": ["value"],
    "values": ["value_0", "value_1", "value_2"],
    "several": ["price_value", "buys_label", "buys_prediction", "buys_probability_no", "buys_probability_yes"],
    "class first": ["buys_label", "buys_prediction", "buys_probability_no", "buys_probability_yes", "price_value"],
}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_answer_is_logged_as_it_was_given(tmp_path, kind):
    """Class and scores are those that the HTTP answer tells of the row."""
    log = PredictionLog(tmp_path, LogSettings())
    _, metadata, answers = watch(tmp_path, kind, {"a": rows_of(20, 1), "b": rows_of(1, 2)}, log=log)
    found = log_table(tmp_path, mixed_model(kind)[1])
    assert found.column_names[len(COLUMNS) :] == [
        *OWN[kind], "request_id", "row", "time", "model", "version", "sha256",
    ]  # fmt: skip
    read = outcome_reader(metadata.signature)
    rows = {("a", row): values for row, values in enumerate(answers[0])} | {("b", 0): answers[1][0]}
    assert len(rows) == len(found)
    for line in found.to_pylist():
        told = msgspec.to_builtins(read(rows[line["request_id"], line["row"]]))
        flat = [value for part in told.get("targets", {"": told}).values() for value in spread(part)]
        assert [line[name] for name in OWN[kind]] == flat


def spread(outcome):
    """Class, label and scores of an outcome, in the log's order."""
    yield from (outcome[name] for name in ("label", "prediction") if name in outcome)
    for name in ("probabilities", "scores", "value"):
        scores = outcome.get(name, [])
        yield from scores.values() if isinstance(scores, dict) else scores if isinstance(scores, list) else [scores]


@pytest.mark.parametrize("place", [-1.0, 2.0, 0.5])
def test_a_class_that_there_is_not_is_null(tmp_path, place):
    """A graph that gives the class itself may give anything; the log goes on."""
    _, sha256, metadata = mixed_model("given")
    monitor = DriftMonitor(tmp_path / "counts", PredictionLog(tmp_path, LogSettings()))
    feed = monitor.open(Entry(version="1", sha256=sha256), "m", metadata, SETTINGS)
    numbers, texts = packed(metadata.signature, rows_of(2))
    answers = np.array([[place, 1, 2], [1, 3, 4]], np.float32)
    feed.put(numbers, answers, [SimpleNamespace(origin=name) for name in "ab"], texts)
    monitor.stop()
    assert log_table(tmp_path, sha256).select(OWN["given"]).to_pylist() == [
        {"label": None, "prediction": None, "score_7": 1.0, "score_9": 2.0},
        {"label": "9", "prediction": 9, "score_7": 3.0, "score_9": 4.0},
    ]


SENT = [*rows_of(30, 1, CITIES), [33.25, 'Zürich, "Nord"', 7, True, "a,b\nc"]]


def exported(folder, kind, suffix, truth, **wanted):
    """The file that `export` makes of `SENT`, read by pandas; its columns."""
    watch(folder, kind, {"a": SENT}, "float64", PredictionLog(folder, LogSettings()))
    observe(folder)
    out = folder / f"rows.{suffix}"
    export(folder / "predictions", Wanted("m", **wanted), out, lambda _, rows: [truth(row) for row in rows])
    return pd.read_parquet(out) if suffix == "parquet" else pd.read_csv(out, keep_default_na=False, na_values=["-"])


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_export_gives_back_what_was_sent(tmp_path, suffix):
    """Every value of its kind; and for a number, the number that came true."""
    found = exported(tmp_path, "value", suffix, lambda row: row + 0.25)
    columns = [column.name for column in COLUMNS]
    assert found[columns].to_numpy().tolist() == SENT
    assert [found[name].dtype.kind for name in ("age", "visits", "member")] == ["f", "i", "b"]
    assert found["label"].tolist() == [row + 0.25 for row in range(len(SENT))]


def test_only_numbers_are_true_of_a_number(tmp_path):
    """What is no number is no label; a whole one is."""
    found = exported(tmp_path, "value", "parquet", [3, True, "4", None, *[0.5] * 30].__getitem__)
    assert [None if math.isnan(label) else label for label in found["label"][:5]] == [3.0, None, None, None, 0.5]


def test_the_label_of_several_targets_is_the_first_ones(tmp_path):
    """A class as `predict` gives it; the other target has none."""
    found = exported(tmp_path, "class first", "parquet", lambda row: "y" if row % 2 else None, labelled_only=True)
    assert found["label"].tolist() == ["y"] * 15
    assert found["age"].tolist() == [row[0] for row in SENT[1::2]]
    assert not {"price_value", "buys_label"} & set(found.columns)


def test_tables_are_not_mixed_with_matrices(tmp_path):
    """Although their columns are called the same, and are of equal kinds: flags of one are numbers of the other."""
    log = PredictionLog(tmp_path, LogSettings())
    numbers = tuple(column for column in COLUMNS if column.kind != "string")
    of = msgspec.structs.replace(mixed_model("value")[2].signature, columns=numbers, text_input="")
    for version, form in (("1", "table"), ("2", "matrix")):
        signature = msgspec.structs.replace(of, form=form)
        feed = log.open(Entry(version=version, sha256=version * 64), "m", signature)
        feed.append(np.ones((1, 3), np.float32), np.ones((1, 1), np.float32), ["z"])
    log.close()
    observe(tmp_path)
    with pytest.raises(WantedError, match="differ in columns or classes: choose one"):
        export(tmp_path / "predictions", Wanted("m"), tmp_path / "x.csv", lambda ids, _: [None] * len(ids))
