"""What the sidecar needs of a registry, and what can go wrong there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ARTIFACT_NAME",
    "ARTIFACT_PLACES",
    "SHA256_TAG",
    "MissingModelFileError",
    "ModelTooLargeError",
    "RegisteredModel",
    "RegisteredVersion",
    "Registry",
    "RegistryError",
    "RegistryUnavailableError",
]

ARTIFACT_NAME = "model.hotgate.onnx"
"""The model file's name; the gateway does not import `converters.modelfile` for one word, a test compares them."""

ARTIFACT_PLACES = (ARTIFACT_NAME, f"extra_files/{ARTIFACT_NAME}")
"""Where it is looked for under a version's artifact root; the second is where `log_model(extra_files=…)` puts it."""

SHA256_TAG = "hotgate.sha256"
"""The version's tag that names the SHA-256 of its model file."""


class RegistryError(Exception):
    """The registry answered, but not with what was asked for; the text says what to do."""


class RegistryUnavailableError(RegistryError):
    """The registry did not answer, or not to the end; asking again later may help."""


class MissingModelFileError(RegistryError):
    """A version's artifact holds no model file."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"version {version} of {name} holds no {ARTIFACT_NAME}:"
            f" run `hotgate convert models:/{name}/{version} --register`"
        )


class ModelTooLargeError(RegistryError):
    """A model file is larger than allowed."""

    def __init__(self, name: str, version: int, limit_bytes: int) -> None:
        super().__init__(
            f"the model file of version {version} of {name} is larger than [sync] max_model_bytes = {limit_bytes}"
        )


class RegisteredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a registered model."""

    version: int
    stage: str = "None"
    """As MLflow writes it: None, Staging, Production or Archived."""
    aliases: tuple[str, ...] = ()
    status: str = "READY"
    tags: dict[str, str] = {}

    @property
    def sha256_tag(self) -> str | None:
        """What the version says its model file's SHA-256 is."""
        return self.tags.get(SHA256_TAG)


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model at one moment; without versions if there is no such model."""

    name: str
    versions: tuple[RegisteredVersion, ...] = ()
    """Ascending by number."""
    tags: dict[str, str] = {}


class Registry(Protocol):
    """A model registry, read from one thread.

    Every method may raise RegistryUnavailableError (ask again later) or RegistryError.
    """

    def names(self) -> list[str]:
        """All registered models, sorted."""
        ...

    def model(self, name: str) -> RegisteredModel:
        """One model with all its versions, stages, aliases and tags as they are now."""
        ...

    def download(self, name: str, version: int, target: Path, *, limit_bytes: int) -> None:
        """Write the version's model file to `target`, whole, or raise; nothing else of the artifact is ever read.

        Raises:
            MissingModelFileError: the artifact holds none.
            ModelTooLargeError: it is larger than `limit_bytes`; no more than that was written.
        """
        ...

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version; needs a token that may write."""
        ...

    def close(self) -> None:
        """Let go of connections; safe to repeat."""
        ...
