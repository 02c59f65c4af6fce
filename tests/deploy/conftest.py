"""Real registries, as the sidecar's tests have them."""

from __future__ import annotations

from registries import admin, both, name, sqlite_uri

__all__ = ["admin", "both", "name", "sqlite_uri"]
