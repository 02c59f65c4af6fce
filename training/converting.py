"""A scikit-learn model that exists already becomes a model file: `hotgate convert`."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.building import Basis, build_file, prepare_basis, write_file
from training.config import check_name
from training.environment import prepare
from training.errors import ConfigError, DataError
from training.evidence import evidence_folder, write_evidence
from training.tables import convert_table, is_trained_here
from training.tracking import connect, mapped, tracking_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from converters import ModelFile
    from training.config import TrainConfig
    from training.registering import RegisteredVersion

__all__ = ["Converted", "convert_model"]

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """A model file, where it was written, and what it was made from."""

    home: Path
    name: str
    file: ModelFile
    path: Path
    estimator: Any
    run_id: str | None

    def register(self) -> RegisteredVersion:
        """Make it the newest version of its name, beside its scikit-learn form.

        Raises:
            RegisterError: the verifier refuses the file.
            TrackingError: the registry fails.
        """
        from training.registering import register

        return register(self.path, self.name, home=self.home, run_id=self.run_id, estimator=self.estimator)


def convert_model(
    model: str,
    config: TrainConfig,
    home: Path,
    *,
    output: Path | None = None,
    name: str | None = None,
    basis: Basis | None = None,
    converters: Sequence[str] = (),
) -> Converted:
    """Load a scikit-learn model, certify it on the configured data and write its model file.

    A classifier with probabilities on numbers is judged as in training, and its held-out rows are kept as evidence for
    the gate. Any other model is certified all the same, and has no evidence: the gate cannot compare it.

    Args:
        model: `models:/NAME/VERSION` (or a stage, or `models:/NAME@ALIAS`), or the folder of a saved MLflow model.
        config: of the data and of its split, which is that of training.
        home: where state lives.
        output: the model file; else `<home>/models/<name>/<start of sha256>.onnx`.
        name: registered model; else the one in `model`, else the configured one.
        basis: the data and its split, if they were prepared from `config` already.
        converters: `package.module:function`, which register converters of the user's own.

    Raises:
        ConfigError: `model` names nothing that can be loaded.
        DataError: the data is not what the model takes.
        ConverterError: the model has no faithful ONNX form.
        TrackingError: the registry fails.
    """
    estimator, origin, run_id = _load(model, home)
    name = name or origin or config.name
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if basis is None and (converters or not is_trained_here(estimator, config)):
        file = convert_table(estimator, config, _parameters(estimator), converters=converters)
    else:
        basis = basis or prepare_basis(config)
        _check_fit(estimator, basis)
        file = build_file(basis, estimator, _parameters(estimator))
    target = output or home / "models" / name / f"{file.sha256[:16]}.onnx"
    if basis is not None:
        write_evidence(evidence_folder(target, file.sha256), basis.dataset, basis.split, fitted_here=False)
    path = write_file(file, target)
    return Converted(home=home, name=name, file=file, path=path, estimator=estimator, run_id=run_id)


def _load(model: str, home: Path) -> tuple[Any, str | None, str | None]:
    """Estimator, registered name and run."""
    prepare(home)
    match = _REGISTERED.fullmatch(model)
    if match is None:
        if not (Path(model) / "MLmodel").is_file():
            raise ConfigError(f"{model!r} is neither models:/NAME/VERSION nor a folder with an MLmodel file")
        return _load_folder(model), None, None
    name, client = match["name"], connect(home)
    with mapped(home), tempfile.TemporaryDirectory() as scratch:
        from mlflow.artifacts import download_artifacts

        version = _find_version(client, match)
        uri = client.get_model_version_download_uri(name, version.version)
        folder = download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=tracking_uri(home))
        return _load_folder(folder), name, version.run_id or None


def _find_version(client: MlflowClient, match: re.Match[str]) -> ModelVersion:
    name, wanted = match["name"], match["version"]
    if match["alias"]:
        return client.get_model_version_by_alias(name, match["alias"])
    if wanted.isdigit():
        return client.get_model_version(name, wanted)
    found = client.search_model_versions(f"name = '{name}'")
    staged = [version for version in found if str(version.current_stage).lower() == wanted.lower()]
    if not staged:
        raise ConfigError(f"no version of {name} is in stage {wanted!r}")
    return max(staged, key=lambda version: int(version.version))


def _load_folder(folder: str) -> Any:
    import mlflow.sklearn
    from mlflow.exceptions import MlflowException

    try:
        return mlflow.sklearn.load_model(folder)
    except MlflowException as error:
        raise ConfigError(f"{folder} holds no scikit-learn model: {error.message}") from error


def _check_fit(estimator: Any, basis: Basis) -> None:
    """Hold the data to what the model was fitted on."""
    dataset = basis.dataset
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and tuple(names) != dataset.columns:
        wrong = next((a, b) for a, b in zip([*names, None], [*dataset.columns, None], strict=False) if a != b)
        raise DataError(
            f"the model was fitted on column {wrong[0]!r} where the data has {wrong[1]!r}; reorder the data"
        )
    width = getattr(estimator, "n_features_in_", len(dataset.columns))
    if width != len(dataset.columns):
        raise DataError(f"the model takes {width} columns, the data has {len(dataset.columns)} beside the target")
    classes = getattr(estimator, "classes_", None)
    if classes is not None and tuple(np.asarray(classes).tolist()) != dataset.classes:
        raise DataError(f"the model knows classes {np.asarray(classes).tolist()}, the data has {list(dataset.classes)}")


def _parameters(estimator: Any) -> dict[str, Any]:
    """The estimator's parameters that JSON can hold; the rest has no text that is equal between equal runs."""
    plain = {
        key: value
        for key, value in sorted(estimator.get_params(deep=True).items())
        if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and np.isfinite(value))
    }
    return {"estimator": type(estimator).__name__, **plain}
