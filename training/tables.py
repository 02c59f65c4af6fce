"""Models of any kind on columns of any kind, for `hotgate convert`: what training itself does not make."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.building import git_revision, library_versions
from training.config import BREAST_CANCER
from training.data import read_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from converters import ModelFile
    from training.config import TrainConfig

__all__ = ["convert_table", "is_trained_here"]


def is_trained_here(estimator: Any, config: TrainConfig) -> bool:
    """Whether it is what `hotgate train` could have made: a classifier with probabilities, on numbers without gaps.

    Raises:
        DataError: the data cannot be read.
    """
    from sklearn.base import is_classifier

    if not is_classifier(estimator) or not hasattr(estimator, "predict_proba"):
        return False
    if not isinstance(estimator.classes_, np.ndarray) or estimator.classes_.ndim != 1:
        return False
    if config.data.source == BREAST_CANCER:
        return True
    features, _ = read_columns(config.data)
    plain = all(values.dtype.kind in "iufb" and not values.isna().any() for _, values in features.items())
    return plain and config.data.target is not None


def convert_table(
    estimator: Any, config: TrainConfig, parameters: dict[str, Any], *, converters: Sequence[str] = ()
) -> ModelFile:
    """Convert and certify it on the configured data, whatever its columns are; a quarter of the rows judges the graph.

    Args:
        estimator: fitted, of any kind.
        config: of the data, which must be a file, the tolerance and the seed.
        parameters: JSON values that say how the estimator was made.
        converters: `package.module:function`, which register converters of the user's own.

    Raises:
        DataError: the data cannot be read.
        ConverterError: the model has no faithful ONNX form.
    """
    from converters import Column, Provenance, convert
    from converters.parity import TOLERANCE

    features, target = read_columns(config.data)
    named = getattr(estimator, "feature_names_in_", None) is not None
    source = Path(config.data.source)
    return convert(
        estimator,
        features if named else _unnamed(features),
        target,
        columns=[Column(name=name, kind="category") for name in config.data.categories]
        if named
        else None
        if features.shape[1] == 1
        else list(map(str, features.columns)),
        labels=config.data.labels or None,
        provenance=Provenance(
            git_revision=git_revision(),
            data_digest=hashlib.sha256(source.read_bytes()).hexdigest(),
            data_revision=config.data.revision,
            parameters=parameters,
            versions=library_versions(),
            seed=config.seed,
        ),
        tolerance=TOLERANCE if config.tolerance is None else config.tolerance,
        converters=converters,
        seed=config.seed,
    )


def _unnamed(features: pd.DataFrame) -> Any:
    """The data as an estimator was given it that knows no names: texts, or a matrix."""
    if features.shape[1] == 1 and features.iloc[:, 0].dtype.kind not in "iufb":
        return features.iloc[:, 0].tolist()
    return features.to_numpy()
