"""xgboost, lightgbm and catboost answer in a gateway as they do by themselves; each test waits for its package."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from converters import ConversionError, convert, open_session
from converters.adversarial import adversarial_rows
from converters.answers import places_of
from converters.oracle import oracle_of
from converters.session import score
from converters.table import read_table

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 4))
HOLED = np.where(RNG.random(ROWS.shape) < 0.1, np.nan, ROWS)
TWO, THREE = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int), np.digitize(ROWS[:, 0], [-0.5, 0.5])
NUMBER = ROWS.sum(axis=1)
FRAME = pd.DataFrame({"a": ROWS[:, 0] * 1000, "b": ROWS[:, 1], "w": RNG.choice(["x", "y"], 300)})


def xgboost(kind):
    module = pytest.importorskip("xgboost")
    return getattr(module, f"XGB{kind}")(n_estimators=8, n_jobs=1)


def lightgbm(kind):
    module = pytest.importorskip("lightgbm")
    return getattr(module, f"LGBM{kind}")(n_estimators=8, n_jobs=1, verbose=-1)


def catboost(kind):
    module = pytest.importorskip("catboost")
    return getattr(module, f"CatBoost{kind}")(iterations=8, verbose=False, allow_writing_files=False, thread_count=1)


BOOSTERS = pytest.mark.parametrize("make", [xgboost, lightgbm, catboost])


@BOOSTERS
@pytest.mark.parametrize("labels", [TWO, THREE], ids=["two", "three"])
def test_classifier(make, labels):
    """Probabilities and class, and a missing value goes where the booster sends it."""
    estimator = make("Classifier").fit(HOLED, labels)
    file = convert(estimator, HOLED[:150], heldout=HOLED[150:])
    signature = file.metadata.signature
    told = score(open_session(file.data), signature, HOLED.astype(np.float32))

    assert not file.notes  # float32 is enough
    assert all(column.missing for column in signature.columns)
    assert np.abs(told - estimator.predict_proba(HOLED)).max() < 1e-6
    assert (places_of(signature.targets[0], told) == np.ravel(estimator.predict(HOLED))).all()


@BOOSTERS
def test_regressor_of_named_columns(make):
    """Names are the signature's, whatever the booster calls its columns."""
    frame = FRAME[["a", "b"]]
    estimator = make("Regressor").fit(frame, NUMBER)
    file = convert(estimator, frame[:150], heldout=frame[150:])

    assert [column.name for column in file.metadata.signature.columns] == ["a", "b"]
    told = score(open_session(file.data), file.metadata.signature, frame.to_numpy(dtype=np.float32))
    assert np.abs(told[:, 0] - estimator.predict(frame)).max() < 1e-5


@BOOSTERS
@pytest.mark.parametrize(
    ("rows", "steps"),
    [
        (ROWS * 1000, StandardScaler),
        (FRAME, lambda: make_column_transformer((StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["w"]))),
    ],
    ids=["scaler", "table"],
)
def test_behind_other_steps(make, rows, steps):
    """A scaled value falls on the side of a split where the booster has it."""
    estimator = make_pipeline(steps(), make("Classifier")).fit(rows, TWO)

    assert convert(estimator, rows[:150], heldout=rows[150:]).metadata.parity.error_max < 1e-6


@BOOSTERS
def test_rows_lie_at_the_splits_of_boosters_too(make):
    """The certificate looks where a conversion is most likely to be wrong: on both sides of a split."""
    table = read_table(ROWS)
    oracle = oracle_of(make("Regressor").fit(ROWS, NUMBER), table.layout, table.rows)
    made = adversarial_rows(oracle, table.rows, table.columns)
    plain = adversarial_rows(oracle._replace(estimator=Ridge().fit(ROWS, NUMBER)), table.rows, table.columns)

    assert len(made) > len(plain) + 200


@pytest.mark.parametrize("make", [xgboost, lightgbm])
def test_converter_that_is_not_installed_is_named(make, monkeypatch):
    """With the line that installs it."""
    estimator = make("Classifier").fit(ROWS, TWO)
    for name in [name for name in sys.modules if name.startswith("onnxmltools")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxmltools", None)

    with pytest.raises(ConversionError, match=r"needs onnxmltools: pip install 'hotgate\[boosters\]'"):
        convert(estimator, ROWS)


def test_catboost_that_is_not_fitted_is_refused():
    """It is no scikit-learn estimator by class, and is asked all the same."""
    with pytest.raises(ConversionError, match="CatBoostClassifier is not fitted: call fit first"):
        convert(catboost("Classifier"), ROWS)
