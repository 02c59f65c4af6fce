"""What one row of an answer says, for each kind of target."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from converters.answers import label_of, score_of
from converters.modelfile import Column, Signature, Target
from gateway.outcomes import outcome_reader

CATS = {"classes": ("cat", "dog"), "labels": ("a cat", "a dog")}
THREE = {"classes": (1, 2, 4), "labels": ("one", "two", "four")}


def signature(*targets):
    return Signature(columns=(Column(name="x"),), input_name="X", targets=targets, score_output="p")


@pytest.mark.parametrize(
    ("targets", "row", "outcome"),
    [
        ([Target(scores="value", width=1)], [2.5], {"value": 2.5}),
        ([Target(scores="value", width=3)], [1.0, 2.0, 3.0], {"value": [1.0, 2.0, 3.0]}),
        (
            [Target(**CATS, scores="decision", decides="sign", width=1)],
            [0.25],
            {"prediction": "dog", "label": "a dog", "scores": 0.25},
        ),
        (
            [Target(**CATS, scores="decision", decides="sign", width=1)],
            [0.0],
            {"prediction": "cat", "label": "a cat", "scores": 0.0},
        ),
        (
            [Target(**THREE, scores="decision", width=3)],
            [-1.0, 3.0, 2.0],
            {"prediction": 2, "label": "two", "scores": {"one": -1.0, "two": 3.0, "four": 2.0}},
        ),
        (
            [Target(**CATS, decides="given", width=2)],
            [1.0, 0.75, 0.25],  # a threshold of its own
            {"prediction": "dog", "label": "a dog", "probabilities": {"a cat": 0.75, "a dog": 0.25}},
        ),
        (
            [Target(classes=(-1, 1), labels=("outlier", "inlier"), scores="decision", decides="given", width=1)],
            [0.0, -0.5],
            {"prediction": -1, "label": "outlier", "scores": -0.5},
        ),
        ([Target(**THREE, decides="given", width=0)], [2.0], {"prediction": 4, "label": "four"}),
        (
            [Target(name="pet", **CATS, width=2), Target(name="age", scores="value", width=1)],
            [0.75, 0.25, 7.0],
            {
                "targets": {
                    "pet": {"prediction": "cat", "label": "a cat", "probabilities": {"a cat": 0.75, "a dog": 0.25}},
                    "age": {"value": 7.0},
                }
            },
        ),
    ],
)
def test_an_outcome_names_what_its_columns_hold(targets, row, outcome):
    """What does not apply is left out."""
    assert signature(*targets).width == len(row)
    assert msgspec.to_builtins(outcome_reader(signature(*targets))(row)) == outcome


@pytest.mark.parametrize(
    ("targets", "label", "score"),
    [
        ([Target(scores="value", width=2)], None, 3.0),
        ([Target(**CATS, scores="decision", decides="sign", width=1)], 1.0, 3.0),
        ([Target(**THREE, decides="given", width=0)], 3.0, 3.0),
        ([Target(**CATS, decides="given", width=2)], 3.0, 2.0),
        ([Target(**THREE, scores="decision", width=3)], 0.0, 3.0),
        ([Target(**CATS, width=2), Target(scores="value", width=1)], 0.0, 1.0),
    ],
)
def test_the_monitor_watches_the_first_target(targets, label, score):
    """Its class, if it has classes, and one number."""
    row = np.array([[3.0, 1.0, 2.0]], dtype=np.float32)[:, : signature(*targets).width]
    found = label_of(signature(*targets), row)
    assert (None if found is None else found.tolist()) == (None if label is None else [label])
    assert score_of(signature(*targets), row).tolist() == [score]
