from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pandas as pd
import pytest

from training import stages
from training.building import prepare_basis
from training.config import load_config
from training.data import load_dataset, write_csv
from training.errors import DataError
from training.evidence import HELDOUT, TRAINED, hash_rows, read_trained
from training.prepared import data_revision, read_prepared


@pytest.fixture(scope="module")
def built(small, tmp_path_factory):
    """All stages' files of the small configuration."""
    folder = tmp_path_factory.mktemp("stages")
    stages.prepare(small, folder / "prepared")
    stages.train_prepared(small, folder / "prepared", folder / "trained")
    stages.evaluate_prepared(
        small, folder / "prepared", folder / "trained", folder / "evaluation", home=folder / "home"
    )
    return folder


def test_the_stages_make_what_train_makes(built, trained, small, tmp_path):
    """Same rows, same ranking, same metrics, same graph; only the code's revision is found in another way."""
    file = stages.convert_prepared(small, built / "prepared", built / "trained", tmp_path / "model.onnx")
    best = stages.read_trained_folder(built / "trained").best

    assert (tmp_path / "model.onnx").read_bytes() == file.data
    assert file.metadata.parity.graph_sha256 == trained.saved.file.metadata.parity.graph_sha256
    assert (best.name, best.cv) == (trained.best.name, trained.best.cv)
    assert stages.read_evaluation(built / "evaluation").heldout == trained.best.heldout
    assert msgspec.structs.replace(file.metadata.provenance, git_revision=None) == msgspec.structs.replace(
        trained.saved.file.metadata.provenance, git_revision=None
    )


def test_what_is_prepared_reads_back_to_the_same_rows_and_split(built, small):
    """Bit for bit, and without the data's own file."""
    basis, again = prepare_basis(small), read_prepared(built / "prepared", small)

    assert again.dataset.digest == basis.dataset.digest
    assert (again.dataset.labels, again.dataset.kinds, again.dataset.source) == (
        basis.dataset.labels,
        basis.dataset.kinds,
        basis.dataset.source,
    )
    assert np.array_equal(again.split.heldout, basis.split.heldout)
    assert np.array_equal(again.split.train, basis.split.train)


def test_preparing_again_gives_the_same_bytes(built, small, tmp_path):
    """DVC tells by them whether anything changed."""
    stages.prepare(small, tmp_path)

    assert {item.name for item in tmp_path.iterdir()} >= {HELDOUT, TRAINED, "rows.parquet", "validation.json"}
    for item in tmp_path.iterdir():
        assert item.read_bytes() == (built / "prepared" / item.name).read_bytes(), item.name


def test_classes_keep_their_type(tmp_path):
    """Text that looks like a number, a column of codes and one of truth values come back as they were."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=60),
            "code": rng.integers(0, 3, 60),
            "flag": rng.random(60) < 0.5,
            "kind": np.where(np.arange(60) % 2 == 0, "007", "042"),
        }
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    config = load_config(
        None,
        [f"data.source={tmp_path}/rows.parquet", "data.target=kind", "data.categories=[code]", "search.folds=2"],
    )
    stages.prepare(config, tmp_path / "prepared")
    again = read_prepared(tmp_path / "prepared", config).dataset

    assert again.classes == ("007", "042")
    assert again.kinds == ("float", "category", "category")


def test_other_settings_than_those_prepared_with_are_refused(built, small):
    """Else the split that the certificate names would not be the one that was used."""
    for key, other in (("seed", ["seed=7"]), ("split", ["split.holdout=0.3"]), ("data", ["data.labels=[a, b]"])):
        config = load_config(None, ["search.folds=2", "split.balance_draws=100", *other])
        with pytest.raises(DataError, match=f"prepared with another {key}"):
            read_prepared(built / "prepared", config)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("prepared/prepared.json", b"{", "prepared.json is damaged"),
        ("prepared/prepared.json", None, "prepared.json cannot be read: No such file"),
        ("prepared/rows.parquet", b"PAR1", "rows.parquet cannot be read"),
        ("trained/trained.json", b"[]", "trained.json is damaged"),
        ("trained/estimator.skops", b"PK", "estimator.skops is no estimator"),
        ("trained/estimator.skops", None, "estimator.skops cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_makes_it(built, small, tmp_path, name, damage, words):
    """And no model file is written."""
    for folder in ("prepared", "trained"):
        shutil.copytree(built / folder, tmp_path / folder)
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)

    with pytest.raises(DataError) as caught:
        stages.convert_prepared(small, tmp_path / "prepared", tmp_path / "trained", tmp_path / "model.onnx")
    assert words in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()


def test_changed_rows_are_noticed(built, small, tmp_path):
    """One value of one row."""
    shutil.copytree(built / "prepared", tmp_path / "prepared")
    path = tmp_path / "prepared" / "rows.parquet"
    frame = pd.read_parquet(path)
    frame.iloc[5, 2] += 1e-9
    frame.to_parquet(path, index=False)

    with pytest.raises(DataError, match="other rows than"):
        read_prepared(tmp_path / "prepared", small)


def test_kept_rows_are_held_out_and_never_fitted_on(small, tmp_path):
    """Whatever the seed draws; the others are still split in the configured share."""
    dataset = load_dataset(small.data)
    kept = np.arange(0, 60)
    write_csv(dataset, tmp_path / "kept.csv", kept)
    for seed in (1, 2, 3):
        config = load_config(
            None, [f"split.keep={tmp_path}/kept.csv", f"seed={seed}", "split.balance_draws=100", "search.folds=2"]
        )
        stages.prepare(config, tmp_path / "prepared")
        split = read_prepared(tmp_path / "prepared", config).split
        trained = read_trained(tmp_path / "prepared" / TRAINED)

        assert np.isin(kept, split.heldout).all()
        assert not np.isin(hash_rows(dataset.rows[kept]), trained).any()
        assert len(split.heldout) == 60 + round((569 - 60) * 0.25)


def test_kept_rows_of_other_columns_are_refused(small, tmp_path):
    """The column that is missing is named."""
    (tmp_path / "kept.csv").write_text("mean radius,target\n1.0,0\n2.0,1\n")

    with pytest.raises(DataError, match=r"split\.keep: .*no column 'mean texture'"):
        prepare_basis(load_config(None, [f"split.keep={tmp_path}/kept.csv"]))


def test_the_datas_revision_is_dvcs_checksum(small, tmp_path):
    """It goes into the model file; a damaged .dvc file is named."""
    dataset = load_dataset(small.data)
    source = write_csv(dataset, tmp_path / "rows.csv")
    tracked = tmp_path / "rows.csv.dvc"
    tracked.write_text("outs:\n- md5: 0123abc\n  path: rows.csv\n")
    config = load_config(None, [f"data.source={source}", "data.target=target", "search.folds=2"])
    stages.prepare(config, tmp_path / "prepared")

    assert data_revision(str(source)) == "md5:0123abc"
    assert read_prepared(tmp_path / "prepared", config).config.data.revision == "md5:0123abc"
    assert data_revision("breast-cancer") is None
    tracked.write_text("outs: []\n")
    with pytest.raises(DataError, match=r"rows\.csv\.dvc is no file of DVC's"):
        data_revision(str(source))


def test_the_inputs_of_a_pipeline_are_its_dependencies(tmp_path):
    """None without a dvc.yaml; a file that holds no stages is named."""
    assert stages.pipeline_inputs(tmp_path) == ()
    (tmp_path / "dvc.yaml").write_text("stages:\n  a: {cmd: x, deps: [b.csv, code.py]}\n  c: {cmd: y}\n")
    assert stages.pipeline_inputs(tmp_path) == ("dvc.yaml", "params.yaml", "*.dvc", "b.csv", "code.py")
    (tmp_path / "dvc.yaml").write_text("plots: []\n")
    with pytest.raises(DataError, match="holds no stages"):
        stages.pipeline_inputs(tmp_path)


def test_a_csv_that_is_not_utf8_names_the_row(tmp_path):
    """And the byte."""
    path = tmp_path / "rows.csv"
    path.write_bytes("a,kind\n1,x\n2,\xe9t\xe9\n".encode("latin-1"))

    with pytest.raises(DataError, match=r"rows\.csv, row 2: byte 0xe9 is not UTF-8"):
        load_dataset(load_config(None, [f"data.source={path}", "data.target=kind"]).data)
