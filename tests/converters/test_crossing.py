"""Rows at the thresholds of trees, whatever stands in front of them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from converters.adversarial import adversarial_rows
from converters.crossing import crossing_rows
from converters.oracle import oracle_of
from converters.table import read_table

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"a": RNG.normal(size=300) * 1e3, "n": RNG.integers(-50, 50, 300), "w": RNG.choice(["x", "y"], 300)}
)
FRAME.loc[::9, "a"] = np.nan
LABELS = (FRAME["a"].fillna(0) / 1e3 + FRAME["n"] / 50 + (FRAME["w"] == "x") > 0.5).astype(int)


def tabled(model):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(make_column_transformer((numbers, ["a", "n"]), (OneHotEncoder(), ["w"])), model)


@pytest.mark.parametrize("model", [DecisionTreeClassifier(random_state=0), DecisionTreeRegressor(random_state=0)])
def test_two_rows_are_neighbours_and_answered_otherwise(model):
    """One number differs, by one float32 or by one, and scikit-learn tells the two rows apart."""
    estimator, table = tabled(model).fit(FRAME, LABELS), read_table(FRAME)
    oracle = oracle_of(estimator, table.layout, table.rows)
    low, high = crossing_rows(oracle, table.rows, table.columns, np.random.default_rng(0))

    assert len(low) == len(high) > 50
    assert (oracle.scores(low)[0] != oracle.scores(high)[0]).any(axis=1).all()
    rows, places = np.nonzero(~np.isclose(low.numbers, high.numbers, rtol=0, atol=0, equal_nan=True))
    assert rows.tolist() == list(range(len(low)))
    assert set(places) == {0, 1}
    for row, place in zip(rows, places, strict=True):
        below, above = low.numbers[row, place], high.numbers[row, place]
        assert above == (below + 1 if place == 1 else np.nextafter(np.float32(below), np.float32(np.inf)))
    assert (low.texts == high.texts).all()


def test_no_trees_need_no_such_rows():
    """A line changes everywhere."""
    table, counts = read_table(FRAME), []
    for model in (LogisticRegression(), DecisionTreeClassifier(random_state=0)):
        oracle = oracle_of(tabled(model).fit(FRAME, LABELS), table.layout, table.rows)
        counts.append(len(adversarial_rows(oracle, table.rows, table.columns)))
    assert counts[1] > counts[0] + 100


def test_constant_answers_cross_nowhere():
    """Nor do columns of one value."""
    same = FRAME.assign(a=1.0, n=2)
    estimator, table = tabled(DecisionTreeRegressor()).fit(same, LABELS * 0), read_table(same)
    oracle = oracle_of(estimator, table.layout, table.rows)

    assert crossing_rows(oracle, table.rows, table.columns, np.random.default_rng(0)) == []
