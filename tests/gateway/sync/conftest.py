"""The registries' fixtures, which `tests/deploy` uses too."""

from __future__ import annotations

from sync.registries import admin, both, empty_database, mlflow_server, name, sqlite_uri

__all__ = ["admin", "both", "empty_database", "mlflow_server", "name", "sqlite_uri"]
