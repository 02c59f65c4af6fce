"""From a fitted classifier and the data it was made with to a model file on disk."""

from __future__ import annotations

import os
import subprocess
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from training.config import DataConfig
from training.data import Dataset, load_dataset
from training.errors import DataError
from training.evidence import hash_rows
from training.files import write_whole
from training.split import Split, balanced_split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from converters import ModelFile
    from training.config import TrainConfig

__all__ = ["Basis", "build_file", "git_revision", "library_versions", "prepare_basis", "write_file"]

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
    keep = None if config.split.keep is None else np.isin(hash_rows(dataset.rows), _kept(config.split.keep, dataset))
    _check_sizes(dataset, config.search.folds, keep)
    split = balanced_split(
        dataset.rows,
        dataset.codes,
        share=config.split.holdout,
        draws=config.split.balance_draws,
        seed=config.seed,
        keep=keep,
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
        versions=library_versions(),
        seed=config.seed,
    )
    chosen: dict[str, Any] = {} if config.tolerance is None else {"tolerance": config.tolerance}
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
    return write_whole(path, file.data)


def git_revision(paths: Sequence[str] = ()) -> str | None:
    """Commit of the current directory, with `-dirty` if tracked files differ from it; None outside a repository.

    Args:
        paths: what alone counts, as git's pathspecs: then the last commit that touched any of it, so that a later one
            (of the lock that the result stands in, say) does not make the same inputs look different.
    """
    if not paths:
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    commit = _git("log", "-1", "--format=%H", "--", *paths)
    if commit is None:
        return None
    return f"{commit}-dirty" if _git("status", "--porcelain", "--", *paths) else commit


def _git(*arguments: str) -> str | None:
    """What git prints; None if that is nothing, or git fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - looked up like any tool of the user's
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def library_versions() -> dict[str, str]:
    """What a model file says it was made with."""
    from importlib.metadata import version

    return {name: version(name) for name in _LIBRARIES}


def _kept(path: str, dataset: Dataset) -> npt.NDArray[np.uint64]:
    """Hashes of the rows that stay held out."""
    kept = load_dataset(DataConfig(source=path, target=dataset.target))
    missing = [column for column in dataset.columns if column not in kept.columns]
    if missing:
        raise DataError(f"split.keep: {path} has no column {missing[0]!r}, which {dataset.source} has")
    return hash_rows(kept.rows[:, [kept.columns.index(column) for column in dataset.columns]])


def _check_sizes(dataset: Dataset, folds: int, keep: npt.NDArray[np.bool_] | None) -> None:
    codes = dataset.codes if keep is None else dataset.codes[~keep]
    for code, value in enumerate(dataset.classes):
        count = int((codes == code).sum())
        if count < 2 * folds:
            raise DataError(
                f"target {dataset.target!r}: class {value!r} has {count} rows, {folds} folds and held-out rows need"
                f" {2 * folds}; add rows, merge classes or lower search.folds"
            )
