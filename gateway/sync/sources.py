"""Where a registry version's artifact lies: reading the URIs that MLflow hands out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.sync.base import ARTIFACT_PLACES, MissingModelFileError, ModelTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["CHUNK_BYTES", "copy_bounded", "copy_local", "local_path", "resolve_source"]

CHUNK_BYTES = 1 << 20


def resolve_source(source: str, *, run_root: Callable[[str], str], logged_model_root: Callable[[str], str]) -> str:
    """Follow a source that only names something else, until it is a place.

    `runs:/ID/path` is a folder of a run's artifacts; `models:/m-ID` is a logged model. All else is a place.
    """
    parts = urlsplit(source)
    if parts.scheme == "runs":
        run, _, path = parts.path.lstrip("/").partition("/")
        return f"{run_root(run).rstrip('/')}/{path}"
    if parts.scheme == "models":
        model, _, path = parts.path.lstrip("/").partition("/")
        return f"{logged_model_root(model).rstrip('/')}/{path}".rstrip("/")
    return source


def local_path(source: str) -> Path | None:
    """The folder on this machine that a source names, or None if it lies elsewhere."""
    parts = urlsplit(source)
    if parts.scheme == "file":
        return Path(unquote(parts.path)) if parts.netloc in {"", "localhost"} else None
    return Path(source) if not parts.scheme and source.startswith("/") else None


def copy_local(root: Path, target: Path, *, name: str, version: int, limit_bytes: int) -> None:
    """Copy the model file out of an artifact folder on this machine."""
    for place in ARTIFACT_PLACES:
        try:
            with (root / place).open("rb") as source, target.open("wb") as sink:
                if copy_bounded(source.read, sink, limit_bytes) > limit_bytes:
                    raise ModelTooLargeError(name, version, limit_bytes)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return
    raise MissingModelFileError(name, version)


def copy_bounded(read: Callable[[int], bytes], sink: BinaryIO, limit_bytes: int) -> int:
    """Copy until the end, or one chunk past the limit; returns how many bytes came, of which the limit was written."""
    copied = 0
    while chunk := read(CHUNK_BYTES):
        sink.write(chunk[: max(0, limit_bytes - copied)])
        copied += len(chunk)
        if copied > limit_bytes:
            break
    return copied
