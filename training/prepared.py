"""The folder that lies between `hotgate prepare` and the later stages: validated rows and which of them are held out.

`rows.parquet` has every row with its class, `prepared.json` what they mean and how they were split, `validation.json`
what was checked. `heldout.csv` and `trained.u64` are the evidence of what is fitted on them: `training/evidence.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.building import Basis
from training.config import DataConfig, SplitConfig
from training.data import Dataset, Kind, load_dataset
from training.errors import DataError
from training.evidence import write_evidence
from training.files import read_json, write_json
from training.split import Split

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.validate import ValidationReport

__all__ = ["data_revision", "read_prepared", "write_prepared"]

_ROWS, _MEANING, _VALIDATION = "rows.parquet", "prepared.json", "validation.json"


class _Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """`prepared.json`."""

    digest: str
    data: DataConfig
    split: SplitConfig
    seed: int
    columns: dict[str, Kind]
    target: str
    classes: tuple[bool | int | str, ...]
    labels: tuple[str, ...]
    heldout: tuple[int, ...]
    """Row numbers, from 0."""
    max_psi: float
    max_ks: float


def write_prepared(basis: Basis, report: ValidationReport, folder: Path) -> Path:
    """Write all that the later stages need; equal data and settings give equal bytes. Returns the folder.

    Args:
        basis: validated data and its split.
        report: what validation found.
        folder: made if missing.
    """
    dataset, split = basis.dataset, basis.split
    folder.mkdir(parents=True, exist_ok=True)
    _write_rows(dataset, folder / _ROWS)
    write_evidence(folder, dataset, split, fitted_here=True)
    meaning = _Prepared(
        digest=dataset.digest,
        data=basis.config.data,
        split=basis.config.split,
        seed=basis.config.seed,
        columns=dict(zip(dataset.columns, dataset.kinds, strict=True)),
        target=dataset.target,
        classes=dataset.classes,
        labels=dataset.labels,
        heldout=tuple(split.heldout.tolist()),
        max_psi=split.max_psi,
        max_ks=split.max_ks,
    )
    write_json(folder / _VALIDATION, report)
    write_json(folder / _MEANING, meaning)
    return folder


def read_prepared(folder: Path, config: TrainConfig, *, git_revision: str | None = None) -> Basis:
    """Read a folder back to the very rows and split that were written.

    Args:
        folder: what `write_prepared` wrote.
        config: its data, split and seed must be those that the folder was prepared with.
        git_revision: for the model file's provenance.

    Raises:
        DataError: the folder is damaged, or was prepared with other settings.
    """
    meaning = read_json(folder / _MEANING, _Prepared, "hotgate prepare")
    # where the data stands is found when it is prepared, not configured
    data = msgspec.structs.replace(config.data, revision=meaning.data.revision)
    for key, wanted in (("data", data), ("split", config.split), ("seed", config.seed)):
        if getattr(meaning, key) != wanted:
            raise DataError(f"{folder} was prepared with another {key} than the configuration has; run hotgate prepare")
    dataset = _read_rows(folder, meaning)
    held = np.zeros(len(dataset.rows), dtype=np.bool_)
    held[list(meaning.heldout)] = True
    split = Split(
        train=np.flatnonzero(~held), heldout=np.flatnonzero(held), max_psi=meaning.max_psi, max_ks=meaning.max_ks
    )
    config = msgspec.structs.replace(config, data=data)
    return Basis(config=config, dataset=dataset, split=split, git_revision=git_revision)


def data_revision(source: str) -> str | None:
    """How DVC names the data's content: the checksum in the `.dvc` file beside it; None where DVC does not track it."""
    import yaml

    path = Path(f"{source}.dvc")
    if not path.is_file():
        return None
    try:
        out = yaml.safe_load(path.read_text(encoding="utf-8"))["outs"][0]
        return f"md5:{out['md5']}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"{path} is no file of DVC's: {error}; run dvc add {source}") from error


def _write_rows(dataset: Dataset, path: Path) -> None:
    """Parquet, as CSV would forget that the class "007" is text."""
    import pandas as pd

    columns = {
        name: values if kind == "float" else values.astype(np.int64)
        for name, kind, values in zip(dataset.columns, dataset.kinds, dataset.rows.T, strict=True)
    }
    pd.DataFrame({**columns, dataset.target: dataset.y}).to_parquet(path, index=False)


def _read_rows(folder: Path, meaning: _Prepared) -> Dataset:
    categories = tuple(name for name, kind in meaning.columns.items() if kind == "category")
    config = DataConfig(source=str(folder / _ROWS), target=meaning.target, labels=meaning.labels, categories=categories)
    dataset = load_dataset(config)
    if dataset.digest != meaning.digest:
        raise DataError(f"{folder / _ROWS} has other rows than {folder / _MEANING} says; run hotgate prepare")
    return replace(dataset, source=meaning.data.source)
