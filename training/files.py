"""Files that one step of training leaves for another: written whole or not at all, read with the cure in the error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_json", "write_json", "write_whole"]

S = TypeVar("S", bound=msgspec.Struct)


def write_whole(path: Path, data: bytes) -> Path:
    """Write so that no one ever sees half of it, in a folder that is made if missing; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def write_json(path: Path, value: Any) -> None:
    """Write a value for people to read, too; equal values give equal bytes."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")


def read_json(path: Path, kind: type[S], cure: str) -> S:
    """Read what `write_json` wrote.

    Raises:
        DataError: it cannot be read, or is something else; the text names the command `cure` that makes it.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; run {cure}") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is damaged: {error}; run {cure}") from error
