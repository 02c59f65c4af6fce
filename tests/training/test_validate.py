from __future__ import annotations

import numpy as np
import pytest

from training.config import ColumnRule, TrainConfig, ValidationConfig, load_config
from training.data import Dataset
from training.errors import ConfigError, DataError
from training.split import Split
from training.train import train
from training.validate import demand_valid, validate


def _dataset(rows, codes):
    rows = np.asarray(rows, dtype=np.float64)
    return Dataset(
        source="rows.csv",
        rows=rows,
        codes=np.asarray(codes, dtype=np.int64),
        columns=("size", "weight")[: rows.shape[1]],
        kinds=("float", "int")[: rows.shape[1]],
        target="kind",
        classes=("bad", "good"),
        labels=("bad", "good"),
    )


@pytest.fixture
def sound():
    """Twenty different rows of two columns, half of each class."""
    return _dataset(np.column_stack([np.arange(20) / 7, np.arange(20) % 5]), np.arange(20) % 2)


def _split(n, heldout=(0, 1, 2, 3)):
    held = np.isin(np.arange(n), heldout)
    return Split(train=np.flatnonzero(~held), heldout=np.flatnonzero(held), max_psi=0.0, max_ks=0.0)


def _found(dataset, split=None, **settings):
    report = validate(dataset, split or _split(len(dataset.rows)), ValidationConfig(**settings))
    return {finding.check: finding for finding in report.findings}


def test_sound_data_has_no_findings(sound):
    """Counts are reported all the same."""
    report = demand_valid(sound, _split(20), ValidationConfig())

    assert report.ok
    assert (report.rows, report.columns, report.classes) == (20, 2, {"bad": 10, "good": 10})
    assert (report.duplicates, report.conflicts, report.leaked) == (0, 0, 0)


def test_repeats_are_counted_from_the_second_on(sound):
    """The first of them is no repeat; the limit itself is allowed."""
    sound.rows[[10, 12]] = sound.rows[8]
    found = _found(sound, duplicates_max=0.05)

    assert found["duplicates"].rows == (11, 13)
    assert "rows 11, 13: equal to" in found["duplicates"].text
    assert not _found(sound, duplicates_max=0.1)


def test_equal_features_with_different_classes_contradict(sound):
    """All rows of the group are named, as nobody knows which label is wrong; they are no repeats."""
    sound.rows[11] = sound.rows[8]
    found = _found(sound)

    assert set(found) == {"conflicts"}
    assert found["conflicts"].rows == (9, 12)


def test_a_held_out_row_that_was_trained_on_leaks(sound):
    """Whatever its class; negative zero is zero."""
    sound.rows[3] = (0.0, 0.0)
    sound.rows[18] = (-0.0, 0.0)
    sound.codes[3] = sound.codes[18]
    sound.rows[0] = (9.0, 9.0)
    found = _found(sound, duplicates_max=1.0, leakage_max=0.0)

    assert found["leakage"].rows == (4,)
    assert "leakage_max" in found["leakage"].text
    assert not _found(sound, duplicates_max=1.0, leakage_max=0.25)


def test_a_rare_class_is_named(sound):
    """One row of twenty is five per cent."""
    sound.codes[:] = 1
    sound.codes[4] = 0

    assert "'bad' has 1 of 20 rows (5.00%)" in _found(sound, minority_min=0.06)["balance"].text
    assert not _found(sound, minority_min=0.05)


def test_values_outside_their_range_are_named_by_row_and_column(sound):
    """Both ends belong to the range."""
    sound.rows[6, 0], sound.rows[7, 0] = -1.0, 99.0
    rules = {"size": ColumnRule(min=0.0, max=19 / 7)}

    found = _found(sound, columns=rules)
    assert found["range"].rows == (7, 8)
    assert "'size', rows 7, 8: -1 lies outside 0 to 2.71429" in found["range"].text
    sound.rows[6:8, 0] = 0.0, 19 / 7
    assert "range" not in _found(sound, columns=rules)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"sizes": ColumnRule()}}, "no column 'sizes'; did you mean 'size'?"),
        ({"columns": {"size": ColumnRule(kind="int")}}, "'size' is of kind float, validation.columns says int"),
        ({"columns": {"size": ColumnRule()}, "only": True}, "'weight' is not in validation.columns"),
    ],
)
def test_another_schema_is_named(sound, settings, words):
    """A column that is missing, of another kind, or not expected."""
    assert words in _found(sound, **settings)["schema"].text


def test_all_findings_are_told_at_once(sound):
    """One look at the data, one message."""
    sound.rows[11] = sound.rows[8]
    with pytest.raises(DataError, match=r"(?s)rows\.csv is not fit.*sizes.*rows 9, 12: the same features"):
        demand_valid(sound, _split(20), ValidationConfig(columns={"sizes": ColumnRule()}))


def test_training_stops_before_mlflow_is_opened(tmp_path):
    """A column out of its range ends `train`; the home stays without a database."""
    config = load_config(None, ["validation.columns={mean radius: {max: 10}}", "split.balance_draws=0"])

    with pytest.raises(DataError, match="'mean radius', rows 1, 2, 3, 4, 5 and"):
        train(config, tmp_path / "home")
    assert not list(tmp_path.rglob("mlflow.db"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("validation.leakage_max=2", "leakage_max must be from 0.0 to 1.0, got 2"),
        ("validation.columns={size: {min: 3, max: 2}}", "min must not be above max"),
        ("validation.columns={size: {mim: 3}}", "did you mean 'min'?"),
        ("validation.leakage=2", "did you mean 'leakage_max'?"),
        ("sed.folds=2", "did you mean 'seed'?"),
        ("split.xyz=2", "it has holdout, balance_draws, keep"),
    ],
)
def test_a_wrong_key_says_what_was_meant(override, words):
    """Near misses get a proposal, others the list."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])

    assert words in str(caught.value)
    assert isinstance(TrainConfig().validation, ValidationConfig)
