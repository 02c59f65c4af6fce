"""A home in which alerts are answered: a clock, steps that do as they are told, and what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.retraining.base import StepError
from deploy.retraining.retrainer import Retrainer
from deploy.retraining.settings import RetrainSettings
from deploy.retraining.state import Candidate, Check, Verdict
from gateway.alerts import Alert, Evidence

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BEGIN", "HOUR", "Killed", "World", "alert"]

BEGIN = 1_800_000_000.0
HOUR = 3600.0


class Killed(BaseException):
    """What kill -9 is to a step: nothing after it is done."""


def alert(breach: str = "b1", **changes: object) -> Alert:
    """One that no brake holds."""
    given = {
        "id": breach,
        "state": "firing",
        "model": "m",
        "version": "1",
        "sha256": "served",
        "kind": "data_drift",
        "severity": "critical",
        "started_at": BEGIN,
        "ended_at": None,
        "evidence": [Evidence(name="x | y", statistic="psi", value=0.9, threshold=0.2)],
    }
    return Alert(**{**given, **changes})


class World:
    """Also the steps; a promotion is recorded as the registry would."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.now = BEGIN
        self.data = "new"
        self.verdict = "pass"
        self.fail_at = ""
        self.kill_at = ""
        self.did: list[str] = []
        self.promotions: list[tuple[str, str]] = []
        self.settings = RetrainSettings(**{"promote": True, **settings})

    @property
    def retrainer(self) -> Retrainer:
        """As a process that has just started has it."""
        return Retrainer(self.folder, lambda _lock: self, self.settings, clock=lambda: self.now)

    def handle(self, breach: str = "b1", **changes: object):
        return self.retrainer.handle(alert(breach, **changes))

    def _step(self, name: str) -> None:
        self.did.append(name)
        self.now += 60
        if self.fail_at == name:
            raise StepError(f"{name} ended with exit code 7")
        if self.kill_at == name:
            raise Killed

    def pull(self) -> None:
        self._step("pull")

    def build(self, model: str) -> Candidate:
        self._step("build")
        return Candidate(name=model, version="2", sha256=self.data)

    def judge(self, candidate: Candidate) -> Verdict:
        self._step("judge")
        check = Check(name="auc", outcome=self.verdict, reason="0.91 | 0.90")
        return Verdict(outcome=self.verdict, champion="1", checks=(check,))

    def was_promoted(self, candidate: Candidate, reason: str) -> bool:
        return (candidate.version, reason) in self.promotions

    def promote(self, candidate: Candidate, reason: str) -> None:
        if self.kill_at == "before promote":
            raise Killed
        self.promotions.append((candidate.version, reason))
        self._step("promote")
