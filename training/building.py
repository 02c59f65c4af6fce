"""From a fitted classifier and the data it was made with to a model file on disk."""

from __future__ import annotations

import os
import subprocess
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from training.data import Dataset, load_dataset
from training.errors import DataError
from training.split import Split, balanced_split

if TYPE_CHECKING:
    from pathlib import Path

    from converters import ModelFile
    from training.config import TrainConfig

__all__ = ["Basis", "build_file", "git_revision", "prepare_basis", "write_file"]

_LIBRARIES = ("hotgate", "numpy", "onnx", "onnxruntime", "scikit-learn", "scipy", "skl2onnx")


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """What every candidate of one training shares."""

    config: TrainConfig
    dataset: Dataset
    split: Split
    git_revision: str | None


def prepare_basis(config: TrainConfig) -> Basis:
    """Load the data and hold a part of it out.

    Raises:
        DataError: the data is not fit to be trained on.
    """
    dataset = load_dataset(config.data)
    _check_sizes(dataset, config.search.folds)
    split = balanced_split(
        dataset.rows,
        dataset.codes,
        share=config.split.holdout,
        draws=config.split.balance_draws,
        seed=config.seed,
    )
    return Basis(config=config, dataset=dataset, split=split, git_revision=git_revision())


def build_file(basis: Basis, estimator: Any, parameters: dict[str, Any]) -> ModelFile:
    """Convert and certify; equal estimators, data and settings give equal bytes, wherever the data came from.

    Args:
        basis: the training rows are the features' reference, the held-out ones judge.
        estimator: fitted on none of the held-out rows.
        parameters: JSON values that say how the estimator was made.

    Raises:
        ConversionError: the estimator has no faithful ONNX form.
        ParityError: ONNX and scikit-learn differ; the text names held-out rows, counted from 0.
    """
    from converters import Column, Provenance, build_model_file

    config, dataset, split = basis.config, basis.dataset, basis.split
    provenance = Provenance(
        git_revision=basis.git_revision,
        data_digest=dataset.digest,
        data_revision=config.data.revision,
        parameters={**parameters, "split": msgspec.to_builtins(config.split)},
        versions=_versions(),
        seed=config.seed,
    )
    chosen = {} if config.tolerance is None else {"tolerance": config.tolerance}
    with warnings.catch_warnings():
        # An estimator that was fitted on a DataFrame is judged on the matrix that the gateway would send.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        return build_model_file(
            estimator,
            columns=[Column(name=name, kind=kind) for name, kind in zip(dataset.columns, dataset.kinds, strict=True)],
            train_rows=dataset.rows[split.train],
            heldout_rows=dataset.rows[split.heldout],
            provenance=provenance,
            labels=dataset.labels,
            **chosen,
        )


def write_file(file: ModelFile, path: Path) -> Path:
    """Write a model file so that no one ever sees half of it; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(file.data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def git_revision() -> str | None:
    """Commit of the current directory, with `-dirty` if tracked files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(  # git is looked up like any tool of the user's
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in _LIBRARIES}


def _check_sizes(dataset: Dataset, folds: int) -> None:
    for code, value in enumerate(dataset.classes):
        count = int((dataset.codes == code).sum())
        if count < 2 * folds:
            raise DataError(
                f"target {dataset.target!r}: class {value!r} has {count} rows, {folds} folds and held-out rows need"
                f" {2 * folds}; add rows, merge classes or lower search.folds"
            )
