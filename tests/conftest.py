"""What tests of several rooms share: the data, model files made once, and registries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from registries import empty_database, mlflow_server
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from converters import Column, ModelFile, Provenance, build_model_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cancer", "empty_database", "forest", "linear", "mlflow_server", "rows_json"]

# Examples are the same in every run, and a slow machine fails none of them.
settings.register_profile("hotgate", deadline=None, derandomize=True, database=None)
settings.load_profile("hotgate")


class Trained(NamedTuple):
    """A fitted estimator, its model file, and where that lies."""

    estimator: object
    file: ModelFile
    path: Path


@pytest.fixture(scope="session")
def cancer():
    """The breast-cancer rows, float64 [569, 30], their labels, and the column names."""
    data = load_breast_cancer()
    return data.data, data.target, [name.replace(" ", "_") for name in data.feature_names]


def _trained(estimator, cancer, path):
    rows, target, names = cancer
    train, heldout, labels, _ = train_test_split(rows, target, stratify=target, random_state=0, test_size=0.25)
    estimator.fit(train, labels)
    file = build_model_file(
        estimator,
        columns=[Column(name=name) for name in names],
        labels=["malignant", "benign"],
        train_rows=train,
        heldout_rows=heldout,
        provenance=Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0),
    )
    path.write_bytes(file.data)
    return Trained(estimator, file, path)


@pytest.fixture(scope="session")
def linear(cancer, tmp_path_factory):
    """Scaler and logistic regression."""
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    return _trained(estimator, cancer, tmp_path_factory.mktemp("linear") / "linear.onnx")


@pytest.fixture(scope="session")
def forest(cancer, tmp_path_factory):
    """A random forest of 100 trees, depth 5."""
    estimator = RandomForestClassifier(100, max_depth=5, random_state=0)
    return _trained(estimator, cancer, tmp_path_factory.mktemp("forest") / "forest.onnx")


@pytest.fixture(scope="session")
def rows_json(cancer):
    """All 569 rows as JSON lists, doubles written exactly."""
    return [json.dumps(row).encode() for row in np.asarray(cancer[0]).tolist()]
