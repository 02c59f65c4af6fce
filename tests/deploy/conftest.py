"""Real registries, as the sidecar's tests have them."""

from __future__ import annotations

from sync.registries import admin, both, empty_database, mlflow_server, name, sqlite_uri

__all__ = ["admin", "both", "empty_database", "mlflow_server", "name", "sqlite_uri"]
