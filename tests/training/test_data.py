from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from training.config import DataConfig
from training.data import load_dataset, write_csv
from training.errors import DataError


@pytest.fixture
def frame():
    """Doubles with all their digits, an integer column and two classes."""
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "size": rng.normal(size=40) * 10.0 ** rng.integers(-9, 9, 40),
            "count": rng.integers(0, 100, 40),
            "kind": np.where(np.arange(40) % 3 == 0, "good", "bad"),
        }
    )


def _load(path, **settings):
    return load_dataset(DataConfig(source=str(path), target="kind", **settings))


def _csv(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return path


def test_the_built_in_set_has_its_display_names():
    """569 rows, 30 columns, malignant is 0."""
    dataset = load_dataset(DataConfig())

    assert dataset.rows.shape == (569, 30)
    assert dataset.classes == (0, 1)
    assert dataset.labels == ("malignant", "benign")
    assert np.bincount(dataset.codes).tolist() == [212, 357]
    assert dataset.columns[0] == "mean radius"


def test_the_digest_is_that_of_the_values_not_of_the_file(tmp_path, frame):
    """CSV, Parquet and a copy written by us have one digest; one bit of one value changes it."""
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    csv, parquet = _load(tmp_path / "rows.csv"), _load(tmp_path / "rows.parquet")
    again = _load(write_csv(parquet, tmp_path / "again.csv"))
    frame.loc[7, "size"] = np.nextafter(frame.loc[7, "size"], np.inf)
    frame.to_csv(tmp_path / "other.csv", index=False)

    assert csv.digest == parquet.digest == again.digest
    assert _load(tmp_path / "other.csv").digest != csv.digest
    assert len(csv.digest) == len(hashlib.sha256().hexdigest())
    assert csv.kinds == ("float", "int")
    assert csv.classes == ("bad", "good")
    assert csv.labels == ("bad", "good")


def test_the_digest_knows_names_and_classes(tmp_path, frame):
    """Equal numbers under another name or with other classes are other data."""
    frame.to_parquet(tmp_path / "a.parquet")
    frame.rename(columns={"size": "length"}).to_parquet(tmp_path / "b.parquet")
    frame.replace("good", "fine").to_parquet(tmp_path / "c.parquet")

    digests = {_load(tmp_path / f"{name}.parquet").digest for name in "abc"}

    assert len(digests) == 3


def test_the_built_in_set_survives_csv(tmp_path):
    """Written and read back, it is the same data."""
    built_in = load_dataset(DataConfig())
    path = write_csv(built_in, tmp_path / "cancer.csv")

    read = load_dataset(DataConfig(source=str(path), target="target"))

    assert read.digest == built_in.digest


def test_ignored_columns_are_no_features(tmp_path, frame):
    """Ids and times stay out, even if they are text."""
    frame.assign(id=[f"r{i}" for i in range(40)]).to_csv(tmp_path / "rows.csv", index=False)

    assert _load(tmp_path / "rows.csv", ignore=("id",)).columns == ("size", "count")


def test_booleans_and_declared_codes_are_categories(tmp_path, frame):
    """Whatever the file; they read back as they were written."""
    frame = frame.assign(flag=frame["size"] > 0)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    plain, csv = _load(tmp_path / "rows.csv"), _load(tmp_path / "rows.csv", categories=("count",))
    parquet = _load(tmp_path / "rows.parquet", categories=("count",))

    assert plain.kinds == ("float", "int", "category")
    assert csv.kinds == parquet.kinds == ("float", "category", "category")
    assert (csv.digest, set(csv.rows[:, 2])) == (parquet.digest, {0.0, 1.0})
    assert csv.digest != plain.digest
    again = _load(write_csv(csv, tmp_path / "again.csv"), categories=("count", "flag"))
    assert (again.digest, again.kinds) == (csv.digest, csv.kinds)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("size", ["'size'", "row 1", "no code of a category"]),
        ("colour", ["no column 'colour'"]),
        ("kind", ["data.categories", "'kind'", "no feature"]),
    ],
)
def test_what_cannot_be_a_category_is_refused_by_name(tmp_path, frame, name, words):
    """Measurements, columns that are not there, the target."""
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError) as caught:
        _load(tmp_path / "rows.parquet", categories=(name,))

    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_labels_are_display_names_in_the_order_of_the_classes(tmp_path, frame):
    """Their number must be that of the classes."""
    frame.to_parquet(tmp_path / "rows.parquet")

    assert _load(tmp_path / "rows.parquet", labels=("Bad", "Good")).labels == ("Bad", "Good")
    with pytest.raises(DataError, match="1 names for 2 classes"):
        _load(tmp_path / "rows.parquet", labels=("Bad",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,kind\n1,x\ntwo,y\n", ["'a'", "row 2", "'two'", "not a number"]),
        ("a,kind\n1,x\n,y\n", ["'a'", "row 2", "missing"]),
        ("a,kind\n1,x\n1e39,y\n", ["'a'", "row 2", "1e+39", "fit"]),
        ("a,kind\n1,x\ninf,y\n", ["'a'", "row 2", "inf"]),
        ("a,kind\n1,x\n9007199254740993,y\n", ["'a'", "row 2", "fit"]),
        ("a,kind\n1,x\n2,\n", ["'kind'", "row 2", "missing"]),
        ("a,kind\n1,0.5\n2,1\n", ["'kind'", "row 1", "0.5", "measurement"]),
        ("a,kind\n1,x\n2,x\n", ["one class only", "x"]),
        ("a,class\n1,x\n", ["no column 'kind'", "a, class"]),
        ("kind\nx\ny\n", ["no column left"]),
        ("a,a,kind\n1,2,x\n", ["'a' twice"]),
        ("a,kind\n", ["no rows"]),
        ("", ["is empty", "needs a header"]),
        ("a,kind\n1,x\n2,y,3\n", ["cannot be read"]),
    ],
)
def test_an_impossible_table_is_refused_by_column_and_row(tmp_path, text, words):
    """Rows count from 1, as in a spreadsheet below its header."""
    with pytest.raises(DataError) as caught:
        _load(_csv(tmp_path, text))

    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("name", ["rows.xlsx", "nowhere.csv"])
def test_a_file_that_is_none_of_ours_is_named(tmp_path, name):
    """Another format, or nothing there."""
    with pytest.raises(DataError, match=name):
        _load(tmp_path / name)


def test_dates_are_refused_by_name(tmp_path, frame):
    """What Parquet types as a date is no number either."""
    frame.assign(day=pd.Timestamp("2024-02-29")).to_parquet(tmp_path / "rows.parquet")

    with pytest.raises(DataError, match="column 'day', row 1"):
        _load(tmp_path / "rows.parquet")
