"""What an attempt does, apart from deciding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from deploy.retraining.state import Candidate, Verdict

__all__ = ["StepError", "Steps"]


class StepError(Exception):
    """A step failed; the text says which, how and what to do."""


class Steps(Protocol):
    """The steps, in their order; each may be done again by a process that goes on where a killed one stood.

    All raise StepError.
    """

    def pull(self) -> None:
        """Bring the newest data revision."""

    def build(self, model: str) -> Candidate:
        """Run the pipeline of a model; the same data gives the same version."""

    def judge(self, candidate: Candidate) -> Verdict:
        """Hold it against the gate."""

    def was_promoted(self, candidate: Candidate, reason: str) -> bool:
        """Whether a recorded decision with this reason gave it the champion's role already."""

    def promote(self, candidate: Candidate, reason: str) -> None:
        """Give it the champion's role."""
