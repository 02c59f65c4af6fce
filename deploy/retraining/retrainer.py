"""From one alert to an outcome: the brakes, then step by step, each kept before the next."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from deploy.retraining.base import StepError
from deploy.retraining.brakes import Brake, brake, quarantined
from deploy.retraining.report import write_report
from deploy.retraining.state import Attempt, BusyError, Outcome, StateError, StateFile, sole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.retraining.base import Steps
    from deploy.retraining.settings import RetrainSettings
    from deploy.retraining.state import Candidate
    from gateway.alerts import Alert

__all__ = ["RESUMES_MAX", "Result", "Retrainer"]

RESUMES_MAX: Final = 3
"""An attempt that is broken off more often is likely what kills its process."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided on an alert, and why."""

    breach: str
    """The alert's id."""
    outcome: Outcome | Literal["braked"]
    why: str
    brake: str | None = None
    """Which one, if one held."""
    model: str = ""
    version: str | None = None
    """That was made."""
    sha256: str | None = None
    report: str | None = None


class Retrainer:
    """Answers alerts, one at a time over all processes of a home.

    Args:
        folder: `<home>/retrain`; made if missing.
        steps: makes them; is given the lock's descriptor, which what they start shall hold too.
        settings: the brakes, and whether to promote.
        clock: wall time.
        say: told of each step.
    """

    def __init__(
        self,
        folder: Path,
        steps: Callable[[int], Steps],
        settings: RetrainSettings,
        *,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._folder = folder
        self._file = StateFile(folder / "state.json")
        self._make_steps = steps
        self._settings = settings
        self._clock = clock
        self._say = say

    def handle(self, alert: Alert) -> Result:
        """Decide on an alert, and retrain if no brake holds; what a killed process left is finished first.

        Raises:
            StateError: what was tried before cannot be read or kept.
        """
        try:
            with sole(self._folder) as lock:
                left = self._finish(self._make_steps(lock))
                if left is not None and left.alert.id == alert.id:
                    return _result(left)
                now = self._clock()
                state = self._file.read()
                held = brake(alert, state, self._settings, now)
                if held is not None:
                    return _braked(alert, held)
                attempt = Attempt(alert=alert, started_at=now)
                self._file.keep(state.and_then(attempt))
                return _result(self._go_on(attempt, self._make_steps(lock)))
        except BusyError as error:
            return _braked(alert, Brake(name="busy", why=str(error)))

    def finish(self) -> Result | None:
        """Go on with what a killed process left; None: nothing was left, or another process is at it.

        Raises:
            StateError: what was tried before cannot be read or kept.
        """
        try:
            with sole(self._folder) as lock:
                left = self._finish(self._make_steps(lock))
        except BusyError:
            return None
        return None if left is None else _result(left)

    def release(self, breach: str, word: str) -> bool:
        """Let a breach be tried again, and the file that it made be judged again; False: no attempt at it is known.

        Args:
            breach: the alert's id.
            word: who and why, for the record.

        Raises:
            BusyError: another process is retraining.
            StateError: it cannot be kept.
        """
        with sole(self._folder):
            state = self._file.read()
            mine = [attempt for attempt in state.attempts if attempt.alert.id == breach and attempt.outcome is not None]
            if not mine:
                return False
            freed = {id(attempt): msgspec.structs.replace(attempt, released=word) for attempt in mine}
            changed = tuple(freed.get(id(attempt), attempt) for attempt in state.attempts)
            self._file.keep(msgspec.structs.replace(state, attempts=changed))
        return True

    def _finish(self, steps: Steps) -> Attempt | None:
        left = self._file.read().unfinished
        if left is None:
            return None
        if left.resumed >= RESUMES_MAX:
            return self._end(left, "failed", f"it was broken off {left.resumed + 1} times: what kills it?")
        self._say(f"going on with {left.alert.id}, which was broken off")
        return self._go_on(self._keep(left, resumed=left.resumed + 1), steps)

    def _go_on(self, attempt: Attempt, steps: Steps) -> Attempt:
        """From where it stands to its end."""
        try:
            attempt, candidate = self._build(attempt, steps)
            attempt, outcome, why = self._judge(attempt, candidate, steps)
        except StepError as error:
            attempt, outcome, why = self._file.read().attempts[-1], "failed", str(error)
        return self._end(attempt, outcome, why)

    def _end(self, attempt: Attempt, outcome: Outcome, why: str) -> Attempt:
        ended = msgspec.structs.replace(attempt, outcome=outcome, why=why, ended_at=self._clock())
        try:
            report = write_report(self._folder / "reports", ended)
        except OSError as error:
            raise StateError(f"the report cannot be written: {error}") from error
        return self._keep(ended, report=str(report))

    def _build(self, attempt: Attempt, steps: Steps) -> tuple[Attempt, Candidate]:
        candidate = attempt.candidate
        if candidate is None:
            self._say("bringing the data")
            steps.pull()
            self._say(f"building {attempt.alert.model}")
            candidate = steps.build(attempt.alert.model)
            attempt = self._keep(attempt, candidate=candidate)
        return attempt, candidate

    def _judge(self, attempt: Attempt, candidate: Candidate, steps: Steps) -> tuple[Attempt, Outcome, str]:
        if candidate.sha256 == attempt.alert.sha256:
            return attempt, "no_improvement", "the data has not changed: the pipeline makes the very file that serves"
        known = quarantined(candidate, self._file.read()) if attempt.verdict is None else None
        if known is not None:
            why = f"the data has not changed: the pipeline makes the file that the gate refused before ({known.report})"
            release = f"hotgate retrain --release {known.alert.id} --reason TEXT lets it be judged again"
            return attempt, "no_improvement", f"{why}; {release}"
        verdict = attempt.verdict
        if verdict is None:
            self._say(f"judging version {candidate.version}")
            verdict = steps.judge(candidate)
            attempt = self._keep(attempt, verdict=verdict)
        if verdict.outcome == "inconclusive":
            return attempt, "inconclusive", "the gate cannot tell whether it is better"
        if verdict.outcome == "fail":
            return attempt, "no_improvement", "it does not pass the gate"
        if not self._settings.promote:
            command = f"hotgate promote {candidate.name} {candidate.version}"
            return attempt, "passed", f"it passes the gate; [retrain] promote is off, so promote it yourself: {command}"
        # The decision's words tell a process that goes on that the killed one came so far.
        began = datetime.fromtimestamp(attempt.started_at, UTC).isoformat(timespec="seconds")
        reason = f"retrained on alert {attempt.alert.id} at {began}"
        if not steps.was_promoted(candidate, reason):
            self._say(f"promoting version {candidate.version}")
            steps.promote(candidate, reason)
        return attempt, "promoted", "it passes the gate, and serves"

    def _keep(self, attempt: Attempt, **changes: object) -> Attempt:
        changed = msgspec.structs.replace(attempt, **changes)
        self._file.keep(self._file.read().with_last(changed))
        return changed


def _braked(alert: Alert, held: Brake) -> Result:
    return Result(breach=alert.id, outcome="braked", brake=held.name, why=held.why, model=alert.model)


def _result(attempt: Attempt) -> Result:
    made = attempt.candidate
    return Result(
        breach=attempt.alert.id,
        outcome=attempt.outcome or "failed",
        why=attempt.why,
        model=attempt.alert.model,
        version=made.version if made else None,
        sha256=made.sha256 if made else None,
        report=attempt.report,
    )
