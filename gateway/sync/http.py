"""An MLflow server over its REST interface, with the standard library and msgspec: 0.2 ms of CPU a call, no mlflow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from gateway.sync.base import (
    ARTIFACT_PLACES,
    MissingModelFileError,
    ModelTooLargeError,
    RegisteredModel,
    RegisteredVersion,
    RegistryError,
)
from gateway.sync.sources import copy_local, local_path, resolve_source
from gateway.sync.transport import NotFoundError, Transport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["HttpRegistry"]

T = TypeVar("T")

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_PAGE = 500


class _Tag(msgspec.Struct, frozen=True):
    key: str
    value: str = ""


class _Alias(msgspec.Struct, frozen=True):
    alias: str
    version: str


class _Version(msgspec.Struct, frozen=True):
    version: str
    current_stage: str = "None"
    status: str = "READY"
    tags: list[_Tag] = []


class _VersionPage(msgspec.Struct, frozen=True):
    model_versions: list[_Version] = []
    next_page_token: str = ""


class _Model(msgspec.Struct, frozen=True):
    name: str
    aliases: list[_Alias] = []
    tags: list[_Tag] = []


class _ModelPage(msgspec.Struct, frozen=True):
    registered_models: list[_Model] = []
    next_page_token: str = ""


class _ModelAnswer(msgspec.Struct, frozen=True):
    registered_model: _Model


class _DownloadUri(msgspec.Struct, frozen=True):
    artifact_uri: str = ""


class _RunInfo(msgspec.Struct, frozen=True):
    artifact_uri: str


class _Run(msgspec.Struct, frozen=True):
    info: _RunInfo


class _RunAnswer(msgspec.Struct, frozen=True):
    run: _Run


class _LoggedModelAnswer(msgspec.Struct, frozen=True):
    model: _Run


class HttpRegistry:
    """The `Registry` of an MLflow server; a token that may only read is enough.

    See `Transport` for credentials.
    """

    def __init__(self, uri: str, environ: Mapping[str, str] = os.environ, *, timeout_s: float = 10.0) -> None:
        self._transport = Transport(uri, environ, timeout_s=timeout_s)
        self.address = self._transport.address

    def __repr__(self) -> str:
        return f"HttpRegistry({self.address!r})"

    def names(self) -> list[str]:
        """See `Registry`."""
        found: list[str] = []
        token = ""
        while True:
            page = self._get("registered-models/search", _ModelPage, max_results=_PAGE, page_token=token)
            found += (model.name for model in page.registered_models)
            token = page.next_page_token
            if not token:
                return sorted(found)

    def model(self, name: str) -> RegisteredModel:
        """See `Registry`. Two calls: only one tells aliases, only the other tells all versions."""
        try:
            model = self._get("registered-models/get", _ModelAnswer, name=name).registered_model
        except NotFoundError:
            return RegisteredModel(name=name)
        aliases: dict[str, list[str]] = {}
        for alias in model.aliases:
            aliases.setdefault(alias.version, []).append(alias.alias)
        versions = [
            RegisteredVersion(
                version=int(item.version),
                stage=item.current_stage,
                aliases=tuple(aliases.get(item.version, ())),
                status=item.status,
                tags={tag.key: tag.value for tag in item.tags},
            )
            for item in self._versions(name)
        ]
        versions.sort(key=lambda item: item.version)
        return RegisteredModel(name=name, versions=tuple(versions), tags={tag.key: tag.value for tag in model.tags})

    def download(self, name: str, version: int, target: Path, *, limit_bytes: int) -> None:
        """See `Registry`. Follows `mlflow-artifacts:` through this server, and local folders on this machine."""
        try:
            found = self._get("model-versions/get-download-uri", _DownloadUri, name=name, version=version)
            source = resolve_source(found.artifact_uri, run_root=self._run_root, logged_model_root=self._model_root)
        except NotFoundError as error:
            raise RegistryError(f"version {version} of {name} is gone: {error}") from error
        folder = local_path(source)
        if folder:
            copy_local(folder, target, name=name, version=version, limit_bytes=limit_bytes)
            return
        root = self._artifact_root(source)
        for place in ARTIFACT_PLACES:
            try:
                size = self._transport.fetch(f"{root}/{place}", target, limit_bytes)
            except NotFoundError:
                continue
            if size > limit_bytes:
                raise ModelTooLargeError(name, version, limit_bytes)
            return
        raise MissingModelFileError(name, version)

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        """See `Registry`."""
        body = msgspec.json.encode({"name": name, "version": str(version), "key": key, "value": value})
        self._transport.post(f"{_API}/model-versions/set-tag", body)

    def close(self) -> None:
        """See `Registry`."""
        self._transport.close()

    def _versions(self, name: str) -> list[_Version]:
        quote_mark = '"' if "'" in name else "'"
        found: list[_Version] = []
        token = ""
        while True:
            page = self._get(
                "model-versions/search",
                _VersionPage,
                filter=f"name={quote_mark}{name}{quote_mark}",
                max_results=_PAGE,
                page_token=token,
            )
            found += page.model_versions
            token = page.next_page_token
            if not token:
                return found

    def _run_root(self, run: str) -> str:
        return self._get("runs/get", _RunAnswer, run_id=run).run.info.artifact_uri

    def _model_root(self, model: str) -> str:
        return self._get(f"logged-models/{quote(model, safe='')}", _LoggedModelAnswer).model.info.artifact_uri

    def _artifact_root(self, source: str) -> str:
        parts = urlsplit(source)
        # With a host it names another server, to which neither the request nor its credentials belong.
        if parts.scheme != "mlflow-artifacts" or (parts.hostname and parts.hostname != self._transport.host):
            raise RegistryError(
                f"the artifact lies at {source!r}, which this server does not hand out:"
                " start it with --serve-artifacts, and register the version again"
            )
        return f"{_ARTIFACTS}/{quote(unquote(parts.path).strip('/'))}"

    def _get(self, path: str, kind: type[T], **query: Any) -> T:
        asked = urlencode({key: value for key, value in query.items() if value != ""})
        data = self._transport.get(f"{_API}/{path}{'?' if asked else ''}{asked}")
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise RegistryError(f"{self.address} does not answer like MLflow: {error}") from error
