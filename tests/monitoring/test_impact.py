import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.impact import impact

CELLS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=10)


def test_no_shift_and_a_flat_effect_have_no_impact():
    """And more rows of the same are no shift."""
    assert impact([0.2, 0.9], np.array([10, 30]), np.array([100, 300])) == pytest.approx(0)
    assert impact([0.4, 0.4], np.array([10, 30]), np.array([30, 10])) == pytest.approx(0)


@given(CELLS)
def test_it_is_the_difference_of_two_means(cells):
    """Of the effects over the rows now and before: bounded by their span, reversed when the two are exchanged."""
    reference, counts, effects = (np.array(part) for part in zip(*cells, strict=True))
    found = impact(effects.tolist(), reference, counts)
    before, now = (np.repeat(effects, rows).mean() for rows in (reference, counts))
    assert found == pytest.approx(now - before, abs=1e-9)
    assert impact(effects.tolist(), counts, reference) == pytest.approx(-found, abs=1e-9)
