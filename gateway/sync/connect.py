"""From a tracking address to the registry behind it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.sync.base import RegistryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sync.base import Registry

__all__ = ["open_registry"]

_DATABASES = frozenset({"sqlite", "postgresql", "mysql", "mssql"})


def open_registry(uri: str, environ: Mapping[str, str] = os.environ, *, timeout_s: float = 10.0) -> Registry:
    """The registry at an MLflow tracking address: http(s) without mlflow, a database with it.

    Raises:
        RegistryError: the address is of another kind.
        RegistryUnavailableError: the database does not answer.
    """
    scheme = urlsplit(uri).scheme
    if scheme in {"http", "https"}:
        from gateway.sync.http import HttpRegistry

        return HttpRegistry(uri, environ, timeout_s=timeout_s)
    if scheme.partition("+")[0] in _DATABASES:
        from gateway.sync.embedded import EmbeddedRegistry

        return EmbeddedRegistry(uri)
    raise RegistryError(
        f"{uri!r} is no registry address: wanted http://, https://, sqlite:///, postgresql://, mysql:// or mssql://"
    )
