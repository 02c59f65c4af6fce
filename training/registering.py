"""A model file becomes a version of a registered model, with its scikit-learn form beside it."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from training.config import check_name
from training.errors import ConfigError, RegisterError
from training.evidence import HELDOUT, TRAINED, evidence_folder
from training.tracking import MODEL_PATH, Tracker, connect, mapped, save_sklearn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

__all__ = ["RegisteredVersion", "find_run", "register"]

_FOLDER = "hotgate"


class RegisteredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version in the registry."""

    name: str
    version: str
    sha256: str
    run_id: str | None
    created: bool
    """False if the same file was a version of this name before."""


def register(
    file: Path,
    name: str,
    *,
    home: Path,
    run_id: str | None = None,
    estimator: Any = None,
    evidence: Path | None = None,
    tags: Mapping[str, str] | None = None,
) -> RegisteredVersion:
    """Verify a model file and register it; the same file under the same name gives the version it has already.

    The version's artifact is a folder of the run named by the file's hash, so that no later registration can change
    it: `model.hotgate.onnx` at its root, beside the scikit-learn flavour for `mlflow.sklearn.load_model` and, if there
    is some, the file's evidence (`training/evidence.py`). The version has its tags from its first moment:
    `hotgate.sha256`, `hotgate.parity`, and when and where it was registered.

    Args:
        file: a model file.
        name: the registered model, made if it is new.
        home: where state lives, if no tracking server is named.
        run_id: run that trained it and holds its scikit-learn model; else the newest run whose tag names this file,
            else a new run.
        estimator: saved as the scikit-learn flavour instead of the run's.
        evidence: folder with the file's evidence; else the one beside the file under its hash.
        tags: further ones.

    Raises:
        ConfigError: the name is impossible.
        RegisterError: the verifier refuses the file.
        TrackingError: the registry fails.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    data, sha256 = _verified(file)
    client = connect(home)
    with mapped(home):
        found = _find_version(client, name, sha256)
        if found is not None:
            return found
        run_id = run_id or find_run(client, sha256)
    if run_id is None:
        with Tracker(home, name).run("register") as log:
            run_id = log.run_id
    with mapped(home):
        source = _upload(client, run_id, data, sha256, evidence or evidence_folder(file, sha256), estimator)
        _make_registered_model(client, name)
        version = client.create_model_version(
            name, source, run_id, tags={**(tags or {}), **_tags(sha256, run_id)}, await_creation_for=0
        )
    return RegisteredVersion(name=name, version=str(version.version), sha256=sha256, run_id=run_id, created=True)


def _verified(file: Path) -> tuple[bytes, str]:
    """Bytes that the verifier let through, and their hash."""
    from converters import verify_file

    verdict = verify_file(file)
    if not verdict.ok:
        raise RegisterError(f"{file} is not registered: {verdict.reason}")
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != verdict.sha256:
        raise RegisterError(f"{file} changed while it was verified; register it again")
    return data, verdict.sha256


def _find_version(client: MlflowClient, name: str, sha256: str) -> RegisteredVersion | None:
    found = client.search_model_versions(f"name = '{name}' and tags.`hotgate.sha256` = '{sha256}'")
    if not found:
        return None
    first = min(found, key=lambda version: int(version.version))
    return RegisteredVersion(
        name=name, version=str(first.version), sha256=sha256, run_id=first.run_id or None, created=False
    )


def find_run(client: MlflowClient, sha256: str) -> str | None:
    """The newest run whose tag names this very file."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`hotgate.sha256` = '{sha256}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _upload(client: MlflowClient, run_id: str, data: bytes, sha256: str, evidence: Path, estimator: Any) -> str:
    """Put both forms of the model, and its evidence, into one folder of the run; returns the folder's address."""
    from converters.modelfile import ARTIFACT_NAME

    run = client.get_run(run_id)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, MODEL_PATH)
        if estimator is not None:
            save_sklearn(estimator, folder, run_id=run_id)
        elif any(item.path == MODEL_PATH for item in client.list_artifacts(run_id)):
            client.download_artifacts(run_id, MODEL_PATH, scratch)
        folder.mkdir(exist_ok=True)
        (folder / ARTIFACT_NAME).write_bytes(data)
        for name in (HELDOUT, TRAINED):
            if (evidence / name).is_file():
                shutil.copyfile(evidence / name, folder / name)
        client.log_artifacts(run_id, str(folder), f"{_FOLDER}/{sha256}")
    return f"{run.info.artifact_uri.rstrip('/')}/{_FOLDER}/{sha256}"


def _make_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tags(sha256: str, run_id: str) -> dict[str, str]:
    return {
        "hotgate.sha256": sha256,
        "hotgate.parity": "pass",  # the verifier demands it
        "hotgate.run_id": run_id,
        "hotgate.machine": platform.node(),
        "hotgate.registered_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
