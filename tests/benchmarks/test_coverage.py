"""The coverage table says what the code does: every estimator has a row, and rows that are done again say the same."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from benchmarks.coverage.check import difference
from benchmarks.coverage.page import cells, page, read_cells
from benchmarks.coverage.row import Row, examine
from benchmarks.coverage.subjects import boosters, data_of, names, subjects
from converters import convert

PAGE = Path(__file__, "../../../docs/coverage.md").resolve().read_text(encoding="utf-8")
SUBJECTS = list(subjects())


def test_every_estimator_has_a_row():
    """All of scikit-learn and of the boosters that are installed, in each form of data, and none besides."""
    assert {name for name, _ in read_cells(PAGE)} >= {*names(), *boosters()}
    assert set(read_cells(PAGE)) == {(subject.name, subject.data) for subject in SUBJECTS}


def test_no_row_is_wrong():
    """A served answer that differs from scikit-learn's is a fault, never a row to live with."""
    assert [key for key, told in read_cells(PAGE).items() if told[2] == "WRONG"] == []


@pytest.mark.parametrize("subject", random.Random(0).sample(SUBJECTS, 8), ids=lambda subject: subject.name)
def test_row_done_again_says_the_same(subject):
    """Verdict, kind, precision and reason; the last digit of an error may be another machine's."""
    written, again = read_cells(PAGE)[subject.name, subject.data], cells(examine(subject))
    assert [*again[:5], again[7]] == [*written[:5], written[7]]


def test_votes_decide_the_class_of_an_svc():
    """On this data the held-out rows do not show that votes differ from the largest score; the fresh rows do."""
    subject = next(each for each in SUBJECTS if (each.name, each.data) == ("SVC", "three classes"))
    assert examine(subject).verdict == "certified"


def test_check_finds_a_wrong_answer(tmp_path):
    """A file of one model beside another model's answers: its scores are named."""
    subject = next(each for each in SUBJECTS if each.name == "LogisticRegression")
    right = LogisticRegression()
    data = data_of(subject, right)
    right.fit(data.X, data.y)
    file = convert(right, data.X, data.y)
    path = tmp_path / "model.onnx"
    path.write_bytes(file.data)
    other = LogisticRegression().fit(data.X, data.y)
    other.coef_ = other.coef_ * 1.1

    assert difference(path, file.metadata.signature, right, data.fresh) == ""
    assert "a score is off by" in difference(path, file.metadata.signature, other, data.fresh)
    liar = SimpleNamespace(predict_proba=right.predict_proba, predict=lambda rows: 1 - right.predict(np.asarray(rows)))
    assert "200 of 200 labels" in difference(path, file.metadata.signature, liar, data.fresh)


def test_page_is_read_back():
    """What is written of a row is what the next run is held to."""
    row = Row(name="A", data="rows", group="transformers", verdict="refused", reason="it is so")
    assert read_cells(page([row]))["A", "rows"] == cells(row)
