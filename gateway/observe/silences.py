"""Silences: for a while nobody is told of what somebody knows already; who and why are kept with it."""

from __future__ import annotations

import fcntl
import logging
import secrets
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.store import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.alerts import Alert

__all__ = ["LONGEST_S", "SILENCES_MAX", "Silence", "Silences"]

_log = logging.getLogger("hotgate.alarms")

LONGEST_S: Final = 90 * 86_400.0
"""Nobody remembers why, later."""
SILENCES_MAX: Final = 200
_TEXT_MAX: Final = 500


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """What nobody is to be told, until when, and who says so."""

    id: str
    model: str
    """With `*` and `?` for any characters; `*` also means what is about no model."""
    kind: str | None
    """None: all."""
    feature: str | None
    """With `*` and `?`; None: all."""
    since: float
    until: float
    """Unix time."""
    who: str
    reason: str


_DECODER = msgspec.json.Decoder(list[Silence])


class Silences:
    """The silences of a home, kept in one file, which is replaced at once; any process may add and end some.

    Args:
        path: of the file.
        clock: wall time.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def active(self) -> list[Silence]:
        """Those that are not over, the oldest first.

        Raises:
            ValueError: the file holds something else.
            OSError: it cannot be read.
        """
        try:
            found = _DECODER.decode(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._path} is damaged, remove it: {error}") from error
        return [silence for silence in found if silence.until > self._clock()]

    def add(self, model: str, *, kind: str | None, feature: str | None, for_s: float, who: str, reason: str) -> Silence:
        """Begin one now.

        Raises:
            ValueError: it would be too long, or one too many; or as `active`.
            OSError: it cannot be kept.
        """
        if not 0 < for_s <= LONGEST_S:
            raise ValueError(f"a silence lasts up to {LONGEST_S / 86_400:g}d, not {for_s / 86_400:g}d")
        if max(map(len, (model, feature or "", reason))) > _TEXT_MAX:
            raise ValueError(f"names and reason of a silence have up to {_TEXT_MAX} characters")
        now = self._clock()
        silence = Silence(
            id=secrets.token_hex(4), model=model, kind=kind, feature=feature, since=now, until=now + for_s, who=who,
            reason=reason,
        )  # fmt: skip
        self._change(lambda found: [*found, silence])
        return silence

    def end(self, silence_id: str) -> bool:
        """End one; False if none of that id is active.

        Raises:
            ValueError: as `active`.
            OSError: it cannot be kept.
        """
        before = self.active()
        self._change(lambda found: [silence for silence in found if silence.id != silence_id])
        return any(silence.id == silence_id for silence in before)

    def cover(self, alert: Alert, names: tuple[str, ...], now: float) -> bool:
        """Whether an alert is silenced: as a whole, or everything that it rests on.

        A file that cannot be read silences nothing.
        """
        try:
            found = [silence for silence in self.active() if _matches(silence, alert) and silence.since <= now]
        except (ValueError, OSError) as error:
            _log.error("nothing is silenced: %s", error)
            return False
        patterns = [silence.feature for silence in found if silence.feature is not None]
        if len(patterns) < len(found):
            return True
        return bool(names) and all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)

    def _change(self, change: Callable[[list[Silence]], list[Silence]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            changed = change(self.active())
            if len(changed) > SILENCES_MAX:
                raise ValueError(f"there are {SILENCES_MAX} silences already: end some")
            replace_file(self._path, msgspec.json.encode(changed))


def _matches(silence: Silence, alert: Alert) -> bool:
    return fnmatchcase(alert.model, silence.model) and silence.kind in {None, alert.kind}
