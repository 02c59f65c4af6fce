"""What a worker could not keep of the rows that it scored, for the observer: a small file, there only if there is news.

losses/<id>.json    of one worker; replaced when a number changes, removed when the worker stops
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gateway.store import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["FRESH_S", "LossFile", "Losses", "read_losses"]

_log = logging.getLogger("hotgate.drift")

_PAUSE_S: Final = 5.0
"""Between two writes."""
_AGAIN_S: Final = 60.0
"""After which what has not changed is written again: a worker that is killed leaves its last word behind."""
FRESH_S: Final = 3 * _AGAIN_S
"""Age up to which a file tells how things are now."""
_STALE_S: Final = 3600.0
"""Age from which on a file is of a worker that was killed."""


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one worker, by the SHA-256 of the model file."""

    dropped: dict[str, int] = {}
    """Rows that the drift monitor has not seen, since the worker began."""
    unlogged: dict[str, int] = {}
    """Rows that the prediction log should hold and does not, likewise."""
    unshared: dict[str, int] = {}
    """Rows that are counted now, where no other process sees them."""


class Counted(Protocol):
    """One generation's numbers."""

    @property
    def sha256(self) -> str:
        """Of the model file."""

    @property
    def dropped(self) -> int:
        """Since it began."""

    @property
    def unlogged(self) -> int:
        """Since it began."""

    @property
    def unshared(self) -> int:
        """Now."""


_DECODER = msgspec.json.Decoder(Losses)


class LossFile:
    """One worker's; one thread uses it.

    Args:
        folder: made at need.
        clock: wall time.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / f"{secrets.token_hex(8)}.json"
        self._clock = clock
        self._gone: dict[str, Counter[str]] = {"dropped": Counter(), "unlogged": Counter()}
        self._told = Losses()
        self._told_at = float("-inf")

    def let_go(self, one: Counted) -> None:
        """Keep the numbers of a generation that is no longer told."""
        for name, gone in self._gone.items():
            if rows := getattr(one, name):
                gone[one.sha256] += rows

    def tell(self, generations: Iterable[Counted]) -> None:
        """Write what has changed, if it is time; where that is not possible, nothing is said."""
        rows = {"unshared": Counter[str](), **{name: gone.copy() for name, gone in self._gone.items()}}
        for one in generations:
            for name, counter in rows.items():
                counter[one.sha256] += getattr(one, name)
        losses = Losses(**{name: dict(+counter) for name, counter in rows.items()})
        pause = _AGAIN_S if losses == self._told else _PAUSE_S
        if losses == Losses() == self._told or self._clock() - self._told_at < pause:
            return
        self._told, self._told_at = losses, self._clock()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, msgspec.json.encode(losses), durable=False)
        except OSError as error:
            _log.debug("%s is not written: %s", self._path, error)

    def remove(self) -> None:
        """The worker stops."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_losses(folder: Path, now: float) -> Iterator[tuple[str, Losses]]:
    """What workers say, by the names of their files; removes those of workers that are long gone.

    Args:
        folder: of the files.
        now: wall clock, in seconds.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            age = now - path.stat().st_mtime
            if age >= _STALE_S:
                path.unlink()
                continue
            found = _DECODER.decode(path.read_bytes())
            yield path.name, found if age < FRESH_S else msgspec.structs.replace(found, unshared={})
        except (FileNotFoundError, msgspec.MsgspecError):  # it was removed meanwhile, or somebody else wrote it
            continue
