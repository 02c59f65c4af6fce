"""The registries' fixtures, which `tests/deploy` uses too."""

from __future__ import annotations

from registries import admin, both, name, sqlite_uri

__all__ = ["admin", "both", "name", "sqlite_uri"]
