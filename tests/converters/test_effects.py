"""Effects: what each feature does to the score, held against what happens when it alone moves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from converters import Column, Provenance, build_model_file
from monitoring import RowCounter, judge


@pytest.fixture(scope="module")
def data():
    """One feature that pushes the score up, one down, one that does nothing, and a flag."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(1200, 4))
    rows[:, 3] = rng.random(1200) < 0.3
    odds = 1.5 * rows[:, 0] - 0.7 * rows[:, 1] + rows[:, 3]
    return rows, (rng.random(1200) < 1 / (1 + np.exp(-odds))).astype(int)


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), RandomForestClassifier(30, max_depth=6, random_state=0)],
    ids=["linear", "forest"],
)
@pytest.mark.parametrize(("feature", "shift"), [(0, 1.0), (0, -0.5), (1, 1.0), (2, 1.0)])
def test_the_impact_is_the_change_of_the_mean_score(build, data, estimator, feature, shift):
    """When one feature moves and the others do not; sign and size, within 0.02."""
    rows, labels = data
    file = build(estimator.fit(rows[:600], labels[:600]), rows)
    moved = rows.copy()
    moved[:, feature] += shift
    before, now = (estimator.predict_proba(each)[:, 1] for each in (rows, moved))
    impacts = impacts_of(file, moved, now)
    assert impacts[feature] == pytest.approx(now.mean() - before.mean(), abs=0.02)
    others = [value for index, value in enumerate(impacts) if index != feature]
    assert max(map(abs, others)) < 0.02


def test_a_category_has_an_effect_by_value(data):
    """A value that the training data does not have is taken as the average."""
    rows, labels = data
    estimator = LogisticRegression().fit(rows[:600], labels[:600])
    kinds = ["float", "float", "float", "category"]
    file = build_model_file(
        estimator,
        columns=[Column(name=f"c{index}", kind=kind) for index, kind in enumerate(kinds)],
        train_rows=rows[:600],
        heldout_rows=rows[600:],
        provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
    )
    flags, unseen = rows.copy(), rows.copy()
    flags[:, 3], unseen[:, 3] = 1.0, 2.0
    before, now = (estimator.predict_proba(each)[:, 1] for each in (rows, flags))
    assert impacts_of(file, flags, now)[3] == pytest.approx(now.mean() - before.mean(), abs=0.02)
    assert impacts_of(file, unseen, before)[3] == pytest.approx(0, abs=0.02)


def test_equal_rows_give_equal_effects(build, data):
    """Six digits of them, so that the file's hash is the same."""
    rows, labels = data
    estimator = RandomForestClassifier(10, random_state=0).fit(rows[:600], labels[:600])
    first, second = (build(estimator, rows) for _ in range(2))
    assert first.sha256 == second.sha256
    for column in first.metadata.reference.features:
        assert column.effects == [round(effect, 6) for effect in column.effects]
        assert all(0 <= effect <= 1 for effect in column.effects)


def impacts_of(file, rows, scores):
    """As a verdict on these rows says."""
    reference = file.metadata.reference
    counter = RowCounter(reference)
    counts = counter.zeros()
    counter.add(counts, rows, scores, (scores > 0.5).astype(float))
    return [column.impact for column in judge(reference, counts).features]
