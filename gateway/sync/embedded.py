"""A registry in a database (SQLite by default), through mlflow's own client: the only module here that imports mlflow.

Nothing of mlflow that loads a model is used: versions are read from the database, and one file is copied.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.sync.base import (
    ARTIFACT_PLACES,
    MissingModelFileError,
    RegisteredModel,
    RegisteredVersion,
    RegistryError,
    RegistryUnavailableError,
)
from gateway.sync.sources import copy_local, local_path, resolve_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["EmbeddedRegistry"]

_PAGE = 1000


class EmbeddedRegistry:
    """The `Registry` behind a database address such as `sqlite:////path/mlflow.db`."""

    def __init__(self, uri: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a sidecar talks to its registry and nobody else
        try:
            import mlflow
        except ImportError as error:
            raise RegistryError(
                "a registry in a database needs mlflow: pip install 'hotgate[train]', or use an MLflow server"
            ) from error
        with _quiet(), _mapped():
            self._client: MlflowClient = mlflow.MlflowClient(uri, uri)
        self.address = uri

    def __repr__(self) -> str:
        return f"EmbeddedRegistry({self.address.partition(':')[0]!r})"

    def names(self) -> list[str]:
        """See `Registry`."""
        found: list[str] = []
        token: str | None = None
        while True:
            with _quiet(), _mapped():
                page = self._client.search_registered_models(max_results=_PAGE, page_token=token)
            found += (model.name for model in page)
            token = page.token
            if not token:
                return sorted(found)

    def model(self, name: str) -> RegisteredModel:
        """See `Registry`."""
        try:
            with _quiet(), _mapped():
                model = self._client.get_registered_model(name)
        except _NotFoundError:
            return RegisteredModel(name=name)
        aliases: dict[int, list[str]] = {}
        for alias, version in model.aliases.items():
            aliases.setdefault(int(version), []).append(alias)
        versions = [
            RegisteredVersion(
                version=int(item.version),
                stage=item.current_stage or "None",
                aliases=tuple(aliases.get(int(item.version), ())),
                status=item.status,
                tags=dict(item.tags),
            )
            for item in self._versions(name)
        ]
        versions.sort(key=lambda item: item.version)
        return RegisteredModel(name=name, versions=tuple(versions), tags=dict(model.tags))

    def download(self, name: str, version: int, target: Path, *, limit_bytes: int) -> None:
        """See `Registry`."""
        try:
            with _quiet(), _mapped():
                source = resolve_source(
                    self._client.get_model_version_download_uri(name, str(version)),
                    run_root=self._run_root,
                    logged_model_root=self._model_root,
                )
        except _NotFoundError as error:
            raise RegistryError(f"version {version} of {name} is gone: {error}") from error
        folder = local_path(source)
        if folder is not None:
            copy_local(folder, target, name=name, version=version, limit_bytes=limit_bytes)
            return
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            fetched = _fetch(source, Path(scratch))
            if fetched is None:
                raise MissingModelFileError(name, version)
            copy_local(fetched.parent, target, name=name, version=version, limit_bytes=limit_bytes)

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        """See `Registry`."""
        with _quiet(), _mapped():
            self._client.set_model_version_tag(name, str(version), key, value)

    def close(self) -> None:
        """See `Registry`; mlflow keeps its connections for the process."""

    def _versions(self, name: str) -> list[ModelVersion]:
        quote_mark = '"' if "'" in name else "'"
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            with _quiet(), _mapped():
                page = self._client.search_model_versions(
                    f"name={quote_mark}{name}{quote_mark}", max_results=_PAGE, page_token=token
                )
            found += page
            token = page.token
            if not token:
                return found

    def _run_root(self, run: str) -> str:
        root: str = self._client.get_run(run).info.artifact_uri
        return root

    def _model_root(self, model: str) -> str:
        root: str = self._client.get_logged_model(model).artifact_location
        return root


class _NotFoundError(RegistryError):
    pass


def _fetch(source: str, scratch: Path) -> Path | None:
    """Bring the model file from a remote artifact store (S3 and the like), with mlflow's own transport."""
    from mlflow.artifacts import download_artifacts

    for place in ARTIFACT_PLACES:
        with contextlib.suppress(_NotFoundError), _quiet(), _mapped():
            return Path(download_artifacts(artifact_uri=f"{source.rstrip('/')}/{place}", dst_path=str(scratch)))
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what this edge cannot change: stages are a supported choice here, and mlflow's ORM is mlflow's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(stages|noload).*")
        yield


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Turn mlflow's and the database's exceptions into this package's."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
            raise _NotFoundError(str(error)) from error
        if error.error_code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}:
            raise RegistryUnavailableError(str(error)) from error
        raise RegistryError(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        raise RegistryUnavailableError(str(error)) from error
