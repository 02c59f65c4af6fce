"""docs/coverage.md is what the code does, and leaves no estimator out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.coverage import trial
from benchmarks.coverage.subjects import names
from benchmarks.coverage.trial import Row, try_estimator

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
SAMPLE = (
    "ClassifierChain",
    "HistGradientBoostingClassifier",
    "LinearSVC",
    "OneHotEncoder",
    "RandomizedSearchCV",
    "Ridge",
)


def listed():
    """(name, task) → verdict, as the page has them."""
    lines = re.findall(r"^\| (\w+) \| ([a-z ]*) \| ([a-z ]+) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {(name, task.strip()): verdict for name, task, verdict in lines if name != "estimator"}


def test_every_estimator_has_a_row():
    """A new scikit-learn, or a booster, makes this fail: `make coverage-table`."""
    assert {name for name, _ in listed()} == set(names())


def test_nothing_would_be_served_wrong():
    """The script refuses to end well then, and so does this."""
    assert "WRONG" not in PAGE.read_text(encoding="utf-8")
    assert set(listed().values()) == {"certified", "cured", "refused", "not finished", "nothing to serve"}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_row_says_what_comes_of_it(name):
    """Tried anew."""
    found = {(row.name, row.task): row.verdict for row in try_estimator(name)}
    assert found == {key: verdict for key, verdict in listed().items() if key[0] == name}


def test_an_answer_that_is_not_scikit_learns_is_told(monkeypatch):
    """By rows that neither certificate nor verifier has seen."""
    honest = trial._feed
    monkeypatch.setattr(
        trial, "_feed", lambda rows, signature: {name: -value for name, value in honest(rows, signature).items()}
    )
    (row, *_) = try_estimator("Ridge")
    assert isinstance(row, Row)
    assert row.verdict == "WRONG"
    assert "a fresh row is off by" in row.said
