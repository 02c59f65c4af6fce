import numpy as np

from training.evidence import hash_rows, read_trained, write_trained


def test_equal_rows_have_equal_hashes_and_others_have_not():
    """Signs of zero and kinds of NaN make no difference; one bit of a value does."""
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [np.nan, 1.0], [-np.nan, 1.0], [0.0, np.nextafter(1.0, 2.0)]])

    a, b, c, d, e = hash_rows(rows).tolist()

    assert a == b
    assert c == d
    assert len({a, c, e}) == 3


def test_columns_are_not_interchangeable():
    """A row is its values in their order."""
    first, second = hash_rows(np.array([[1.0, 2.0], [2.0, 1.0]])).tolist()

    assert first != second


def test_trained_rows_read_back_sorted_and_once(tmp_path):
    """The file has each row's hash once, whatever the order of the rows."""
    rows = np.array([[3.0], [1.0], [3.0]])

    hashes = read_trained(write_trained(rows, tmp_path / "trained.u64"))

    assert hashes.tolist() == sorted({*hash_rows(rows).tolist()})
