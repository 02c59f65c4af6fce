"""The steps as commands: what a person would type, and no other way into the registry."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from deploy.retraining.base import StepError
from deploy.retraining.state import Candidate, Verdict
from gateway.sync.decision import Decision
from training.environment import for_commands

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.retraining.settings import RetrainSettings

__all__ = ["Commands"]

T = TypeVar("T")

_HOTGATE: Final = (sys.executable, "-P", "-m", "hotgate")
_OUTCOMES: Final = {0: "pass", 1: "fail", 3: "inconclusive"}
_TAIL_LINES: Final = 8
"""Of what a failed command said, for the report."""
_STOP_S: Final = 30.0
"""How long a command may take to end when it is told to."""


class Commands:
    """Runs each step as a process of its own, which holds the lock for as long as it lives.

    Args:
        settings: where the project is, how its data is brought, how long a command may take.
        home: where state lives.
        lock: descriptor of the lock.
        hotgate: argument vector of the command line.
    """

    def __init__(self, settings: RetrainSettings, home: Path, lock: int, hotgate: Sequence[str] = _HOTGATE) -> None:
        self._settings = settings
        self._project = Path(settings.project).absolute()
        self._home = home
        self._lock = lock
        self._hotgate = tuple(hotgate)

    def pull(self) -> None:
        """The settings' commands, in the project."""
        for line in self._settings.pull:
            self._run(shlex.split(line), cwd=self._project)

    def build(self, model: str) -> Candidate:
        """`hotgate pipeline`, if the project is this model's."""
        from training.config import load_config
        from training.errors import TrainingError

        try:
            name = load_config(self._project / "params.yaml").name
        except TrainingError as error:
            raise StepError(str(error)) from error
        if name != model:
            raise StepError(
                f"the project {self._project} makes {name}, not {model}: set [retrain] models to {name}, and retrain"
                f" {model} with settings of its own"
            )
        _, printed = self._run([*self._hotgate, "pipeline", "--project", str(self._project), "--json"])
        return _last(printed, Candidate, "hotgate pipeline")

    def judge(self, candidate: Candidate) -> Verdict:
        """`hotgate gate`; its exit code and its report must agree."""
        words = [*self._hotgate, "gate", candidate.name, candidate.version, "--json"]
        code, printed = self._run(words, good=_OUTCOMES)
        verdict = _last(printed, Verdict, "hotgate gate")
        if verdict.outcome != _OUTCOMES[code]:
            raise StepError(f"hotgate gate says {verdict.outcome}, but its exit code {code} is {_OUTCOMES[code]}")
        return verdict

    def was_promoted(self, candidate: Candidate, reason: str) -> bool:
        """By `hotgate history`: a decision outlives a later rollback, which is not to be undone."""
        _, printed = self._run([*self._hotgate, "history", candidate.name, "--json"])
        decisions = _last(printed, list[Decision], "hotgate history")
        return any(one.after == candidate.version and one.why == reason for one in decisions if one.action == "promote")

    def promote(self, candidate: Candidate, reason: str) -> None:
        """`hotgate promote`, which demands the gate's pass itself."""
        words = ["promote", candidate.name, candidate.version, "--who", "hotgate retrain", "--reason", reason, "--json"]
        self._run([*self._hotgate, *words])

    def _run(
        self, words: Sequence[str], *, cwd: Path | None = None, good: Sequence[int] | dict[int, str] = (0,)
    ) -> tuple[int, bytes]:
        """Run one; returns exit code and standard output. What it says on standard error is passed on."""
        name = shlex.join(words).replace(shlex.join(self._hotgate), "hotgate")
        said: deque[str] = deque(maxlen=_TAIL_LINES)
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    words, cwd=cwd, env=for_commands(self._home), stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.PIPE, start_new_session=True, pass_fds=(self._lock,), text=True, errors="replace",
                )  # fmt: skip
            except OSError as error:
                raise StepError(f"`{name}` cannot be started: {error}") from error
            with _bounded(process, self._settings.step_timeout_s) as late:
                for line in process.stderr or ():
                    sys.stderr.write(line)
                    said.append(line.strip())
                code = process.wait()
            if late.is_set():
                raise StepError(
                    f"`{name}` was stopped after {self._settings.step_timeout_s:g} s, [retrain] step_timeout_s"
                )
            if code not in good:
                raise StepError(
                    f"`{name}` ended with exit code {code}: {' / '.join(filter(None, said)) or 'it said nothing'}"
                )
            output.seek(0)
            return code, output.read()


@contextlib.contextmanager
def _bounded(process: subprocess.Popen[str], timeout_s: float) -> Iterator[threading.Event]:
    """Leave nothing of a process running: neither after the timeout, nor when we are told to leave."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _signal(process, signal.SIGKILL)

    timer = threading.Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    try:
        with process:
            try:
                yield late
            except BaseException:
                _signal(process, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_S)
                _signal(process, signal.SIGKILL)
                raise
    finally:
        timer.cancel()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _last(printed: bytes, kind: type[T], name: str) -> T:
    """The result on the last line of standard output."""
    lines = printed.splitlines() or [b""]
    try:
        return msgspec.json.decode(lines[-1], type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StepError(f"{name} printed no result on its last line ({error}): {lines[-1][:200]!r}") from error
