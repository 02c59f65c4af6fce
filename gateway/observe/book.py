"""What must outlive the observer: the state of every alarm and what is not delivered yet, in one file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from gateway.alerts import Alert
from gateway.observe.breach import Breach
from gateway.store import replace_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Book", "BookFile"]

_log = logging.getLogger("hotgate.alarms")


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at one moment."""

    breaches: dict[str, Breach] = {}
    """By `Condition.key`."""
    outboxes: dict[str, list[Alert]] = {}
    """By sink."""


class BookFile:
    """Keeps a book in a file that is replaced at once, and in memory for as long as that cannot be written.

    What was kept in memory only is lost with the process: what still fires then is told again, under the same id.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.book = self._kept = self._read()

    def keep(self, book: Book) -> None:
        """Keep it, if it is another one.

        Raises:
            OSError: in memory only; the next call tries again.
        """
        self.book = book
        if book != self._kept:
            replace_file(self._path, msgspec.json.encode(book))
            self._kept = book

    def _read(self) -> Book:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Book)
        except FileNotFoundError:
            return Book()
        except msgspec.MsgspecError as error:
            _log.error("%s is damaged, alarms begin anew: %s", self._path, error)
            return Book()
