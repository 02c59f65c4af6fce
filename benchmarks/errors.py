"""Why there are no figures."""

from __future__ import annotations

__all__ = ["BenchError", "ServerError"]


class BenchError(Exception):
    """The measurement failed: there are no figures, and none must be made up."""


class ServerError(BenchError):
    """A server did not start, or did not live."""
