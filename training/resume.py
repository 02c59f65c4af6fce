"""What an interrupted search had finished: one small file a candidate; a kill loses at most what was running."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from training.errors import SearchError
from training.evaluate import CrossValidation
from training.files import write_whole
from training.search import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from training.building import Basis
    from training.candidates import Candidate

__all__ = ["Finished"]

_DECIDE = ("hotgate", "numpy", "scikit-learn", "scipy")
"""Packages whose version decides what a cross-validation says."""


class Finished:
    """Cross-validations under a folder, found again by all that decides them.

    That is rows, split, folds, seed, estimator with its parameters, and versions; what a candidate is called is not.
    Failures are not kept: they are tried again. Two searches may share the folder.
    """

    def __init__(self, folder: Path, basis: Basis) -> None:
        # Nothing here changes after construction but the files.
        config = basis.config
        decides = {
            "data": basis.dataset.digest,
            "train": hashlib.sha256(basis.split.train.astype("<i8").tobytes()).hexdigest(),
            "folds": config.search.folds,
            "seed": config.seed,
            "versions": {name: version(name) for name in _DECIDE},
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        self._folder = folder / _digest(decides)

    def __repr__(self) -> str:
        return f"Finished(folder={str(self._folder)!r})"

    def recall(self, candidate: Candidate) -> Outcome | None:
        """The outcome of an equal candidate; None if there is none, or its file is damaged."""
        try:
            cv = msgspec.json.decode(self._path(candidate).read_bytes(), type=CrossValidation)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return Outcome(candidate=candidate, cv=cv)

    def keep(self, outcome: Outcome) -> None:
        """Write an outcome, whole or not at all.

        Raises:
            SearchError: it cannot be written.
        """
        if outcome.cv is None:
            return
        path = self._path(outcome.candidate)
        try:
            write_whole(path, msgspec.json.encode(outcome.cv))
        except OSError as error:
            raise SearchError(f"{path} cannot be written: {error.strerror}; mend that and run this again") from error

    def forget(self, outcomes: tuple[Outcome, ...]) -> None:
        """Remove what was kept of a search that is over."""
        with contextlib.suppress(OSError):  # left files cost some bytes, and are right if they are found again
            for outcome in outcomes:
                self._path(outcome.candidate).unlink(missing_ok=True)
            self._folder.rmdir()

    def _path(self, candidate: Candidate) -> Path:
        tried = {"estimator": candidate.estimator, "parameters": candidate.parameters, "scaled": candidate.scaled}
        return self._folder / f"{_digest(tried)}.json"


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]
