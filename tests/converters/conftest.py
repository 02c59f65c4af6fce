"""Short ways to a model file and to changed copies of one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from sklearn.linear_model import LogisticRegression

from converters import Column, Provenance, build_model_file, verify_file
from converters.graph import graph_sha256, with_properties
from converters.modelfile import read_metadata, write_metadata
from converters.parity import TOLERANCE

PROVENANCE = Provenance(git_revision=None, data_digest="test", parameters={}, versions={}, seed=0)


@pytest.fixture(scope="session")
def build():
    """Build a model file of a fitted estimator; the first half of the rows is training, the second held out."""

    def build(estimator, rows, *, names=None, labels=None, tolerance=TOLERANCE, kind="float"):
        half = len(rows) // 2
        return build_model_file(
            estimator,
            columns=[Column(name=name, kind=kind) for name in names or [f"c{i}" for i in range(rows.shape[1])]],
            train_rows=rows[:half],
            heldout_rows=rows[half:],
            provenance=PROVENANCE,
            labels=labels,
            tolerance=tolerance,
        )

    return build


@pytest.fixture(scope="session")
def rewrite():
    """Change the graph of a model file, and its metadata; `resign` makes all digests those of the new graph."""

    def rewrite(data, *, graph=None, metadata=None, resign=False):
        model = onnx.load_model_from_string(data)
        told = read_metadata({item.key: item.value for item in model.metadata_props})
        if graph is not None:
            graph(model)
        if resign:
            told = signed(told, graph_sha256(model))
        if metadata is not None:
            told = metadata(told)
        return with_properties(model, write_metadata(told))

    return rewrite


def signed(metadata, digest):
    """The metadata with every digest of the graph replaced, as a liar would."""
    from msgspec.structs import replace

    return replace(
        metadata,
        reference=replace(metadata.reference, graph_sha256=digest),
        golden=replace(metadata.golden, graph_sha256=digest),
        parity=replace(metadata.parity, graph_sha256=digest),
    )


@pytest.fixture(scope="module")
def small(build):
    """A model file of 2 kB: logistic regression on two columns."""
    rows = np.random.default_rng(0).normal(size=(40, 2))
    return build(LogisticRegression().fit(rows, rows[:, 0] > 0), rows)


@pytest.fixture
def judge(tmp_path):
    """Write bytes to a file and verify it."""

    def judge(data, limits=None):
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        return verify_file(path, limits)

    return judge
