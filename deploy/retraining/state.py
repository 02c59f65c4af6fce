"""What is known of every attempt at retraining: one file, replaced at once, and one lock."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from gateway.alerts import Alert
from gateway.store import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Attempt",
    "BusyError",
    "Candidate",
    "Check",
    "Outcome",
    "State",
    "StateError",
    "StateFile",
    "Verdict",
    "sole",
]

ATTEMPTS_KEPT: Final = 1000
"""Of which the oldest are forgotten: at four a day, after eight months."""

Outcome: TypeAlias = Literal["promoted", "passed", "no_improvement", "inconclusive", "failed"]


class StateError(Exception):
    """What was tried before cannot be read or kept, so nothing is tried."""


class BusyError(Exception):
    """Another process is at it."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """The version that an attempt made."""

    name: str
    version: str
    sha256: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the gate's report."""

    name: str
    outcome: Literal["pass", "fail", "inconclusive"]
    reason: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said."""

    outcome: Literal["pass", "fail", "inconclusive"]
    champion: str | None = None
    checks: tuple[Check, ...] = ()


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to one breach; kept before each step, so that the next process knows where a killed one stood."""

    alert: Alert
    started_at: float
    resumed: int = 0
    """How often another process went on with it."""
    candidate: Candidate | None = None
    """None: not built yet."""
    verdict: Verdict | None = None
    """None: not judged yet."""
    outcome: Outcome | None = None
    """None: under way, or broken off."""
    ended_at: float | None = None
    why: str = ""
    report: str = ""
    """Path of the report."""
    released: str = ""
    """Who let the breach be tried again and the file be judged again, and why; empty: nobody."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All attempts that are remembered, the oldest first; only the last one may be under way."""

    attempts: tuple[Attempt, ...] = ()

    @property
    def unfinished(self) -> Attempt | None:
        """The one that was broken off, while nobody has the lock."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].outcome is None else None

    def with_last(self, attempt: Attempt) -> State:
        """The last one as it is now."""
        return State(attempts=(*self.attempts[:-1], attempt))

    def and_then(self, attempt: Attempt) -> State:
        """One more."""
        return State(attempts=(*self.attempts, attempt)[-ATTEMPTS_KEPT:])


_DECODER = msgspec.json.Decoder(State)


class StateFile:
    """The state in a folder.

    Args:
        path: of the file; its folder is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> State:
        """As it stands.

        Raises:
            StateError: it cannot be read, or holds something else.
        """
        try:
            return _DECODER.decode(self._path.read_bytes())
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise StateError(f"{self._path} cannot be read: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StateError(
                f"{self._path} is damaged ({error}): nothing is tried until you move it away; what was tried before is"
                " unknown then, but for the reports beside it"
            ) from error

    def keep(self, state: State) -> None:
        """Replace it.

        Raises:
            StateError: there is no room, or no permission.
        """
        try:
            replace_file(self._path, msgspec.json.encode(state))
        except OSError as error:
            raise StateError(f"{self._path} cannot be written: {error.strerror}") from error


@contextmanager
def sole(folder: Path) -> Iterator[int]:
    """Be the only one that retrains in a home; gives the lock's descriptor.

    Whoever holds that descriptor too, as a step that outlives a killed process does, holds the lock.

    Raises:
        BusyError: another process is at it; the text says which.
        StateError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StateError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
            raise BusyError(f"process {holder}, or a step that it left running, is retraining here") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)
