"""Groups that replicas add up: what comes of them is what the verdict says."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import Grouping, RowCounter, build_reference, judge
from monitoring.psi import psi


@pytest.fixture(scope="module")
def reference():
    """A normal column, one of three values, one that lacks values, one that never changes."""
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.normal(size=700), rng.integers(0, 3, 700), rng.random(700), np.ones(700)])
    rows[::5, 2] = np.nan
    return build_reference(
        rows, rng.random(300), names=["a", "b", "c", "d"], kinds=["float", "int", "float", "float"], graph_sha256="00"
    )


def counted(reference, n, seed):
    rng = np.random.default_rng(seed)
    counter = RowCounter(reference)
    counts = counter.zeros()
    rows = np.column_stack([rng.normal(0.3, 1, n), rng.integers(0, 4, n), rng.random(n), np.ones(n)])
    rows[::7, 2] = np.nan
    counter.add(counts, rows.astype(np.float32), rng.random(n).astype(np.float32) ** 2)
    return counts


def test_psi_of_the_groups_is_the_psi_of_the_verdict(reference):
    """For every feature and the score, and the missing values are those of the verdict too."""
    counts = counted(reference, 400, 2)
    verdict = judge(reference, counts)
    grouping = Grouping(reference, {"a", "b", "c", "d"})
    columns = grouping.columns
    assert [(column.kind, column.name) for column in columns] == [
        *(("feature", name) for name in "abcd"),
        ("score", "score"),
    ]
    ends = np.cumsum([len(column.reference) for column in columns])
    merged = np.split(grouping.merge(counts), ends[:-1])
    assert grouping.size == ends[-1]
    for column, live, said in zip(columns, merged, [*verdict.features, verdict.score], strict=True):
        assert len(column.reference) <= 11
        assert live[-1] == round(said.missing * verdict.n)
        if said.psi is not None:
            assert psi(np.array(column.reference[:-1]), live[:-1]) == said.psi
    assert None not in {said.psi for said in (*verdict.features[:3], verdict.score)}
    assert columns[2].reference[-1] == 140


def test_groups_of_two_processes_add_up_to_those_of_both(reference):
    """The same for all that have the reference, and so are what is left out and the order."""
    parts = [counted(reference, n, n) for n in (300, 500)]
    first, second = (Grouping(reference, {"c", "a"}) for _ in parts)
    assert [column.name for column in first.columns] == ["a", "c", "score"]
    assert first.columns == second.columns
    together = first.merge(parts[0]) + second.merge(parts[1])
    assert together.tolist() == first.merge(parts[0] + parts[1]).tolist()
    assert together.sum() == 3 * 800


def test_a_feature_that_is_called_like_the_score_is_not_the_score():
    """They are told apart by their kind."""
    rng = np.random.default_rng(1)
    reference = build_reference(
        rng.random((100, 1)), rng.random(100), names=["score"], kinds=["float"], graph_sha256="00"
    )
    assert [column.kind for column in Grouping(reference, set()).columns] == ["score"]
    assert [column.kind for column in Grouping(reference, {"score"}).columns] == ["feature", "score"]
