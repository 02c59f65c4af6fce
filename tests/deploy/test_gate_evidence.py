"""Which rows may judge two versions, read from folders as registering leaves them."""

from __future__ import annotations

import csv
import dataclasses

import msgspec
import numpy as np
import pytest

from converters.modelfile import ARTIFACT_NAME
from deploy.gating.evidence import EvidenceError, judging_rows, open_side
from training.evidence import HELDOUT, TRAINED, write_trained


@pytest.fixture
def version(cancer, linear, forest, tmp_path):
    """Make a version's folder: its model file, held-out rows and what it was fitted on, by row numbers."""
    rows, classes = (np.asarray(part, dtype=float) for part in cancer[:2])

    def make(name, model, heldout, fitted):
        folder = tmp_path / name
        folder.mkdir()
        file = {"linear": linear, "forest": forest}[model].file
        (folder / ARTIFACT_NAME).write_bytes(file.data)
        with (folder / HELDOUT).open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow([*(column.name for column in file.metadata.signature.columns), "target"])
            writer.writerows([*rows[row].tolist(), int(classes[row])] for row in heldout)
        write_trained(rows[list(fitted)], folder / TRAINED)
        return folder

    return make


def test_the_judge_has_both_sides_rows_without_those_that_either_was_fitted_on(version, cancer):
    """Rows 10 to 19 were held out by both, 20 to 24 taught the new model, 5 to 9 the old one."""
    new = open_side("version 2", version("2", "forest", range(5, 20), range(20, 100)))
    old = open_side("version 1", version("1", "linear", range(10, 25), [*range(5, 10), *range(100, 200)]))
    judge = judging_rows([new, old])
    rows, classes = (np.asarray(part) for part in cancer[:2])
    assert judge.rows.tolist() == rows[10:20].tolist()
    assert judge.codes.tolist() == classes[10:20].astype(int).tolist()
    assert judge.known == 10


def test_both_models_answer_as_the_gateway_would(version, forest, cancer):
    """Probabilities of every class, scikit-learn's within float32."""
    side = open_side("version 1", version("1", "forest", range(5), [9]))
    rows = np.asarray(cancer[0])[:50]
    assert np.abs(side.probabilities(rows) - forest.estimator.predict_proba(rows)).max() < 1e-5


@pytest.mark.parametrize("file", [HELDOUT, TRAINED])
def test_a_version_without_evidence_is_named_with_the_cure(version, file):
    """An older registration has none."""
    folder = version("1", "linear", range(5), [9])
    (folder / file).unlink()
    with pytest.raises(EvidenceError, match=f"version 1 has no {file} beside its model file: train and register"):
        open_side("version 1", folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [(",target", ",more,target", "other columns"), ("mean_radius", "radius", "other columns"), ("17.99", "x", "'x'")],
)
def test_evidence_of_another_model_is_refused(version, old, new, message):
    """Columns are compared by name, and every cell must be a number."""
    folder = version("1", "linear", range(5), [9])
    lines = (folder / HELDOUT).read_text()
    assert old in lines
    (folder / HELDOUT).write_text(lines.replace(old, new, 1))
    with pytest.raises(EvidenceError, match=message):
        open_side("version 1", folder)


def test_hashes_that_are_cut_short_are_refused(version):
    """A torn copy."""
    folder = version("1", "linear", range(5), [9])
    (folder / TRAINED).write_bytes(b"12345")
    with pytest.raises(EvidenceError, match=r"trained\.u64 of version 1 cannot be read"):
        open_side("version 1", folder)


@pytest.mark.parametrize("part", ["columns", "targets"])
def test_models_of_other_columns_or_classes_are_not_compared(version, part):
    """Their rows are no rows of each other's; the error names both."""
    new = open_side("version 2", version("2", "forest", range(5), [9]))
    old = open_side("version 1", version("1", "linear", range(5), [9]))
    (target,) = old.metadata.signature.targets
    changed = {
        "columns": old.metadata.signature.columns[::-1],
        "targets": (msgspec.structs.replace(target, classes=target.classes[::-1]),),
    }
    signature = msgspec.structs.replace(old.metadata.signature, **{part: changed[part]})
    other = dataclasses.replace(old, metadata=msgspec.structs.replace(old.metadata, signature=signature))
    assert len(judging_rows([new, old]).rows) == 5
    with pytest.raises(EvidenceError, match="version 2 and version 1 have other columns or classes"):
        judging_rows([new, other])
