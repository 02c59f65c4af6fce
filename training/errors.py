"""What can go wrong on the way from data to a registered version."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "DataError",
    "PipelineError",
    "RegisterError",
    "SearchError",
    "TrackingError",
    "TrainingError",
    "meant",
]


class TrainingError(Exception):
    """Root of this package's errors; `exit_code` is what the command line ends with."""

    exit_code = 2


class ConfigError(TrainingError):
    """A setting is unknown or impossible; the text names key, bound and value."""


class DataError(TrainingError):
    """The data cannot be trained on; the text names file, column and row."""


class EngineError(TrainingError):
    """The processes or the cluster that try the candidates could not be reached, or died."""

    exit_code = 4


class PipelineError(TrainingError):
    """A stage of the pipeline failed."""

    exit_code = 1


class RegisterError(TrainingError):
    """A model file may not, or could not, become a registered version."""

    exit_code = 1


class SearchError(TrainingError):
    """No candidate could be fitted; the text has the first one's error."""


class TrackingError(TrainingError):
    """MLflow could not be reached, or refused; the text names where it was sought."""

    exit_code = 4


def meant(name: str, known: Iterable[str], else_say: str = "it has") -> str:
    """The end of a message about a name that does not exist: the one it is near to, else all that there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; {else_say} {', '.join(names)}"
